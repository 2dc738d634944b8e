import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lab.errors import ScenarioError
from lab.scenario import World
from lab.scenario.chapter import Chapter
from lab.scenario.run.find_chapters import load
from lab.scenario.run.runner import ChapterRunner
from lab.scenario.run.workshop import Route, Workshop, contents


class Reader:
    """A workshop on a console that keeps its text, and how often it waited for Enter."""

    def __init__(self, folder: Path) -> None:
        self.out = io.StringIO()
        self.waits = 0
        self.leave_at = 0
        self.folder = folder
        console = Console(file=self.out, width=100)
        self.workshop = Workshop(console, self.runner, self.wait)

    def runner(self, chapter: Chapter) -> ChapterRunner:
        return ChapterRunner(chapter, World(chapter.namespace, self.folder / chapter.namespace))

    def wait(self) -> None:
        self.waits += 1
        if self.waits == self.leave_at:
            raise KeyboardInterrupt

    @property
    def text(self) -> str:
        return self.out.getvalue()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


def test_a_page_has_prose_command_output_and_what_was_checked(
    reader: Reader, little: Chapter
) -> None:
    assert reader.workshop.walk([little], Route())
    for part in (
        "Chapter 1. Files",
        "A little chapter over local commands",
        "1.1  the file has two lines",
        "A file is a row of lines.",
        "$ cat 'a file.txt'\none\ntwo\n",
        "✓ lines of the file, in this order: one and two",
    ):
        assert part in reader.text
    assert reader.waits == 3


def test_it_ends_where_asked_and_says_what_is_left(reader: Reader, little: Chapter) -> None:
    assert reader.workshop.walk([little], Route(last="1.1"))
    assert "1.2  a pipeline" not in reader.text
    assert "little-files stays, so that you can" in reader.text


def test_it_begins_where_asked_with_what_that_stands_on(reader: Reader, little: Chapter) -> None:
    assert reader.workshop.walk([little], Route(first="1.2"))
    assert "Steps 1.1 to 1.1 ran before." in reader.text
    assert "1.1  the file" not in reader.text


def test_it_knows_where_it_was_stopped(reader: Reader, little: Chapter) -> None:
    reader.leave_at = 2
    with pytest.raises(KeyboardInterrupt):
        reader.workshop.walk([little], Route())
    assert reader.workshop.at == "1.1"


def test_a_step_that_does_not_hold_explains_itself(reader: Reader, little: Chapter) -> None:
    @little.given
    def spoiled(world: World) -> None:
        world.write("a file.txt", "other\n")

    assert not reader.workshop.walk([little], Route())
    assert "Step 1.1 did not hold." in reader.text
    assert "expected:" in reader.text
    assert "is the file there?" in reader.text


def test_a_failing_set_up_explains_itself(reader: Reader, little: Chapter) -> None:
    @little.given
    def nothing_works(world: World) -> None:
        world.run("false")

    assert not reader.workshop.walk([little], Route())
    assert "Set-up failed: nothing works" in reader.text


def test_the_contents_list_every_step(little: Chapter) -> None:
    assert list(contents([little])) == [
        "1. Files  (little-files)",
        "   1.1   the file has two lines  proves 1",
        "   1.2   a pipeline ends in a file  proves 2, 3",
    ]


def test_an_unknown_step_is_refused(little: Chapter) -> None:
    with pytest.raises(ScenarioError, match=r"9\.9"):
        Route(first="9.9").stages([little])


@pytest.fixture
def little(make_world: Callable[[], World]) -> Chapter:
    return load(Path(__file__).parents[1] / "little" / "ch1_files.py")
