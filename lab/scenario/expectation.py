"""What a check says: `expect(value, "what it is").equal(other)`, now, in time, or for a while.

A failed expectation carries what was expected beside what was seen; one that held is noted,
so that the report can say what was checked. Bounds are in seconds of wall time.
"""

import dataclasses
import difflib
import pprint
import re
import time
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence, Set, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, Self, TypeVar, cast

from lab.errors import CommandError, ObservationError

T = TypeVar("T")

_cap: ContextVar[float | None] = ContextVar("deadline_cap", default=None)
_held: ContextVar[list[str] | None] = ContextVar("held_expectations", default=None)

# A world in motion is looked at again: a pod that is being replaced cannot be observed yet.
_PASSING_TROUBLE = (ObservationError, CommandError)


class ExpectationFailed(AssertionError):  # noqa: N818 - a finding, not a fault of the program
    """The world is not as the step says. `expected` and `seen` are ready to be shown."""

    def __init__(self, what: str, expected: str, seen: str, *, difference: str = "") -> None:
        self.what = what
        self.expected = expected
        self.seen = seen
        self.difference = difference
        text = f"{what}\n  expected: {_indent(expected)}\n  seen:     {_indent(seen)}"
        super().__init__(text + (f"\n  difference:\n{difference}" if difference else ""))


class Expectation(Generic[T]):
    """One value under its name. Every method returns the same object, so that they chain.

    Each raises ExpectationFailed when it does not hold.
    """

    def __init__(self, value: T, what: str) -> None:
        self.value = value
        self.what = what

    def equal(self, other: object) -> Self:
        """It equals `other`; of collections and texts, the difference is shown."""
        return self._hold(
            self.value == other, f"is {show(other)}", expected=other, difference=(other, self.value)
        )

    def differ(self, other: object) -> Self:
        """It is anything but `other`."""
        return self._hold(self.value != other, f"is not {show(other)}")

    def contains(self, *items: object) -> Self:
        """Each of `items` is in it (a part of a text, a member of a collection)."""
        missing = [item for item in items if item not in self._container()]
        wanted = ", ".join(show(item) for item in items)
        lacking = ", ".join(show(item) for item in missing)
        return self._hold(
            not missing,
            f"contains {wanted}",
            difference_text=f"missing: {lacking}" if missing else "",
        )

    def lacks(self, *items: object) -> Self:
        """None of `items` is in it."""
        present = [item for item in items if item in self._container()]
        unwanted = ", ".join(show(item) for item in items)
        return self._hold(not present, f"does not contain {unwanted}")

    def matches(self, pattern: str) -> Self:
        """The regular expression `pattern` is found in it (multi-line, Python's syntax)."""
        found = re.search(pattern, str(self.value), re.MULTILINE)
        return self._hold(found is not None, f"matches {pattern!r}")

    def is_true(self) -> Self:
        """It is true (by Python's truth: a non-empty collection is)."""
        return self._hold(bool(self.value), "is true")

    def is_false(self) -> Self:
        """It is false, empty or None."""
        return self._hold(not self.value, "is false or empty")

    def has_length(self, count: int) -> Self:
        """It has exactly `count` members."""
        size = len(cast(Sized, self.value))
        return self._hold(size == count, f"has {count} members", difference_text=f"has {size}")

    def at_least(self, bound: Any) -> Self:
        """It is `bound` or more."""
        return self._hold(cast(Any, self.value) >= bound, f"is at least {show(bound)}")

    def at_most(self, bound: Any) -> Self:
        """It is `bound` or less."""
        return self._hold(cast(Any, self.value) <= bound, f"is at most {show(bound)}")

    def more_than(self, bound: Any) -> Self:
        """It is more than `bound`."""
        return self._hold(cast(Any, self.value) > bound, f"is more than {show(bound)}")

    def one_of(self, options: Collection[object]) -> Self:
        """It is one of `options`."""
        return self._hold(self.value in options, f"is one of {show(options)}")

    def satisfies(self, claim: str, test: Callable[[T], object]) -> Self:
        """`test(value)` is true; `claim` says so in words ("starts with a digit")."""
        return self._hold(bool(test(self.value)), claim)

    def _container(self) -> Container[object]:
        return cast(Container[object], self.value)

    def _hold(
        self,
        holds: bool,
        claim: str,
        *,
        expected: object = None,
        difference: tuple[object, object] | None = None,
        difference_text: str = "",
    ) -> Self:
        if holds:
            _note(f"{self.what} {claim}")
            return self
        wanted = pretty(expected) if difference else claim
        seen = pretty(self.value)
        if wanted == seen:
            # They differ in something that their short forms leave out.
            wanted, seen = repr(expected), repr(self.value)
        raise ExpectationFailed(
            self.what,
            wanted,
            seen,
            difference=_difference(*difference) if difference else difference_text,
        )


def expect(value: T, what: str) -> Expectation[T]:
    """Begin an expectation about `value`; `what` names it for the reader of a report."""
    return Expectation(value, what)


def eventually(
    probe: Callable[[], T], what: str = "", *, within: float = 5.0, every: float = 0.1
) -> T:
    """Call `probe` until it returns something true, and return that.

    A probe that raises ExpectationFailed, ObservationError or CommandError is tried again;
    `expect(...)` chains are true, so `eventually(lambda: expect(f(), "f").equal(3))` reads well.
    Raises ExpectationFailed with the last thing seen when `within` seconds are over (always after
    at least one try). A break run shortens `within`.
    """
    within = bounded(within)
    started = time.monotonic()
    notes = _held.get()
    mark = len(notes) if notes is not None else 0
    while True:
        if notes is not None:
            del notes[mark:]
        last: ExpectationFailed
        try:
            value = probe()
            if value:
                if what:
                    _note(f"{what} (after {time.monotonic() - started:.1f} s)")
                return value
            last = ExpectationFailed(what or "the condition", "something true", pretty(value))
        except ExpectationFailed as failed:
            last = failed
        except _PASSING_TROUBLE as trouble:
            last = ExpectationFailed(what or "the condition", "an answer", trouble.message)
        left = started + within - time.monotonic()
        if left <= 0:
            name = last.what if not what or what == last.what else f"{what}: {last.what}"
            raise ExpectationFailed(
                f"{name} (waited {within:g} s)",
                last.expected,
                last.seen,
                difference=last.difference,
            ) from last
        time.sleep(min(every, left))


def consistently(
    probe: Callable[[], object], what: str = "", *, during: float = 1.0, every: float = 0.1
) -> None:
    """Call `probe` for `during` seconds; it must return something true every time.

    Raises ExpectationFailed at the first time that it does not, saying when that was.
    Not shortened in a break run: a thing may go bad late.
    """
    started = time.monotonic()
    notes = _held.get()
    mark = len(notes) if notes is not None else 0
    while True:
        if notes is not None:
            del notes[mark:]
        after = time.monotonic() - started
        try:
            value = probe()
        except ExpectationFailed as failed:
            raise ExpectationFailed(
                f"{what or failed.what} (held only {after:.1f} s of {during:g} s)",
                failed.expected,
                failed.seen,
                difference=failed.difference,
            ) from failed
        if not value:
            raise ExpectationFailed(
                f"{what or 'the condition'} (held only {after:.1f} s of {during:g} s)",
                "something true all the time",
                pretty(value),
            )
        if after >= during:
            if what:
                _note(f"{what} (for {during:g} s)")
            return
        time.sleep(min(every, max(0.0, during - after)))


def bounded(seconds: float) -> float:
    """`seconds`, or less in a break run: what anything that waits should take as its deadline."""
    cap = _cap.get()
    return seconds if cap is None else min(seconds, cap)


@contextmanager
def deadlines_at_most(seconds: float) -> Iterator[None]:
    """Shorten every `eventually` inside: a check that must fail need not wait to the end."""
    token = _cap.set(seconds)
    try:
        yield
    finally:
        _cap.reset(token)


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect, in order and once each, the sentences of the expectations that held inside."""
    notes: list[str] = []
    token = _held.set(notes)
    try:
        yield notes
    finally:
        _held.reset(token)
        notes[:] = list(dict.fromkeys(notes))


def show(value: object, limit: int = 160) -> str:
    """`value` on one line, cut at `limit` characters."""
    text = " ".join(pretty(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def pretty(value: object) -> str:
    """`value` for a reader: texts as they are, collections one member a line where long."""
    if isinstance(value, str):
        return value if value.strip() else repr(value)
    if isinstance(value, Set):
        # Sets print in an order that changes from run to run; reports must not.
        return "{" + ",\n ".join(sorted(_member(item) for item in value)) + "}"
    if isinstance(value, list | tuple) and any(_speaks(item) for item in value):
        return "[" + ",\n ".join(_member(item) for item in value) + "]"
    return _member(value)


def _speaks(value: object) -> bool:
    """Whether it is plain data that says of itself how it is read best."""
    return dataclasses.is_dataclass(value) and type(value).__str__ is not object.__str__


def _member(value: object) -> str:
    return str(value) if _speaks(value) else pprint.pformat(value, width=96, sort_dicts=False)


def _note(sentence: str) -> None:
    notes = _held.get()
    if notes is not None:
        notes.append(sentence)


def _indent(text: str) -> str:
    return text.replace("\n", "\n            ")


def _difference(expected: object, seen: object) -> str:
    if isinstance(expected, Set) and isinstance(seen, Set):
        return _members("missing", expected - seen) + _members("unexpected", seen - expected)
    if isinstance(expected, Mapping) and isinstance(seen, Mapping):
        wrong = {
            k: (expected[k], seen[k]) for k in expected.keys() & seen if expected[k] != seen[k]
        }
        return (
            _members("missing", {k: expected[k] for k in expected.keys() - seen.keys()}.items())
            + _members("unexpected", {k: seen[k] for k in seen.keys() - expected.keys()}.items())
            + "".join(
                f"    {key}: expected {show(a)}, seen {show(b)}\n" for key, (a, b) in wrong.items()
            )
        )
    if isinstance(expected, str) and isinstance(seen, str):
        return _lines(expected.splitlines(), seen.splitlines())
    if isinstance(expected, Sequence) and isinstance(seen, Sequence):
        return _lines([show(x) for x in expected], [show(x) for x in seen])
    return ""


def _members(title: str, members: Collection[object]) -> str:
    return "".join(sorted(f"    {title}: {show(member)}\n" for member in members))


def _lines(expected: Sequence[str], seen: Sequence[str]) -> str:
    if len(expected) + len(seen) < 3:
        return ""
    return "\n".join(difflib.unified_diff(expected, seen, "expected", "seen", n=1, lineterm=""))
