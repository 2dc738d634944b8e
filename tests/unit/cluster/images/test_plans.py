"""What is built from what, where it comes from, and by which commands; nothing is built here."""

import socket
import sys
from pathlib import Path

import pytest

from lab import long_command
from lab.cluster.build import debian_roots, docker_images, go_programs, go_tool, python_wheels
from lab.cluster.images import ensure, lab_images, node_image
from lab.cluster.images.ensure import ImageSource
from lab.cluster.versions import DEFAULT, KUBERNETES_VERSIONS, Versions, stock_node
from lab.errors import BuildError
from lab.paths import PACKAGE
from lab.progress import Quiet


def test_every_version_named_has_its_modules_and_their_sums() -> None:
    components = [*go_programs.node_components(DEFAULT), go_programs.kind(DEFAULT)]
    components += [go_programs.kubernetes(Versions(kubernetes=one)) for one in KUBERNETES_VERSIONS]
    for component in components:
        assert (component.source / "go.mod").is_file(), component.folder
        if component.name != "pause":
            assert (component.source / "go.sum").is_file(), component.folder
    assert DEFAULT.kubernetes in KUBERNETES_VERSIONS


def test_a_version_without_a_module_is_named() -> None:
    with pytest.raises(BuildError, match=r"kubernetes-1\.99\.0"):
        go_programs.inputs(go_programs.kubernetes(Versions(kubernetes="1.99.0")), "linux", "amd64")


def test_a_change_in_the_mesh_renames_only_the_top_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    def plans() -> tuple[lab_images.LabImagesPlan, node_image.NodeImagePlan]:
        made = lab_images.plan("amd64", pulled=False)
        return made, node_image.plan(DEFAULT, made)

    before, node_before = plans()
    monkeypatch.setattr(lab_images, "mesh_digest", lambda: "another mesh")
    after, node_after = plans()
    changed = {
        name
        for name in ("base", "proxy_base", "proxy", "control_base", "control", "nginx", "observer")
        if getattr(before, name) != getattr(after, name)
    }
    assert changed == {"proxy", "control"}
    assert node_before.lab == node_after.lab
    assert node_before.kubernetes == node_after.kubernetes
    assert node_before.node != node_after.node


def test_pulled_and_built_images_never_share_a_name() -> None:
    made = [lab_images.plan("amd64", pulled=one) for one in (True, False)]
    nodes = [node_image.plan(DEFAULT, one) for one in made]
    assert docker_images.tag(made[0].proxy) != docker_images.tag(made[1].proxy)
    assert docker_images.tag(nodes[0].node) != docker_images.tag(nodes[1].node)
    assert nodes[0].kubernetes is None
    assert nodes[0].stock == stock_node(DEFAULT)


def test_only_the_package_and_the_mesh_enter_images() -> None:
    names = [path.relative_to(PACKAGE) for path in lab_images.mesh_files()]
    assert Path("__init__.py") in names
    assert {name.parts[0] for name in names} == {"__init__.py", "mesh"}
    assert not any("__pycache__" in name.parts for name in names)


def test_a_stock_node_is_pinned_by_digest_where_it_is_known() -> None:
    assert "@sha256:" in stock_node(DEFAULT)
    assert stock_node(Versions(kubernetes="1.34.4")) == "kindest/node:v1.34.4"


@pytest.fixture
def no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ensure, "registry_is_reachable", lambda: pytest.fail("the registry was asked")
    )


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [
        ("kindest/node:v1.37.0@sha256:ab", "kindest/node@sha256:ab"),
        ("host:5000/node@sha256:ab", "host:5000/node@sha256:ab"),
        ("kindest/node:v1.36.3", "kindest/node:v1.36.3"),
        ("debian", "debian"),
    ],
)
def test_what_is_pulled_by_its_digest_is_looked_for_by_its_digest(wanted: str, listed: str) -> None:
    assert docker_images.listed_as(wanted) == listed


@pytest.mark.usefixtures("no_probe")
@pytest.mark.parametrize(
    ("source", "cached", "expected"),
    [
        (ImageSource.PULL, {True: False}, ImageSource.PULL),
        (ImageSource.BUILD, {False: False}, ImageSource.BUILD),
        (ImageSource.AUTO, {False: True, True: False}, ImageSource.BUILD),
        (ImageSource.AUTO, {False: False, True: True}, ImageSource.PULL),
        (ImageSource.AUTO, {False: True, True: True}, ImageSource.BUILD),
    ],
)
def test_the_registry_is_asked_only_when_it_matters(
    source: ImageSource, cached: dict[bool, bool], expected: ImageSource
) -> None:
    assert ensure.decide(source, cached) is expected


@pytest.mark.parametrize(
    ("answers", "expected"), [(True, ImageSource.PULL), (False, ImageSource.BUILD)]
)
def test_with_nothing_cached_the_registry_decides(
    answers: bool, expected: ImageSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensure, "registry_is_reachable", lambda: answers)
    assert ensure.decide(ImageSource.AUTO, {False: False, True: False}) is expected


def test_a_registry_is_one_that_takes_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ensure.registry_is_reachable(("127.0.0.1", port), 1)
    assert not ensure.registry_is_reachable(("127.0.0.1", port), 1)


def test_the_root_is_made_with_the_packages_the_user_and_what_to_download(tmp_path: Path) -> None:
    words = [
        str(word)
        for word in debian_roots.bootstrap(debian_roots.BASE, "arm64", tmp_path / "t", tmp_path)
    ]
    assert "--architectures=arm64" in words
    assert any("net-tools" in word and "iptables" in word for word in words)
    assert any("istio-proxy:x:1337:1337" in word for word in words)
    assert any("--download-only install nginx" in word for word in words)
    assert words[-2:] == ["bookworm", str(tmp_path / "t")]
    plain = [
        str(word)
        for word in debian_roots.bootstrap(debian_roots.NODE, "amd64", tmp_path / "t", tmp_path)
    ]
    assert not any("download-only" in word or "1337" in word for word in plain)


@pytest.mark.parametrize("uv", ["/bin/uv", None])
def test_wheels_are_installed_by_hash_and_never_compiled(uv: str | None, tmp_path: Path) -> None:
    target = python_wheels.image_platform("arm64")
    words = python_wheels.installer(tmp_path / "x.txt", target, tmp_path / "site", uv)
    for needed in ("--require-hashes", "--no-deps", "--only-binary"):
        assert needed in words
    text = " ".join(words)
    assert "aarch64" in text
    assert "x86_64" not in text
    assert "3.11" in words


def test_the_go_that_a_module_needs_is_compared_by_number(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module x\n\ngo 1.26.10\n\nrequire y v1.0.0\n")
    assert go_tool.needed_go(tmp_path / "go.mod") == (1, 26, 10)
    assert go_tool.numbers("1.26.9") < (1, 26, 10) < go_tool.numbers("1.27.0")


def test_version_variables_are_given_to_the_linker() -> None:
    flags = go_programs.linker_flags(go_programs.kubernetes(DEFAULT))
    assert f"-X k8s.io/component-base/version.gitVersion=v{DEFAULT.kubernetes}" in flags
    assert "-X k8s.io/component-base/version.gitMinor=37" in flags


def test_a_failed_command_names_its_log_and_last_lines(tmp_path: Path) -> None:
    script = "print('first'); print('the reason'); raise SystemExit(3)"
    seen: list[str] = []
    with pytest.raises(BuildError) as failure:
        long_command.stream(
            [sys.executable, "-c", script],
            what="building x",
            logfile=tmp_path / "log",
            on_line=seen.append,
            hint="try y",
        )
    assert seen == ["first", "the reason"]
    assert "building x failed (exit 3)" in failure.value.message
    assert str(tmp_path / "log") in failure.value.message
    assert "the reason" in failure.value.message
    assert failure.value.hint == "try y"
    assert "the reason" in (tmp_path / "log").read_text()


def test_a_command_that_is_not_there_is_a_build_error(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no-such-program was not found"):
        long_command.stream(["no-such-program"], what="x", logfile=tmp_path / "log")


def test_an_interrupt_ends_the_command_and_its_children(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(inner.pid, flush=True)\n"
        "inner.wait()\n"
    )
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        long_command.stream(
            [sys.executable, "-c", script], what="x", logfile=tmp_path / "log", on_line=interrupt
        )
    import psutil

    gone = not psutil.pid_exists(pids[0]) or psutil.Process(pids[0]).status() == "zombie"
    assert gone


def test_a_cached_part_does_not_skip_the_whole_task() -> None:
    with Quiet().task("x") as task:
        ensure._Part(task).skip("cached")
