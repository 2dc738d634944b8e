"""What a check claims: each expectation by its place, whether it held, whether it was seen red.

A claim is known by where it is made (the lines from the check down to the expectation, helpers
among them), by what it is about, and by the method. A check that runs again makes the same ones.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

_PACKAGE = __name__.rpartition(".")[0]
_BOTTOM = f"{_PACKAGE}.runner"
_DEEPEST = 12


@dataclass(frozen=True)
class Claim:
    """One expectation. `place`: "file:line", the outermost first; `method`: "equal", "shows", …"""

    what: str
    method: str
    place: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.what} ({' → '.join(self.place)})" if self.place else self.what


class ExpectationFailed(AssertionError):  # noqa: N818 - a finding, not a fault of the program
    """The world is not as the step says. `expected` and `seen` are ready to be shown."""

    def __init__(
        self,
        what: str,
        expected: str,
        seen: str,
        *,
        difference: str = "",
        claim: Claim | None = None,
    ) -> None:
        self.what = what
        self.expected = expected
        self.seen = seen
        self.difference = difference
        self.claim = claim
        text = f"{what}\n  expected: {_indent(expected)}\n  seen:     {_indent(seen)}"
        super().__init__(text + (f"\n  difference:\n{difference}" if difference else ""))

    def told(self, what: str) -> "ExpectationFailed":
        """The same finding under another heading (how long it was waited for)."""
        return type(self)(
            what, self.expected, self.seen, difference=self.difference, claim=self.claim
        )


class NotSeenError(ExpectationFailed):
    """No value was seen: there was no way to look. It fails a step; it does not prove a break."""


@dataclass
class Ledger:
    """What became of the claims of one run of a check.

    `goes_on`: a claim that fails is written down and the check goes on; otherwise it is raised.
    `held` has each claim's sentence ("" where the report has none to tell), and sentences that
    claim nothing more than others do (None).
    """

    goes_on: bool = False
    held: list[tuple[Claim | None, str]] = field(default_factory=list)
    red: list[ExpectationFailed] = field(default_factory=list)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Those that held, once each."""
        return tuple(dict.fromkeys(claim for claim, _ in self.held if claim))

    @property
    def sentences(self) -> list[str]:
        """The sentences of those that held, once each."""
        return list(dict.fromkeys(sentence for _, sentence in self.held if sentence))


_ledger: ContextVar[Ledger | None] = ContextVar("claims", default=None)


@contextmanager
def keeping(*, goes_on: bool = False) -> Iterator[Ledger]:
    """Keep account of the claims made inside."""
    ledger = Ledger(goes_on)
    token = _ledger.set(ledger)
    try:
        yield ledger
    finally:
        _ledger.reset(token)


@contextmanager
def trying() -> Iterator[Ledger]:
    """One look of several: what it finds counts only if it is handed to `settle`."""
    outer = _ledger.get()
    with keeping(goes_on=outer is not None and outer.goes_on) as ledger:
        yield ledger


def settle(look: Ledger, claim: Claim, sentence: str) -> None:
    """Take over what held in a look. Without claims of its own, that it held is the claim."""
    outer = _ledger.get()
    if outer is not None:
        outer.held += [*look.held, (None if look.held else claim, sentence)]


def held(claim: Claim, sentence: str = "") -> None:
    """Write down that a claim held."""
    ledger = _ledger.get()
    if ledger is not None:
        ledger.held.append((claim, sentence))


def failed(failure: ExpectationFailed) -> None:
    """Write a finding down where the check is to go on; raise it where not.

    What nobody could see is always raised: there is nothing to go on with.
    """
    ledger = _ledger.get()
    if ledger is None or not ledger.goes_on or isinstance(failure, NotSeenError):
        raise failure
    ledger.red.append(failure)


def here(what: str, method: str) -> Claim:
    """The claim that the calling code makes at this moment."""
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
