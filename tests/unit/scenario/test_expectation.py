import time
from collections.abc import Callable

import pytest

from lab.errors import CommandError, ObservationError
from lab.observe.readings import Listener, Rule
from lab.scenario.claims import ExpectationFailed, NotSeenError, keeping
from lab.scenario.expectation import expect
from lab.scenario.waiting import consistently, deadlines_at_most, eventually
from lab.scenario.wording import pretty


@pytest.mark.parametrize(
    "claim",
    [
        lambda: expect(3, "it").equal(4),
        lambda: expect(3, "it").differ(3),
        lambda: expect("abc", "it").contains("b", "x"),
        lambda: expect([1, 2], "it").lacks(2),
        lambda: expect("abc", "it").matches("^b", "begins with b"),
        lambda: expect([0], "it").has_length(2),
        lambda: expect(1, "it").at_least(2),
        lambda: expect(2, "it").at_most(1),
        lambda: expect(2, "it").more_than(2),
        lambda: expect(2, "it").one_of([1, 3]),
        lambda: expect(2, "it").satisfies("is odd", lambda x: x % 2),
    ],
)
def test_each_claim_can_fail_and_shows_what_was_seen(claim: Callable[[], object]) -> None:
    with pytest.raises(ExpectationFailed) as told:
        claim()
    assert told.value.what == "it"
    assert told.value.expected
    assert told.value.observed


def test_claims_that_hold_are_noted_once_in_order() -> None:
    with keeping() as ledger:
        expect("abc", "the text").contains("a").matches("c$", "ends in c").contains("a")
    assert ledger.sentences == ["the text contains a", "the text ends in c"]


def test_only_the_last_look_of_a_wait_is_noted() -> None:
    looks: list[int] = []

    def probe() -> object:
        looks.append(1)
        expect(sum(looks), "the looks").at_least(1)
        return expect(len(looks), "their number").equal(3)

    with keeping() as ledger:
        eventually(probe, within=5, every=0.01)
    assert ledger.sentences == ["the looks is 3, at least 1", "their number is 3"]


def test_a_wait_that_ends_carries_the_last_thing_seen() -> None:
    looks: list[int] = []

    def probe() -> object:
        looks.append(1)
        return expect(len(looks), "looks").equal(-1)

    with pytest.raises(ExpectationFailed, match=r"waited 0\.1 s") as told:
        eventually(probe, within=0.1, every=0.01)
    assert told.value.observed == str(len(looks))


def test_a_world_that_cannot_be_looked_at_yet_is_looked_at_again() -> None:
    looks: list[int] = []

    def probe() -> object:
        looks.append(1)
        if len(looks) < 3:
            raise ObservationError("not yet")
        return True

    assert eventually(probe, within=5, every=0.01)


@pytest.mark.parametrize(
    "trouble",
    [
        ObservationError("the observer is gone"),
        CommandError(["kubectl"], 1, "", "refused"),
        CommandError(["kubectl"], None, "", ""),
    ],
)
def test_a_wait_in_which_nothing_could_be_seen_says_so(trouble: Exception) -> None:
    def blind() -> object:
        raise trouble

    with pytest.raises(NotSeenError, match="expected: an answer"):
        eventually(blind, "the sight", within=0.05, every=0.01)
    with keeping(goes_on=True) as ledger, pytest.raises(NotSeenError):
        eventually(blind, "the sight", within=0.05, every=0.01)
    assert ledger.red == []


def test_a_check_that_goes_on_tells_every_finding() -> None:
    with keeping(goes_on=True) as ledger:
        expect(1, "the first").equal(2)
        expect(1, "the second").equal(1)
        eventually(lambda: expect(3, "the third").equal(4), within=0.05, every=0.01)
        eventually(lambda: 0, "the fourth", within=0.05, every=0.01)
        consistently(lambda: expect(5, "the fifth").equal(6), "a while", during=0.05, every=0.01)
    assert [one.claim.what for one in ledger.red if one.claim] == [
        "the first",
        "the third",
        "the fourth",
        "the fifth",
    ]
    assert [claim.what for claim in ledger.claims] == ["the second"]


def test_what_stumbles_over_a_finding_in_a_wait_is_not_told_beside_it() -> None:
    def probe() -> object:
        rows: list[int] = []
        expect(rows, "rows").has_length(1)
        return rows[0]

    with keeping(goes_on=True) as ledger, pytest.raises(ExpectationFailed, match="rows"):
        eventually(probe, within=0.05, every=0.01)
    assert [one.what for one in ledger.red] == ["rows (waited 0.05 s)"]


def test_a_claim_is_the_same_each_time_and_another_in_another_place() -> None:
    def helper() -> None:
        expect(1, "it").at_least(1)

    def check() -> None:
        helper()
        helper()
        expect(1, "it").at_least(1).at_most(1)

    ledgers = []
    for _ in range(2):
        with keeping() as ledger:
            check()
        ledgers.append(ledger.claims)
    assert ledgers[0] == ledgers[1]
    assert len(ledgers[0]) == 4


def test_a_crash_in_a_probe_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        eventually(lambda: 1 / 0, within=5)


def test_a_break_run_shortens_waits() -> None:
    started = time.monotonic()
    with deadlines_at_most(0.05), pytest.raises(ExpectationFailed):
        eventually(lambda: False, within=60)
    assert time.monotonic() - started < 5


def test_a_thing_that_goes_bad_late_is_caught() -> None:
    started = time.monotonic()
    with pytest.raises(ExpectationFailed, match="held only"):
        consistently(lambda: time.monotonic() - started < 0.1, during=5, every=0.01)


def test_a_thing_that_stays_good_is_noted() -> None:
    with keeping() as ledger:
        consistently(lambda: True, "it stays", during=0.05, every=0.01)
    assert ledger.sentences == ["it stays (for 0.05 s)"]


def test_mappings_show_what_differs_by_key() -> None:
    with pytest.raises(ExpectationFailed) as told:
        expect({"a": 1, "b": 2, "d": 4}, "labels").equal({"a": 1, "b": 3, "c": 4})
    assert "missing: ('c', 4)" in told.value.difference
    assert "unexpected: ('d', 4)" in told.value.difference
    assert "b: expected 3, seen 2" in told.value.difference


def test_data_that_says_itself_how_it_reads_is_shown_so() -> None:
    assert pretty({Listener("0.0.0.0", 80, "nginx", 1)}) == "{0.0.0.0:80 1/nginx}"
    assert pretty([Listener("::", 80), 1]) == "[:::80,\n 1]"


def test_things_that_read_alike_but_differ_are_shown_in_full() -> None:
    one, other = Rule("A", packets=1), Rule("A", goto=True)
    assert str(one) == str(other)
    with pytest.raises(ExpectationFailed) as told:
        expect(one, "the rule").equal(other)
    assert told.value.expected != told.value.observed
