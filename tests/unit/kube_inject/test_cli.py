"""`lab kube-inject` as a command: real processes, real files, real pipes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

MANIFESTS = Path(__file__).parents[3] / "manifests"
DEPLOYMENT = MANIFESTS / "jiuxi-deployment.yaml"
PRINTED = MANIFESTS / "jiuxi-deployment-as-printed.yaml"


def run(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", "lab", "kube-inject", *map(str, arguments)]
    return subprocess.run(argv, input=stdin, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("kind", ["service", "secret", "configmap"])
def test_service_secret_and_configmap_come_out_byte_for_byte(kind: str, tmp_path: Path) -> None:
    source = MANIFESTS / "kinds" / f"{kind}.yaml"
    assert run("-f", source).stdout == source.read_bytes()
    run("-f", source, "-o", tmp_path / "out.yaml")
    assert (tmp_path / "out.yaml").read_bytes() == source.read_bytes()


@pytest.mark.parametrize(
    "kind", ["pod", "replicaset", "daemonset", "deployment", "job", "job-native"]
)
def test_each_kind_is_injected(kind: str) -> None:
    done = run("-f", MANIFESTS / "kinds" / f"{kind}.yaml")
    assert done.returncode == 0, done.stderr
    assert b"name: istio-proxy" in done.stdout
    assert b"name: istio-init" in done.stdout


def test_stdin_and_output_file_give_the_same_and_injecting_again_changes_no_byte(
    tmp_path: Path,
) -> None:
    target = tmp_path / "out.yaml"
    assert run("-f", DEPLOYMENT, "-o", target).stdout == b""
    assert run("-f", "-", stdin=DEPLOYMENT.read_bytes()).stdout == target.read_bytes()
    assert run("-f", target).stdout == target.read_bytes()


def test_a_folder_is_read_in_the_order_of_names() -> None:
    done = run("-f", MANIFESTS / "kinds")
    assert done.returncode == 0
    order = [line for line in done.stdout.decode().splitlines() if line.startswith("kind:")]
    assert order == [
        "kind: ConfigMap", "kind: DaemonSet", "kind: Deployment", "kind: Job", "kind: Job",
        "kind: Pod", "kind: ReplicaSet", "kind: Secret", "kind: Service",
    ]  # fmt: skip


def test_one_bad_document_means_no_output_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out.yaml"
    target.write_text("as before")
    done = run("-f", DEPLOYMENT, "-f", PRINTED)
    assert (done.returncode, done.stdout) == (2, b"")
    for line in (b"as-printed.yaml:1,", b"as-printed.yaml:16,", b"as-printed.yaml:19,"):
        assert line in done.stderr
    assert run("-f", DEPLOYMENT, "-f", PRINTED, "-o", target).returncode == 2
    assert target.read_text() == "as before"
    assert [file.name for file in tmp_path.iterdir()] == ["out.yaml"]


def test_files_and_folders_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    cases: list[tuple[list[str | Path], bytes]] = [
        (["-f", tmp_path / "none.yaml"], b"no such file"),
        (["-f", tmp_path], b"no manifest in folder"),
        (["-f", DEPLOYMENT, "-o", tmp_path / "no" / "out"], b"no such folder"),
        (["-f", DEPLOYMENT, "-o", tmp_path], b"is a folder"),
    ]
    for arguments, says in cases:
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (1, b"")
        assert says in done.stderr
        assert b"hint: " in done.stderr


def test_a_misused_command_line_exits_2_and_help_has_examples() -> None:
    assert run().returncode == 2
    assert b"kubectl apply -f -" in run("--help").stdout


def test_a_pod_that_is_not_injected_is_said_and_left_as_it_is() -> None:
    text = (
        b"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
        b"spec: {hostNetwork: true, containers: [{name: c}]}\n"
    )
    done = run("-f", "-", stdin=text)
    assert done.stdout == text
    assert b"not injected: the pod is on the host's network" in done.stderr


def test_uninject_gives_back_what_was_injected_and_says_what_was_not() -> None:
    injected = run("-f", DEPLOYMENT).stdout
    back = run("--uninject", "-f", "-", stdin=injected)
    assert (back.returncode, back.stderr) == (0, b"")
    before, after = (yaml.safe_load(text) for text in (DEPLOYMENT.read_bytes(), back.stdout))
    assert after == before
    again = run("--uninject", "-f", "-", stdin=back.stdout)
    assert again.stdout == back.stdout
    assert b"jiuxi was not injected: it has no sidecar.istio.io/status" in again.stderr


@pytest.mark.parametrize(
    ("options", "native"),
    [((), False), (("--kubernetes-version", "v1.33.0"), True), (("--native",), True),
     (("--kubernetes-version", "1.32"), False),
     (("--no-native", "--kubernetes-version", "1.36"), False),
     (("--native", "--kubernetes-version", "1.30"), True)],
)  # fmt: skip
def test_sidecars_are_native_when_asked_or_by_version(
    options: tuple[str, ...], native: bool
) -> None:
    done = run("-f", DEPLOYMENT, *options)
    assert (b"restartPolicy: Always" in done.stdout) is native


def test_a_configuration_decides_where_the_pod_says_nothing(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("neverInjectSelector: [{matchLabels: {app: jiuxi}}]")
    done = run("-f", DEPLOYMENT, "--config", config)
    assert done.stdout == DEPLOYMENT.read_bytes()
    assert b"not injected: a never-inject selector matches the pod's labels" in done.stderr
    config.write_text("nativeSidecars: auto")
    assert b"restartPolicy" not in run("-f", DEPLOYMENT, "--config", config).stdout
    new = ("--config", config, "--kubernetes-version", "1.36")
    assert b"restartPolicy: Always" in run("-f", DEPLOYMENT, *new).stdout
    assert b"restartPolicy" not in run("-f", DEPLOYMENT, *new, "--no-native").stdout
    config.write_text("policy: perhaps")
    done = run("-f", DEPLOYMENT, "--config", config)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"config.yaml, field policy: must be one of enabled, disabled" in done.stderr


def test_what_is_no_version_is_a_misuse() -> None:
    done = run("-f", DEPLOYMENT, "--kubernetes-version", "new")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--kubernetes-version: 'new' is no version of Kubernetes" in done.stderr


def test_the_mode_and_the_link_of_an_output_file_are_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    real.write_text("old")
    real.chmod(0o640)
    link.symlink_to(real)
    assert run("-f", DEPLOYMENT, "-o", link).returncode == 0
    assert link.is_symlink()
    assert b"istio-proxy" in real.read_bytes()
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    argv = [sys.executable, "-m", "lab", "kube-inject", "-f", str(DEPLOYMENT)]
    done = subprocess.run(argv, stdout=write_end, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write_end)
    assert done.returncode == 141
    assert done.stderr == b""


def test_kube_inject_imports_nothing_but_yaml() -> None:
    code = (
        "import atexit, sys; sys.argv = ['lab', 'kube-inject', '-f', sys.argv[1]]\n"
        "heavy = {'kubernetes', 'rich', 'docker', 'httpx', 'cryptography', 'uvicorn', 'asyncio',"
        " 'hypothesis', 'jinja2', 'tempfile', 'click', 'dataclasses', 'pathlib', 'inspect'}\n"
        "atexit.register(lambda: print(sorted(heavy & set(sys.modules)), file=sys.stderr))\n"
        "from lab.start import main\nmain()\n"
    )
    argv = [sys.executable, "-c", code, str(DEPLOYMENT)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == "[]\n"
