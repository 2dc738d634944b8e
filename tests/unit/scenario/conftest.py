from collections.abc import Callable
from pathlib import Path

import pytest

from lab.scenario import World
from lab.scenario.chapter import Chapter
from lab.scenario.run.find_chapters import load

LITTLE = Path(__file__).parent / "little"


@pytest.fixture
def little() -> Chapter:
    return load(LITTLE / "ch1_files.py")


@pytest.fixture
def make_world(tmp_path: Path) -> Callable[[], World]:
    return lambda: World("little", tmp_path / "little")
