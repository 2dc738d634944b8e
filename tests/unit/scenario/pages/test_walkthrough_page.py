import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lab.records.model import ChapterRecord
from lab.scenario import World
from lab.scenario.chapter import Chapter
from lab.scenario.pages.walkthrough_page import CHECKED, stale, walkthrough
from lab.scenario.run import find_chapters
from lab.scenario.run.runner import ChapterRunner
from lab.scenario.wording import fault


def record(chapter: Chapter, world: World) -> dict[int, ChapterRecord]:
    runner = ChapterRunner(chapter, world)
    runner.step(len(chapter.steps))
    return {chapter.number: runner.finish()}


def page(chapter: Chapter, make_world: Callable[[], World]) -> str:
    return walkthrough([chapter], record(chapter, make_world()))


def test_the_page_shows_command_output_and_check(
    little: Chapter, make_world: Callable[[], World]
) -> None:
    text = page(little, make_world)
    assert "## 1. Files" in text
    assert "### 1.1 The file has two lines" in text
    assert "```console\n$ cat 'a file.txt'\none\ntwo\n```" in text
    assert "- lines of the file, in this order: one and two\n" in text
    assert (
        "It fails, as it must, when:\n\n- the file has a third line\n- the file begins otherwise\n"
        in text
    )


def test_every_sentence_of_the_page_is_one_for_readers() -> None:
    text = Path("docs/walkthrough.md").read_text(encoding="utf-8")
    parts = text.split(f"\n{CHECKED}\n\n")[1:]
    sentences = [line[2:] for part in parts for line in part.split("\n\n")[0].splitlines()]
    steps = sum(len(chapter.steps) for chapter in find_chapters.load_all())
    assert len(parts) == steps
    assert len(sentences) > 3 * steps
    assert [one for one in sentences if fault(re.sub(r"\\([*<\[])", r"\1", one))] == []


def test_a_fresh_page_is_current(little: Chapter, make_world: Callable[[], World]) -> None:
    assert stale(page(little, make_world), [little]) is None


def test_a_page_made_by_another_run_is_current_too(
    little: Chapter, make_world: Callable[[], World]
) -> None:
    text = page(little, make_world).replace("'a file.txt'", "b.txt").replace("two\n", "zwei\n")
    assert stale(text, [little]) is None


def test_changed_prose_or_a_changed_command_is_named(
    little: Chapter, make_world: Callable[[], World]
) -> None:
    text = page(little, make_world)
    for old, new in (("row of lines", "heap of lines"), ("| sort -r |", "| sort |")):
        wrong = stale(text.replace(old, new), [little])
        assert wrong is not None
        assert new in wrong.found
        assert old in wrong.wanted


def test_a_page_that_ends_early_or_late_is_stale(
    little: Chapter, make_world: Callable[[], World]
) -> None:
    text = page(little, make_world)
    short = stale(text[: text.index("### 1.2")], [little])
    assert short is not None
    assert short.found == ""
    long = stale(text + "\n## 2. More\n", [little])
    assert long is not None
    assert long.found == "## 2. More"


def test_the_machine_that_recorded_is_not_named(
    little: Chapter, make_world: Callable[[], World]
) -> None:
    text = walkthrough([little], record(little, make_world()), {"two": "TWO", "one\ntwo": "both"})
    assert "```console\n$ cat 'a file.txt'\nboth\n```" in text


def test_long_output_is_cut_and_says_so(little: Chapter, make_world: Callable[[], World]) -> None:
    made = record(little, make_world())
    chapter = made[1]
    command = replace(chapter.steps[0].commands[0], stdout="x" * 999 + "\n" + "$ line\n" * 99)
    step = replace(chapter.steps[0], commands=(command,))
    text = walkthrough([little], {1: replace(chapter, steps=(step, *chapter.steps[1:]))})
    assert f"\n{'x' * 200} …\n" in text
    assert "… (40 more lines)" in text
    assert stale(text, [little]) is None
