"""The namespaces of one test, made before it and removed after it.

Missing tools fail a test with what to install: a data plane that was not tested is not a data plane
that works. A user who may make no namespaces is told how many tests were not run, and why.
"""

import os
import shutil
import uuid
from collections.abc import Iterator

import pytest

from tests.dataplane.world import TOOLS, Namespace, World, build, remove

NEEDS_ROOT = "they make network namespaces, which needs root"


@pytest.fixture(scope="session")
def tools() -> None:
    """Fail, naming packages, where a namespace cannot be programmed; not run without root."""
    if os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if missing:
        pytest.fail(f"these tests need the packages: {', '.join(missing)} (apt-get install)")


@pytest.fixture
def world(tools: None) -> Iterator[World]:
    """A fresh pair of namespaces; everything that runs in them ends with the test."""
    tag = uuid.uuid4().hex[:8]
    made = World(Namespace(f"lab-pod-{tag}"), Namespace(f"lab-cli-{tag}"))
    try:
        build(made)
        yield made
    finally:
        for side in (made.pod, made.client):
            remove(side)


@pytest.fixture
def pod(world: World) -> Namespace:
    """The pod's namespace of `world`."""
    return world.pod
