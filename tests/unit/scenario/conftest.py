from collections.abc import Callable
from pathlib import Path

import pytest

from lab.scenario import World
from lab.scenario.chapters import load
from lab.scenario.model import Chapter

LITTLE = Path(__file__).parent / "little"


@pytest.fixture
def little() -> Chapter:
    return load(LITTLE / "ch1_files.py")


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[[], World]:
    return lambda: World("little", tmp_path / "little")
