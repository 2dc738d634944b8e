"""What is in the images: lab/mesh and what it needs, each file once, the entries as they should be.

Needs Docker and the built images; not the cluster.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lab.command import run
from lab.mesh.contract import CONTROL_IMAGE, NGINX_IMAGE, PROXY_IMAGE
from lab.paths import PACKAGE
from tests.live import layers

pytestmark = pytest.mark.live

OURS = (PROXY_IMAGE, CONTROL_IMAGE)
IMAGES = (*OURS, NGINX_IMAGE)
LOOK = """
import importlib.metadata, json, pkgutil, sys
tops = sorted({m.name for m in pkgutil.iter_modules()} - set(sys.stdlib_module_names))
lab = __import__("lab")
inside = sorted(m.name for m in pkgutil.walk_packages(lab.__path__, "lab."))
names = {d.metadata["Name"] for d in importlib.metadata.distributions()}
dists = sorted(name.lower().replace("_", "-") for name in names)
tests = sorted(m.name for m in pkgutil.walk_packages(onerror=lambda name: None)
               if m.name.split(".")[0] not in sys.stdlib_module_names
               and {"test", "tests", "testing"} & set(m.name.split(".")))
print(json.dumps({"tops": tops, "lab": inside, "dists": dists, "tests": tests, "path": sys.path}))
"""
DEBIAN_PYTHON = re.compile(r"_sysconfigdata_.*|_distutils_system_mod|sitecustomize")
"""Modules without a package of their own that Debian's python3 brings beside the library."""


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
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[layers.Stored]]:
    """An image's name and all its stored files."""
    image = str(request.param)
    archive: Path = tmp_path_factory.mktemp("image") / "image.tar"
    run(["docker", "image", "save", "-o", archive, image], timeout=300)
    files = layers.stored(archive)
    archive.unlink()
    return image, files


@pytest.mark.parametrize("image", OURS)
def test_of_lab_only_mesh_is_importable(image: str) -> None:
    names = looked(image)["lab"]
    assert "lab.mesh.contract" in names
    assert [name for name in names if not f"{name}.".startswith("lab.mesh.")] == []


def test_the_proxy_image_holds_no_package_but_ours() -> None:
    found = looked(PROXY_IMAGE)
    assert [top for top in found["tops"] if not DEBIAN_PYTHON.fullmatch(top)] == ["lab"]


def test_the_control_image_holds_exactly_the_locked_packages() -> None:
    locked = (PACKAGE / "locks" / "control.txt").read_text()
    names = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==", locked, flags=re.MULTILINE)
    assert looked(CONTROL_IMAGE)["dists"] == sorted(
        name.lower().replace("_", "-") for name in names
    )


@pytest.mark.parametrize("image", OURS)
def test_no_installer_and_no_test_package_is_inside(image: str) -> None:
    found = looked(image)
    installers = {"pip", "setuptools", "wheel", "ensurepip", "pkg_resources", "pytest"}
    assert installers.isdisjoint(found["tops"])
    assert found["tests"] == []


def test_no_path_is_in_two_layers(saved: tuple[str, list[layers.Stored]]) -> None:
    _, files = saved
    assert layers.paths_twice(files) == []


def test_no_content_is_stored_twice(saved: tuple[str, list[layers.Stored]]) -> None:
    _, files = saved
    assert layers.contents_twice(files) == []


def test_the_proxys_entry_is_the_agent_and_it_has_no_command() -> None:
    config = inspect(PROXY_IMAGE)["Config"]
    assert config["Entrypoint"] == ["/usr/local/bin/pilot-agent"]
    assert config["Cmd"] is None
    assert config["User"] == "1337"


def test_the_init_program_is_on_the_proxys_path() -> None:
    argv = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "istio-iptables"]
    shown = run([*argv, PROXY_IMAGE, "--help"], timeout=60).stdout
    assert "--run-validation" in shown


def test_every_image_stands_on_one_base() -> None:
    bottoms = {tuple(inspect(image)["RootFS"]["Layers"][:1]) for image in IMAGES}
    assert len(bottoms) == 1


def test_sizes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, so that growth is seen; the bound only stops a mistake such as a shipped cache."""
    with capsys.disabled():
        print()
        for image in IMAGES:
            size = int(inspect(image)["Size"])
            print(f"  {image:38} {size / 1e6:7.1f} MB")
            assert size < 500e6
