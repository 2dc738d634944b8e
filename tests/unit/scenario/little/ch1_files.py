"""A little chapter over local commands: what the runner does, without a cluster.

It has a second paragraph, so that pages must keep them apart.
"""

import sys
from collections.abc import Iterator

from lab.scenario import Chapter, Seen, World, eventually, expect

chapter = Chapter(1, "Files", namespace="little-files", prose=__doc__)

PRINT = "import sys; print(sys.stdin.read(), end='')"


@chapter.given
def a_file(world: World) -> None:
    world.names["python"] = sys.executable
    world.names["file"] = "a file.txt"
    world.write("a file.txt", "one\ntwo\n")


@chapter.step("cat {file}", shows="one\n...", proves=1, hint="is the file there?")
def the_file_has_two_lines(world: World, seen: Seen) -> None:
    """A file is a row of lines."""
    expect(seen.lines, "lines of the file").equal(["one", "two"])


@the_file_has_two_lines.breaks("the file has a third line")
def a_third_line(world: World) -> Iterator[None]:
    yield from instead(world, "one\ntwo\nthree\n")


@the_file_has_two_lines.breaks("the file begins otherwise")
def another_beginning(world: World) -> Iterator[None]:
    yield from instead(world, "three\n")


def instead(world: World, text: str) -> Iterator[None]:
    world.write("a file.txt", text)
    yield
    world.write("a file.txt", "one\ntwo\n")


@chapter.step(
    "cat {file} | sort -r | head -n 1 > first.txt",
    "cat first.txt",
    shows=("", "<word:first>"),
    proves=(2, 3),
)
def a_pipeline_ends_in_a_file(world: World, seen: Seen) -> None:
    """What one command prints another reads."""
    expect(seen[0].file, "what went to the file").equal("two\n")
    expect(seen.holes["first"], "the hole").equal("two")
    eventually(lambda: world.read("first.txt") == "two\n", "the file is written", within=2)
    world.attach("lines", before=["one", "two"], after=["two"])


@a_pipeline_ends_in_a_file.breaks("somebody else writes the file", rerun=False)
def another_writer(world: World) -> Iterator[None]:
    world.write("first.txt", "three\n")
    yield
    world.write("first.txt", "two\n")


@a_pipeline_ends_in_a_file.breaks("the file's last line is another")
def another_line(world: World) -> Iterator[None]:
    yield from instead(world, "zwei\n")


@a_pipeline_ends_in_a_file.breaks("the file's last line has two words")
def two_words(world: World) -> Iterator[None]:
    yield from instead(world, "zwei drei\n")
