"""What is in the images: lab/mesh and what it needs, each file once, the entries as they should be.

Needs Docker and the built images; not the cluster.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from lab.cluster.images.ensure import Built, ImageSource, ensure
from lab.command import run
from lab.paths import PACKAGE
from tests.live import layers

pytestmark = pytest.mark.live

OURS = ("proxy", "control")
IMAGES = (*OURS, "nginx")
LOOK = """
import importlib.metadata, json, pkgutil, sysconfig
library = sysconfig.get_path("stdlib")
found = [m for m in pkgutil.iter_modules() if not m.module_finder.path.startswith(library)]
tops = sorted(m.name for m in found)
lab = __import__("lab")
inside = sorted(m.name for m in pkgutil.walk_packages(lab.__path__, "lab."))
names = {d.metadata["Name"] for d in importlib.metadata.distributions()}
dists = sorted(name.lower().replace("_", "-") for name in names)
print(json.dumps({"tops": tops, "lab": inside, "dists": dists}))
"""
"""Importable beside Python's own library: top modules, all of lab, and distributions."""
INSTALLERS = {"pip", "setuptools", "wheel", "pkg_resources", "uv", "ensurepip"}
LICENCE = re.compile(r"/copyright$|/licenses?/|/LICEN[CS]E[^/]*$")
TEST_TOOLS = {"test", "tests", "pytest", "_pytest", "hypothesis", "nox", "mypy", "ruff", "coverage"}


@pytest.fixture(scope="module")
def built() -> Built:
    """The images of this checkout; built where they are missing."""
    return ensure(ImageSource.AUTO)


def reference(built: Built, image: str) -> str:
    """The Docker reference of one of IMAGES."""
    return {
        "proxy": built.proxy_image,
        "control": built.control_image,
        "nginx": built.nginx_image,
    }[image]


def inspect(image: str) -> dict[str, Any]:
    """`docker image inspect` of one image."""
    (found,) = json.loads(run(["docker", "image", "inspect", image]).stdout)
    assert isinstance(found, dict)
    return found


def looked(image: str) -> dict[str, list[str]]:
    """What the image's own Python can import."""
    argv = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "/usr/bin/python3"]
    found = json.loads(run([*argv, image, "-c", LOOK], timeout=120).stdout)
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module", params=IMAGES)
def saved(
    built: Built, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[layers.Stored]]:
    """An image's name and all its stored files."""
    image = reference(built, str(request.param))
    archive: Path = tmp_path_factory.mktemp("image") / "image.tar"
    run(["docker", "image", "save", "-o", archive, image], timeout=300)
    files = layers.stored(archive)
    archive.unlink()
    return str(request.param), files


@pytest.mark.parametrize("image", OURS)
def test_of_lab_only_mesh_is_importable(built: Built, image: str) -> None:
    names = looked(reference(built, image))["lab"]
    assert "lab.mesh.contract" in names
    assert [name for name in names if not f"{name}.".startswith("lab.mesh.")] == []


def test_the_proxy_image_holds_no_package_but_ours(built: Built) -> None:
    found = looked(built.proxy_image)
    assert found["tops"] == ["lab"]
    assert found["dists"] == []


def test_the_control_image_holds_exactly_the_locked_packages(built: Built) -> None:
    assert looked(built.control_image)["dists"] == locked("control")


@pytest.mark.parametrize("image", OURS)
def test_no_installer_and_no_test_package_is_inside(built: Built, image: str) -> None:
    tops = looked(reference(built, image))["tops"]
    assert (INSTALLERS | TEST_TOOLS).isdisjoint(tops)


def locked(lock: str) -> list[str]:
    """The distributions of a lock that its markers want on Debian's Python 3.11."""
    text = (PACKAGE / "locks" / f"{lock}.txt").read_text()
    there = {"sys_platform": "linux", "platform_system": "Linux", "python_version": "3.11"}
    there |= {"os_name": "posix", "python_full_version": "3.11.2", "extra": ""}
    wanted = []
    for line in text.splitlines():
        if line[:1].isalnum():
            one = Requirement(line.partition(" --hash")[0].rstrip(" \\"))
            if one.marker is None or one.marker.evaluate(there):
                wanted.append(one.name.lower().replace("_", "-"))
    return sorted(wanted)


def test_no_path_is_in_two_layers(saved: tuple[str, list[layers.Stored]]) -> None:
    _, files = saved
    assert layers.paths_twice(files) == []


def test_no_layer_removes_what_one_below_holds(saved: tuple[str, list[layers.Stored]]) -> None:
    """Such a layer cannot be unpacked into the node image, whose disk is an overlay itself."""
    _, files = saved
    assert [file.path for file in files if "/.wh." in f"/{file.path}"] == []


def test_no_content_is_stored_twice(
    saved: tuple[str, list[layers.Stored]], capsys: pytest.CaptureFixture[str]
) -> None:
    """What our layers add is nowhere else in the image.

    Debian's own packages repeat some files within the base: told, not failed. Licence texts have
    to stay beside what they cover.
    """
    image, files = saved
    found = layers.contents_twice([file for file in files if not LICENCE.search(file.path)])
    ours = [group for group in found if "(layer " in group.replace("(layer 0)", "")]
    with capsys.disabled():
        print(f"\n  {image}: {len(found) - len(ours)} groups of equal files within Debian's base")
    assert ours == []


def test_the_proxys_entry_is_the_agent_and_it_has_no_command(built: Built) -> None:
    config = inspect(built.proxy_image)["Config"]
    assert config["Entrypoint"] == ["/usr/local/bin/pilot-agent"]
    assert config["Cmd"] is None
    assert config["User"] == "1337:1337"


def test_the_init_program_is_on_the_proxys_path(built: Built) -> None:
    argv = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "istio-iptables"]
    shown = run([*argv, built.proxy_image, "--help"], timeout=60).stdout
    assert "--run-validation" in shown


def test_the_init_program_works_with_the_init_containers_rights(built: Built) -> None:
    """uid 0, read-only root, no capability but NET_ADMIN and NET_RAW, no new privileges."""
    rights = ["--user", "0:0", "--read-only", "--cap-drop", "ALL", "--network", "none"]
    rights += ["--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW"]
    rights += ["--security-opt", "no-new-privileges"]
    argv = ["docker", "run", "--rm", *rights, "--entrypoint", "istio-iptables", built.proxy_image]
    flags = ["-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", ""]
    log = run([*argv, *flags, "-b", "*", "-d", "15090,15021,15020"], timeout=60).stdout
    assert "-N ISTIO_REDIRECT" in log
    assert "verified, 18 rules" in log


def test_every_image_stands_on_one_base(built: Built) -> None:
    bottoms = {tuple(inspect(reference(built, image))["RootFS"]["Layers"][:1]) for image in IMAGES}
    assert len(bottoms) == 1


def test_sizes_are_told(built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, so that growth is seen; the bound only stops a mistake such as a shipped cache."""
    with capsys.disabled():
        print()
        for image in IMAGES:
            size = int(inspect(reference(built, image))["Size"])
            print(f"  {image:38} {size / 1e6:7.1f} MB")
            assert size < 500e6
