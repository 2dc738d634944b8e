from pathlib import Path

import pytest

from lab.errors import ScenarioError
from lab.scenario import Chapter, Seen, World
from lab.scenario.attachments import grid
from lab.scenario.labels import selector
from lab.scenario.run import find_chapters


def chapter() -> Chapter:
    return Chapter(3, "Three", namespace="three", prose="Why.")


def check(world: World, seen: Seen) -> None:
    """Why."""


def test_a_step_knows_its_place_and_name() -> None:
    three = chapter()
    step = three.step("true")(check)
    assert (step.id, step.title, step.prose) == ("3.1", "check", "Why.")


def test_a_step_must_say_why() -> None:
    def silent(world: World, seen: Seen) -> None:
        pass

    with pytest.raises(ScenarioError, match="docstring"):
        chapter().step("true")(silent)


def test_a_step_must_run_something() -> None:
    with pytest.raises(ScenarioError, match="no command"):
        chapter().step()(check)


def test_each_command_has_its_template() -> None:
    with pytest.raises(ScenarioError, match="2 commands and 1 templates"):
        chapter().step("a", "b", shows=["x"])(check)


def test_a_chapter_must_have_prose_and_a_usable_namespace() -> None:
    with pytest.raises(ScenarioError, match="prose"):
        Chapter(1, "One", namespace="one", prose=None)
    with pytest.raises(ScenarioError, match="namespace"):
        Chapter(1, "One", namespace="One!", prose="Why.")


def test_the_labs_own_chapters_can_all_be_read() -> None:
    for one in find_chapters.load_all():
        assert one.steps


def test_every_step_of_the_labs_chapters_declares_what_breaks_it() -> None:
    without = [s.id for c in find_chapters.load_all() for s in c.steps if not s.broken_by]
    assert without == []


def test_more_than_ten_unbroken_expectations_are_refused(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "little" / "ch1_files.py").read_text()
    listed = "".join(
        f"the_file_has_two_lines.cannot_break('{number}', because='x')\n" for number in range(10)
    )
    (tmp_path / "cha.py").write_text(text + listed)
    assert find_chapters.load_all(tmp_path)
    one_more = "a_pipeline_ends_in_a_file.cannot_break('one', because='x')\n"
    (tmp_path / "chb.py").write_text(text + listed + one_more)
    (tmp_path / "cha.py").unlink()
    with pytest.raises(ScenarioError, match="11 expectations"):
        find_chapters.load_all(tmp_path)


def test_acts_and_waits_name_commands() -> None:
    with pytest.raises(ScenarioError, match="`acts` must be numbers of its commands"):
        chapter().step("a", acts=[1])(check)
    with pytest.raises(ScenarioError, match="`waits` must have numbers of commands that have"):
        chapter().step("a", waits={0: 5})(check)


def test_two_chapters_of_one_number_are_refused(tmp_path: Path) -> None:
    text = (Path(__file__).parent / "little" / "ch1_files.py").read_text()
    for name in ("cha.py", "chb.py"):
        (tmp_path / name).write_text(text)
    with pytest.raises(ScenarioError, match="number 1"):
        find_chapters.load_all(tmp_path)


def test_a_step_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ScenarioError) as told:
        find_chapters.find_step([], "9.9")
    assert "none" in told.value.hint


def test_selectors_are_equalities() -> None:
    assert selector("a=b, c=d") == {"a": "b", "c": "d"}
    assert selector("") is None
    with pytest.raises(ScenarioError):
        selector("a in (b)")


def test_sets_become_sorted_tables_and_empty_columns_go() -> None:
    made = grid([{"port": 80, "owner": None}, {"port": 15001, "owner": None}])
    assert made.columns == ("port",)
    assert made.rows == (("80",), ("15001",))
    assert grid({"b", "a"}).rows == (("a",), ("b",))
    assert grid([]).rows == ()


def test_a_step_that_proves_what_no_list_holds_is_a_mistake_of_its_author() -> None:
    chapter = Chapter(9, "Nine", namespace="nine", prose="Why.")
    with pytest.raises(
        ScenarioError, match=r"step 9\.1 \(odd\) proves number 16, which is not in lab/records"
    ):

        @chapter.step("true", proves=(1, 16))
        def odd(world: World, seen: Seen) -> None:
            """Why."""
