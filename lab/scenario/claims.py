"""The claims of a check: which expectations it has, and which of them held or failed.

A claim is one expectation. Its place (the source lines from the check through helpers down to the
expectation), its subject and its method identify it. So the claims of a check can be compared with
those of the same check after a break (a deliberate fault).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

_PACKAGE = __name__.rpartition(".")[0]
_BOTTOM = f"{_PACKAGE}.run.runner"
"""The module that calls the checks. Its own callers in the call stack belong to no chapter."""
_DEEPEST = 12


@dataclass(frozen=True)
class Claim:
    """One expectation about `what`. `method` is the kind of expectation: "equal", "shows", …

    `place` is a list of "file:line", from the check down to the expectation.
    """

    what: str
    method: str
    place: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what} ({' → '.join(self.place)})" if self.place else self.what


class ExpectationFailed(AssertionError):  # noqa: N818 - a finding, not an error of the program
    """Raised if an expectation does not hold; `expected` and `observed` are for the reader."""

    def __init__(
        self,
        what: str,
        expected: str,
        observed: str,
        *,
        difference: str = "",
        claim: Claim | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.observed = observed
        self.difference = difference
        self.claim = claim
        text = f"{what}\n  expected: {_indent(expected)}\n  seen:     {_indent(observed)}"
        super().__init__(text + (f"\n  difference:\n{difference}" if difference else ""))

    def with_heading(self, what: str) -> "ExpectationFailed":
        """Return a copy of this failure with `what` as the first line of its text."""
        return type(self)(
            what, self.expected, self.observed, difference=self.difference, claim=self.claim
        )


class NotSeenError(ExpectationFailed):
    """Raised if a value could not be read.

    This makes a step fail, but it does not prove that the check notices a break (deliberate fault).
    """


@dataclass
class Ledger:
    """The claims of one run of a check and their results.

    If `goes_on` is true, the failure of a claim is added to `red` and the check goes on; otherwise
    the failure is raised. `held` has a pair for each claim that held: the claim, and its sentence
    for the report. The sentence is "" if the claim has none. If a sentence only sums up other
    claims, the claim in its pair is None.
    """

    goes_on: bool = False
    held: list[tuple[Claim | None, str]] = field(default_factory=list)
    red: list[ExpectationFailed] = field(default_factory=list)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims that held, without duplicates."""
        return tuple(dict.fromkeys(claim for claim, _ in self.held if claim))

    @property
    def sentences(self) -> list[str]:
        """The sentences of the claims that held, without duplicates."""
        return list(dict.fromkeys(sentence for _, sentence in self.held if sentence))


_ledger: ContextVar[Ledger | None] = ContextVar("claims", default=None)


@contextmanager
def keeping(*, goes_on: bool = False) -> Iterator[Ledger]:
    """Yield a new ledger, which records the claims that are made in the `with` block."""
    ledger = Ledger(goes_on)
    token = _ledger.set(ledger)
    try:
        yield ledger
    finally:
        _ledger.reset(token)


@contextmanager
def trying() -> Iterator[Ledger]:
    """Yield a new ledger, which records the claims of one call of a probe (see `eventually`).

    The claims do not count for the check unless `settle` adds them to the check's ledger.
    """
    outer = _ledger.get()
    with keeping(goes_on=outer is not None and outer.goes_on) as ledger:
        yield ledger


def settle(look: Ledger, claim: Claim, sentence: str) -> None:
    """Add to the check's ledger `sentence` and the claims in `look`, the ledger of a probe.

    If no claim held in the probe, `claim` is added as the claim that held.
    """
    outer = _ledger.get()
    if outer is not None:
        outer.held += [*look.held, (None if look.held else claim, sentence)]


def held(claim: Claim, sentence: str = "") -> None:
    """Record that a claim held."""
    ledger = _ledger.get()
    if ledger is not None:
        ledger.held.append((claim, sentence))


def failed(failure: ExpectationFailed) -> None:
    """Record `failure` if the check goes on after failures; otherwise raise it.

    A NotSeenError is always raised, because the check has no value to go on with.
    """
    ledger = _ledger.get()
    if ledger is None or not ledger.goes_on or isinstance(failure, NotSeenError):
        raise failure
    ledger.red.append(failure)


def here(what: str, method: str) -> Claim:
    """Return the claim that the calling code makes now; its place is read from the call stack."""
    places: list[str] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and len(places) < _DEEPEST:
        module = str(frame.f_globals.get("__name__", ""))
        if module == _BOTTOM:
            break
        if not module.startswith(f"{_PACKAGE}."):
            places.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        frame = frame.f_back
    return Claim(what, method, tuple(reversed(places)))


def _indent(text: str) -> str:
    return text.replace("\n", "\n            ")
