"""The expectations of a check: `expect(value, "what it is").equal(other)`.

A failed expectation has the expected and the observed value. An expectation that holds adds a
sentence to the report, which lists what was checked.
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
    """A value and its name. Every method returns the same object, so calls can be chained.

    Each method raises ExpectationFailed if its claim does not hold. While a break (a deliberate
    fault) is in effect, the method only records the failure, and the check goes on. The parameter
    `claim` says in words what holds, for instance "is the neighbour's own"; the report's sentence
    is the value's name followed by `claim`.
    """

    def __init__(self, value: T, what: str) -> None:
        self.value = value
        self.what = what

    def equal(self, other: object, claim: str = "") -> Self:
        """The value equals `other`. A failure lists the differences of collections and texts."""
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
        """The value is not equal to `other`."""
        condition = claim or f"is not {say(other)}"
        return self._hold("differ", self.value != other, f"{self.what} {condition}", condition)

    def contains(self, *items: object) -> Self:
        """The value contains each of `items`: parts of a text, or members of a collection."""
        missing = [item for item in items if item not in self._container()]
        return self._hold(
            "contains",
            not missing,
            wording.holds(self.what, self.value, items),
            f"contains {', '.join(map(show, items))}",
            difference=f"missing: {', '.join(map(show, missing))}",
        )

    def lacks(self, *items: object) -> Self:
        """The value contains none of `items`."""
        present = [item for item in items if item in self._container()]
        return self._hold(
            "lacks",
            not present,
            wording.lacks(self.what, self.value, items),
            f"does not contain {', '.join(map(show, items))}",
            difference=f"present: {', '.join(map(show, present))}",
        )

    def matches(self, pattern: str, claim: str) -> Self:
        """The regular expression `pattern` (with re.MULTILINE) matches a part of the value."""
        match = re.search(pattern, str(self.value), re.MULTILINE)
        sentence = f"{self.what} {claim}"
        return self._hold("matches", match is not None, sentence, f"matches {pattern!r}")

    def has_length(self, count: int) -> Self:
        """The value has exactly `count` members."""
        size = len(cast(Sized, self.value))
        sentence = f"{self.what}: {count or 'none'}"
        difference = f"has {size}"
        return self._hold(
            "has_length", size == count, sentence, f"has {count} members", difference=difference
        )

    def at_least(self, bound: Any) -> Self:
        """The value is `bound` or more."""
        return self._bounded("at_least", cast(Any, self.value) >= bound, f"at least {say(bound)}")

    def at_most(self, bound: Any) -> Self:
        """The value is `bound` or less."""
        return self._bounded("at_most", cast(Any, self.value) <= bound, f"at most {say(bound)}")

    def more_than(self, bound: Any) -> Self:
        """The value is more than `bound`."""
        return self._bounded("more_than", cast(Any, self.value) > bound, f"more than {say(bound)}")

    def one_of(self, options: Collection[object]) -> Self:
        """The value is one of `options`."""
        bounds = f"one of {say(options)}"
        return self._bounded("one_of", self.value in options, bounds)

    def satisfies(self, claim: str, test: Callable[[T], object]) -> Self:
        """`test(value)` is true; `claim` says in words what this means ("starts with a digit")."""
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
        observed = pretty(self.value)
        if expected == observed:
            # The short forms are equal, so the difference is in something that they leave out.
            expected, observed = repr(exact), repr(self.value)
        claims.failed(
            ExpectationFailed(self.what, expected, observed, difference=difference, claim=claim)
        )
        return self


def expect(value: T, what: str) -> Expectation[T]:
    """Start an expectation about `value`; `what` is its name in the report."""
    return Expectation(value, what)


def _difference(expected: object, observed: object) -> str:
    if isinstance(expected, Set) and isinstance(observed, Set):
        return _members("missing", expected - observed) + _members(
            "unexpected", observed - expected
        )
    if isinstance(expected, Mapping) and isinstance(observed, Mapping):
        wrong = {
            k: (expected[k], observed[k])
            for k in expected.keys() & observed
            if expected[k] != observed[k]
        }
        return (
            _members("missing", {k: expected[k] for k in expected.keys() - observed.keys()}.items())
            + _members(
                "unexpected", {k: observed[k] for k in observed.keys() - expected.keys()}.items()
            )
            + "".join(
                f"    {key}: expected {show(a)}, seen {show(b)}\n" for key, (a, b) in wrong.items()
            )
        )
    if isinstance(expected, str) and isinstance(observed, str):
        return _lines(expected.splitlines(), observed.splitlines())
    if isinstance(expected, Sequence) and isinstance(observed, Sequence):
        return _lines([show(x) for x in expected], [show(x) for x in observed])
    return ""


def _members(title: str, members: Collection[object]) -> str:
    return "".join(sorted(f"    {title}: {show(member)}\n" for member in members))


def _lines(expected: Sequence[str], observed: Sequence[str]) -> str:
    if len(expected) + len(observed) < 3:
        return ""
    return "\n".join(difflib.unified_diff(expected, observed, "expected", "seen", n=1, lineterm=""))
