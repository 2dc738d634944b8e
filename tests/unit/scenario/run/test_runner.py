import json
import sys
from collections.abc import Callable, Iterator

import pytest

from lab.errors import CommandError, ObservationError
from lab.observe.parsers.netstat import parse_netstat
from lab.records.model import ChapterRecord, Failure, StepRecord
from lab.scenario import Chapter, Seen, Step, World, consistently, eventually, expect
from lab.scenario.run import break_protocol
from lab.scenario.run.runner import ChapterRunner

MakeWorld = Callable[[], World]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(break_protocol, "REACTION", 0.3)
    monkeypatch.setattr(break_protocol, "DEADLINE", 0.2)
    monkeypatch.setattr(break_protocol, "RECOVERY", 0.5)


def run(chapter: Chapter, world: World, *, breaks: bool = False) -> ChapterRecord:
    runner = ChapterRunner(chapter, world, breaks=breaks, run="r1")
    runner.step(len(chapter.steps))
    return runner.finish()


def one_step(chapter: Chapter, world: World, *, breaks: bool = False) -> StepRecord:
    return run(chapter, world, breaks=breaks).steps[0]


def fresh() -> Chapter:
    return Chapter(9, "Made here", namespace="made-here", prose="Made in a test.")


def failure(record: StepRecord) -> Failure:
    assert record.failure is not None
    return record.failure


def test_a_chapter_leaves_what_it_ran_printed_and_checked(
    little: Chapter, make_world: MakeWorld
) -> None:
    record = run(little, make_world())
    assert record.passed
    assert [one.id for one in record.steps] == ["1.1", "1.2"]
    first, second = record.steps
    assert first.commands[0].shown == "cat 'a file.txt'"
    assert first.commands[0].stdout == "one\ntwo\n"
    assert first.checked == ("lines of the file, in this order: one and two",)
    assert [one.shown for one in second.commands] == [
        "cat 'a file.txt' | sort -r | head -n 1 > first.txt",
        "cat first.txt",
    ]
    assert second.attachments[0].name == "lines"
    assert second.proves == (2, 3)


def test_every_break_turns_its_step_red_and_the_undo_green_again(
    little: Chapter, make_world: MakeWorld
) -> None:
    record = run(little, make_world(), breaks=True)
    assert record.passed
    breaks = [one for step in record.steps for one in step.breaks]
    assert [(one.turned_red, one.green_again) for one in breaks] == [(True, True)] * 5
    assert "three" in breaks[0].said


def test_an_expectation_is_placed_in_its_chapter_and_nowhere_below(
    little: Chapter, make_world: MakeWorld
) -> None:
    steps = run(little, make_world(), breaks=True).steps
    # "": a template that the runner itself compares.
    places = {claim.place for step in steps for claim in step.claims} - {""}
    assert places
    files = {frame.partition(":")[0] for place in places for frame in place.split(" → ")}
    assert files == {"ch1_files.py"}


def test_a_break_does_not_spoil_the_records_of_its_step(
    little: Chapter, make_world: MakeWorld
) -> None:
    step = run(little, make_world(), breaks=True).steps[1]
    assert step.commands[1].stdout == "two\n"
    assert len(step.attachments) == 1


def test_a_chapter_runs_again_in_a_used_world(little: Chapter, make_world: MakeWorld) -> None:
    world = make_world()
    assert run(little, world).passed
    world.write("a file.txt", "left over\n")
    assert run(little, world).passed


def test_a_break_that_stays_green_is_a_failure(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("true")
    def blind(world: World, seen: Seen) -> None:
        """Looks at nothing."""

    @blind.breaks("the file is gone")
    def gone(world: World) -> None:
        return None

    record = one_step(chapter, make_world(), breaks=True)
    assert record.outcome == "failed"
    assert failure(record).kind == "break"
    assert failure(record).seen == "its check still passes"
    assert not record.breaks[0].turned_red


def test_a_step_without_breaks_is_a_failure_where_breaks_are_asked_for(
    make_world: MakeWorld,
) -> None:
    chapter = fresh()

    @chapter.step("true")
    def unproven(world: World, seen: Seen) -> None:
        """Has no break."""

    assert one_step(chapter, make_world()).passed
    assert failure(one_step(chapter, make_world(), breaks=True)).kind == "break"


def test_a_break_that_makes_the_check_crash_is_not_red(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("true")
    def fragile(world: World, seen: Seen) -> None:
        """Crashes rather than fails."""
        expect(world.memory.get("rows", [1])[0], "first row").equal(1)

    @fragile.breaks("no rows are left")
    def no_rows(world: World) -> Iterator[None]:
        world.memory["rows"] = []
        yield
        del world.memory["rows"]

    record = one_step(chapter, make_world(), breaks=True)
    assert record.outcome == "failed"
    assert "IndexError" in failure(record).seen


def cannot_be_observed() -> None:
    raise ObservationError("no observer")


def cannot_be_run() -> None:
    raise CommandError(["kubectl"], 1, "", "refused")


def does_not_end() -> None:
    raise CommandError(["kubectl"], None, "", "")


def cannot_be_parsed() -> None:
    parse_netstat("Segmentation fault\n")


def is_no_json() -> None:
    json.loads("<html>")


def is_never_seen() -> None:
    eventually(cannot_be_observed, "the sight", within=60)


def stays_unseen() -> None:
    consistently(cannot_be_run, "the sight", during=60)


@pytest.mark.parametrize(
    "look",
    [
        cannot_be_observed,
        cannot_be_run,
        does_not_end,
        cannot_be_parsed,
        is_no_json,
        is_never_seen,
        stays_unseen,
    ],
)
def test_a_way_to_look_that_is_taken_away_is_not_red(
    make_world: MakeWorld, look: Callable[[], None]
) -> None:
    chapter = fresh()

    @chapter.step("true")
    def looking(world: World, seen: Seen) -> None:
        """Looks, and then claims."""
        if world.memory.get("blind"):
            look()
        expect(1, "it").equal(1)

    @looking.breaks("nobody can look")
    def blind(world: World) -> Iterator[None]:
        world.memory["blind"] = True
        yield
        world.memory["blind"] = False

    record = one_step(chapter, make_world(), breaks=True)
    assert record.outcome == "failed"
    assert not record.breaks[0].turned_red
    assert record.breaks[0].green_again
    assert failure(record).expected == "its check fails"
    assert not record.claims[0].red_by


def test_a_command_that_fails_is_not_red(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.given
    def the_file(world: World) -> None:
        world.write("here", "")

    @chapter.step("cat here")
    def the_file_is_here(world: World, seen: Seen) -> None:
        """cat finds it."""
        expect(seen.stdout, "the file").equal("")

    @the_file_is_here.breaks("the file is gone")
    def gone(world: World) -> Callable[[], object]:
        (world.workdir / "here").unlink()
        return lambda: world.write("here", "")

    record = one_step(chapter, make_world(), breaks=True)
    assert not record.breaks[0].turned_red
    assert "exited 1" in failure(record).seen


def two_claims(chapter: Chapter, *breaks: dict[str, int]) -> Step:
    """A step that claims two things of the world's memory, and breaks that change it."""

    @chapter.step("true")
    def both(world: World, seen: Seen) -> None:
        """Two numbers."""
        expect(world.memory.get("one", 1), "the one").equal(1)
        expect(world.memory.get("two", 2), "the other").equal(2)

    for number, change in enumerate(breaks):

        def apply(world: World, change: dict[str, int] = change) -> Iterator[None]:
            world.memory |= change
            yield
            world.memory.clear()

        both.breaks(f"break {number}")(apply)
    return both


def test_one_break_may_turn_several_expectations_red(make_world: MakeWorld) -> None:
    chapter = fresh()
    two_claims(chapter, {"one": 0, "two": 0})
    record = one_step(chapter, make_world(), breaks=True)
    assert record.passed
    assert [(one.what, one.red_by) for one in record.claims] == [
        ("the one (equal)", "break 0"),
        ("the other (equal)", "break 0"),
    ]


def test_an_expectation_that_nothing_turns_red_fails_its_step_by_name(
    make_world: MakeWorld,
) -> None:
    chapter = fresh()
    two_claims(chapter, {"one": 0})
    record = one_step(chapter, make_world(), breaks=True)
    assert record.breaks[0].turned_red
    assert "the other" in failure(record).seen
    assert "the one" not in failure(record).seen
    assert "test_runner.py:" in failure(record).seen


def test_several_breaks_together_turn_every_expectation_red(make_world: MakeWorld) -> None:
    chapter = fresh()
    two_claims(chapter, {"one": 0}, {"two": 0})
    record = one_step(chapter, make_world(), breaks=True)
    assert record.passed
    assert [one.red_by for one in record.claims] == ["break 0", "break 1"]


def test_a_listed_expectation_need_not_be_red_and_its_reason_is_kept(
    make_world: MakeWorld,
) -> None:
    chapter = fresh()
    two_claims(chapter, {"one": 0}).cannot_break("the other", because="two is two")
    record = one_step(chapter, make_world(), breaks=True)
    assert record.passed
    assert [one.listed for one in record.claims] == ["", "two is two"]


@pytest.mark.parametrize("what", ["the one", "nothing of that name"])
def test_a_list_that_is_not_true_fails_its_step(make_world: MakeWorld, what: str) -> None:
    chapter = fresh()
    two_claims(chapter, {"one": 0}, {"two": 0}).cannot_break(what, because="it seems so")
    record = one_step(chapter, make_world(), breaks=True)
    assert record.outcome == "failed"
    assert what in failure(record).seen


def test_a_blind_check_does_not_keep_later_steps_from_being_reached(
    make_world: MakeWorld,
) -> None:
    chapter = fresh()
    two_claims(chapter, {"one": 0})
    two_claims(chapter, {"one": 0, "two": 0})
    record = run(chapter, make_world(), breaks=True)
    assert [one.outcome for one in record.steps] == ["failed", "passed"]


def test_an_act_is_not_run_again_by_a_break_but_a_look_is(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.given
    def the_file(world: World) -> None:
        world.write("log", "")

    @chapter.step("tee log", "cat log", acts=[0])
    def once(world: World, seen: Seen) -> None:
        """The log is as it was left."""
        expect(seen[1].stdout, "the log").equal("")

    @once.breaks("somebody writes the log")
    def written(world: World) -> Callable[[], object]:
        world.write("log", "a line")
        return lambda: world.write("log", "")

    record = one_step(chapter, make_world(), breaks=True)
    assert record.passed
    assert record.breaks[0].said == "the log: expected '', seen a line"


def test_a_command_that_is_waited_for_is_repeated_until_it_shows_what_it_should(
    make_world: MakeWorld,
) -> None:
    chapter = fresh()

    @chapter.given
    def a_counter(world: World) -> None:
        world.names["python"] = sys.executable
        world.names["wanted"] = "3"
        world.write("count.py", COUNT)

    @chapter.step("{python} count.py", shows="{wanted}", waits={0: 10})
    def three(world: World, seen: Seen) -> None:
        """It comes to three."""
        expect(seen.stdout, "the count").equal("3\n", "is three")

    record = one_step(chapter, make_world())
    assert record.passed
    assert [one.stdout for one in record.commands] == ["3\n"]


COUNT = """\
from pathlib import Path
file = Path("count")
count = int(file.read_text()) + 1 if file.exists() else 1
file.write_text(str(count))
print(count)
raise SystemExit(count < 2)
"""


def test_a_sentence_that_prints_as_python_does_fails_its_step(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("true")
    def said_badly(world: World, seen: Seen) -> None:
        """Holds, and is not said."""
        expect(1, f"the number of {[1]}").equal(1)

    told = failure(one_step(chapter, make_world()))
    assert "the number of [1] is 1" in told.what
    assert "bracket" in told.detail


def test_what_a_command_prints_is_an_expectation_like_others(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.given
    def the_file(world: World) -> None:
        world.write("here", "a\n")

    @chapter.step("cat here", shows="a")
    def as_shown(world: World, seen: Seen) -> None:
        """cat prints it."""
        expect(seen.stdout, "the file").equal("a\n")

    @as_shown.breaks("the file holds something else")
    def other(world: World) -> Callable[[], object]:
        world.write("here", "b\n")
        return lambda: world.write("here", "a\n")

    record = one_step(chapter, make_world(), breaks=True)
    assert record.passed
    assert [one.what for one in record.claims] == [
        "what `cat here` prints (shows)",
        "the file (equal)",
    ]


def test_a_world_that_does_not_come_back_is_a_failure(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("true")
    def sound(world: World, seen: Seen) -> None:
        """Nothing is broken."""
        expect(world.memory.get("broken"), "what is broken").equal(None)

    @sound.breaks("for good")
    def for_good(world: World) -> None:
        world.memory["broken"] = "for good"

    record = one_step(chapter, make_world(), breaks=True)
    assert record.breaks[0].turned_red
    assert not record.breaks[0].green_again
    assert "undone" in failure(record).what


def test_an_undo_that_crashes_is_named(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("true")
    def sound(world: World, seen: Seen) -> None:
        """Nothing is broken."""
        expect("broken" in world.memory, "broken").equal(False)

    @sound.breaks("badly")
    def badly(world: World) -> Iterator[None]:
        world.memory["broken"] = 1
        yield
        raise RuntimeError("cannot mend")

    record = one_step(chapter, make_world(), breaks=True)
    assert "cannot mend" in failure(record).detail


def test_steps_after_a_failed_one_are_not_reached_and_not_passed(make_world: MakeWorld) -> None:
    chapter = fresh()
    ran: list[str] = []

    @chapter.step("true", hint="look closer")
    def wrong(world: World, seen: Seen) -> None:
        """Does not hold."""
        expect({"a", "b"}, "the set").equal({"a", "c"})

    @chapter.step("true")
    def later(world: World, seen: Seen) -> None:
        """Never runs."""
        ran.append("later")

    record = run(chapter, make_world())
    assert [one.outcome for one in record.steps] == ["failed", "not reached"]
    assert not record.passed
    assert ran == []
    told = failure(record.steps[0])
    assert (told.expected, told.seen) == ("{'a',\n 'c'}", "{'a',\n 'b'}")
    assert "missing: c" in told.difference
    assert "unexpected: b" in told.difference
    assert told.hint == "look closer"


def test_a_failing_set_up_is_named_and_no_step_is_reached(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.given
    def the_pod_is_there(world: World) -> None:
        raise ObservationError("no pod", hint="make one")

    @chapter.step("true")
    def never(world: World, seen: Seen) -> None:
        """Never runs."""

    record = run(chapter, make_world())
    assert record.setup[-1].failure is not None
    assert "the pod is there" in record.setup[-1].failure.what
    assert record.steps[0].outcome == "not reached"
    assert not record.passed


def test_a_command_that_fails_shows_exit_code_and_output(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("cat nowhere")
    def readable(world: World, seen: Seen) -> None:
        """The file is there."""

    record = one_step(chapter, make_world())
    assert failure(record).kind == "command"
    assert "exit code 1" in failure(record).seen
    assert "nowhere" in failure(record).seen
    assert record.commands[0].exit_code == 1


def test_an_expected_exit_code_is_handed_to_the_check(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("cat nowhere", allow_exit=[1])
    def unreadable(world: World, seen: Seen) -> None:
        """cat says so."""
        expect(seen.last.returncode, "exit code").equal(1)

    assert one_step(chapter, make_world()).passed


def test_output_that_does_not_fit_the_template_fails_the_step(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("echo 10.0.0.x", shows="<ip>")
    def an_address(world: World, seen: Seen) -> None:
        """Prints one."""

    told = failure(one_step(chapter, make_world()))
    assert (told.expected, told.seen) == ("<ip>", "10.0.0.x")


def test_a_step_with_time_is_repeated_until_it_holds(make_world: MakeWorld) -> None:
    chapter = fresh()
    seen_so_far: list[int] = []

    @chapter.step("echo hello", within=5)
    def third_time(world: World, seen: Seen) -> None:
        """The third look is the one."""
        seen_so_far.append(1)
        expect(len(seen_so_far), "looks").at_least(3)

    assert one_step(chapter, make_world()).passed


def test_a_placeholder_nobody_set_fails_with_what_is_known(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("echo {pod}")
    def named(world: World, seen: Seen) -> None:
        """There is a pod."""

    told = failure(one_step(chapter, make_world()))
    assert "{pod}" in told.what
    assert "world.names['pod']" in told.hint


def test_a_value_with_blanks_and_operators_stays_one_word(make_world: MakeWorld) -> None:
    chapter = fresh()
    nasty = "a b | c > d 'e' \"f\" $g"

    @chapter.given
    def names(world: World) -> None:
        world.names["nasty"] = nasty
        world.names["python"] = sys.executable

    @chapter.step("{python} -c 'import sys; print(sys.argv[1:])' {nasty}")
    def one_word(world: World, seen: Seen) -> None:
        """It is."""
        expect(seen.stdout, "argv").equal(f"{[nasty]!r}\n", "is one word")

    assert one_step(chapter, make_world()).passed


def test_a_crash_in_a_check_is_a_fault_with_its_place(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("true")
    def crashing(world: World, seen: Seen) -> None:
        """Divides by nothing."""
        _ = 1 / len(seen.stdout)

    told = failure(one_step(chapter, make_world()))
    assert told.kind == "fault"
    assert "test_runner.py" in told.detail


def test_a_deadline_is_short_in_a_broken_world(make_world: MakeWorld) -> None:
    chapter = fresh()

    @chapter.step("true")
    def patient(world: World, seen: Seen) -> None:
        """Would wait a minute."""
        eventually(lambda: "broken" not in world.memory, "all is well", within=60)

    @patient.breaks("it never comes")
    def never(world: World) -> Iterator[None]:
        world.memory["broken"] = 1
        yield
        world.memory.clear()

    record = one_step(chapter, make_world(), breaks=True)
    assert record.passed
    assert record.breaks[0].seconds < 10


def test_two_runs_of_one_chapter_do_not_meet(little: Chapter, make_world: MakeWorld) -> None:
    first = ChapterRunner(little, make_world())
    assert first.step(1).passed
    second = run(little, make_world())
    assert second.setup[0].failure is not None
    assert "another run" in second.setup[0].failure.what
    assert first.step(2).passed
    first.finish()
    assert run(little, make_world()).passed
