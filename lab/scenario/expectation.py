"""What a check says: `expect(value, "what it is").equal(other)`.

A failed expectation carries what was expected beside what was seen; one that held is noted in a
sentence, so that the report can say what was checked.
"""

import difflib
import re
from collections.abc import Callable, Collection, Container, Mapping, Sequence, Set, Sized
from typing import Any, Generic, Self, TypeVar, cast

from lab.scenario import claims, wording
from lab.scenario.claims import ExpectationFailed
from lab.scenario.wording import pretty, say, show

T = TypeVar("T")


class Expectation(Generic[T]):
    """One value under its name. Every method returns the same object, so that they chain.

    Each raises ExpectationFailed when it does not hold (in a break run it is written down, and
    the check goes on). `claim`, where it can be given, says in words what holds of the value
    ("is the neighbour's own"); it completes the sentence that the value's name begins.
    """

    def __init__(self, value: T, what: str) -> None:
        self.value = value
        self.what = what

    def equal(self, other: object, claim: str = "") -> Self:
        """It equals `other`; of collections and texts, the difference is shown."""
        same = self.value == other
        return self._hold(
            "equal",
            same,
            f"{self.what} {claim}" if claim else wording.equals(self.what, other),
            pretty(other),
            difference="" if same else _difference(other, self.value),
            exact=other,
        )

    def differ(self, other: object, claim: str = "") -> Self:
        """It is anything but `other`."""
        told = claim or f"is not {say(other)}"
        return self._hold("differ", self.value != other, f"{self.what} {told}", told)

    def contains(self, *items: object) -> Self:
        """Each of `items` is in it (a part of a text, a member of a collection)."""
        missing = [item for item in items if item not in self._container()]
        return self._hold(
            "contains",
            not missing,
            wording.holds(self.what, self.value, items),
            f"contains {', '.join(map(show, items))}",
            difference=f"missing: {', '.join(map(show, missing))}",
        )

    def lacks(self, *items: object) -> Self:
        """None of `items` is in it."""
        present = [item for item in items if item in self._container()]
        return self._hold(
            "lacks",
            not present,
            wording.lacks(self.what, self.value, items),
            f"does not contain {', '.join(map(show, items))}",
            difference=f"present: {', '.join(map(show, present))}",
        )

    def matches(self, pattern: str, claim: str) -> Self:
        """The regular expression `pattern` is found in it (multi-line, Python's syntax)."""
        found = re.search(pattern, str(self.value), re.MULTILINE)
        sentence = f"{self.what} {claim}"
        return self._hold("matches", found is not None, sentence, f"matches {pattern!r}")

    def has_length(self, count: int) -> Self:
        """It has exactly `count` members."""
        size = len(cast(Sized, self.value))
        sentence = f"{self.what}: {count or 'none'}"
        difference = f"has {size}"
        return self._hold(
            "has_length", size == count, sentence, f"has {count} members", difference=difference
        )

    def at_least(self, bound: Any) -> Self:
        """It is `bound` or more."""
        return self._bounded("at_least", cast(Any, self.value) >= bound, f"at least {say(bound)}")

    def at_most(self, bound: Any) -> Self:
        """It is `bound` or less."""
        return self._bounded("at_most", cast(Any, self.value) <= bound, f"at most {say(bound)}")

    def more_than(self, bound: Any) -> Self:
        """It is more than `bound`."""
        return self._bounded("more_than", cast(Any, self.value) > bound, f"more than {say(bound)}")

    def one_of(self, options: Collection[object]) -> Self:
        """It is one of `options`."""
        told = f"one of {say(options)}"
        return self._bounded("one_of", self.value in options, told)

    def satisfies(self, claim: str, test: Callable[[T], object]) -> Self:
        """`test(value)` is true; `claim` says so in words ("starts with a digit")."""
        return self._hold("satisfies", bool(test(self.value)), f"{self.what} {claim}", claim)

    def _bounded(self, method: str, holds: bool, bounds: str) -> Self:
        sentence = f"{self.what} is {say(self.value)}, {bounds}"
        return self._hold(method, holds, sentence, f"is {bounds}")

    def _container(self) -> Container[object]:
        return cast(Container[object], self.value)

    def _hold(
        self,
        method: str,
        holds: bool,
        sentence: str,
        expected: str,
        *,
        difference: str = "",
        exact: object = None,
    ) -> Self:
        claim = claims.here(self.what, method)
        if holds:
            claims.held(claim, sentence)
            return self
        seen = pretty(self.value)
        if expected == seen:
            # They differ in something that their short forms leave out.
            expected, seen = repr(exact), repr(self.value)
        claims.failed(
            ExpectationFailed(self.what, expected, seen, difference=difference, claim=claim)
        )
        return self


def expect(value: T, what: str) -> Expectation[T]:
    """Begin an expectation about `value`; `what` names it for the reader of a report."""
    return Expectation(value, what)


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
