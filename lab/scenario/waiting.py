"""Claims about time: a condition must become true soon, or stay true for a while.

Limits are in seconds of wall time.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lab.errors import CommandError, ObservationError
from lab.scenario import claims
from lab.scenario.claims import Claim, ExpectationFailed, Ledger, NotSeenError
from lab.scenario.wording import pretty

T = TypeVar("T")

_cap: ContextVar[float | None] = ContextVar("deadline_cap", default=None)

# These may pass, so the probe is called again: a pod that is being replaced cannot be read yet.
_PASSING_ERRORS = (ObservationError, CommandError)


def eventually(
    probe: Callable[[], T], what: str = "", *, within: float = 5.0, every: float = 0.1
) -> T:
    """Call `probe` until it returns a true value, and return that value.

    A probe that returns a false value, or raises ExpectationFailed, ObservationError or
    CommandError, is called again after `every` seconds. An `expect(...)` chain counts as true:
    `eventually(lambda: expect(f(), "f").equal(3))`.
    When `within` seconds are over, and after at least one call, `eventually` raises
    ExpectationFailed with the last observation, or NotSeenError if nothing could be observed.
    While a break (a deliberate fault) is in effect, `within` is shorter. Then a failure is only
    recorded, and `eventually` returns what the last call of the probe returned; if this call raised
    an exception, `eventually` raises.
    """
    within = bounded(within)
    started = time.monotonic()
    claim = claims.here(what, "eventually")
    while True:
        look = _look(probe, claim)
        if not look.findings:
            sentence = f"{what} (after {time.monotonic() - started:.1f} s)" if what else ""
            claims.settle(look.ledger, claim, sentence)
            return look.values[0]
        left = started + within - time.monotonic()
        if left <= 0:
            _report(look, what, f"waited {within:g} s")
            if not look.values:
                raise look.findings[0]
            return look.values[0]
        time.sleep(min(every, left))


def consistently(
    probe: Callable[[], object], what: str = "", *, during: float = 1.0, every: float = 0.1
) -> None:
    """Call `probe` repeatedly for `during` seconds; it must return a true value each time.

    Raises ExpectationFailed at the first failure, with the time at which it happened. While a break
    (a deliberate fault) is in effect, the failure is only recorded, and `during` is not shorter,
    because the condition possibly becomes false only near the end.
    """
    started = time.monotonic()
    claim = claims.here(what, "consistently")
    while True:
        after = time.monotonic() - started
        look = _look(probe, claim, patient=False)
        if look.findings:
            _report(look, what, f"held only {after:.1f} s of {during:g} s")
            return
        if after >= during:
            claims.settle(look.ledger, claim, f"{what} (for {during:g} s)" if what else "")
            return
        time.sleep(min(every, max(0.0, during - after)))


def bounded(seconds: float) -> float:
    """Return the shorter of `seconds` and the limit of `deadlines_at_most`, if it is in use."""
    cap = _cap.get()
    return seconds if cap is None else min(seconds, cap)


@contextmanager
def deadlines_at_most(seconds: float) -> Iterator[None]:
    """Limit every wait in the `with` block to `seconds`, for a check that is meant to fail.

    The limit applies to `eventually`, the waiting methods of World, and `within` and `waits` of
    steps.
    """
    token = _cap.set(seconds)
    try:
        yield
    finally:
        _cap.reset(token)


@dataclass
class _Look(Generic[T]):
    """The result of one call of a probe.

    `ledger` has the claims that the probe made. `values` has the value that it returned, and is
    empty if it raised an exception. `findings` are the failures of claims.
    """

    ledger: Ledger
    values: list[T] = field(default_factory=list)

    @property
    def findings(self) -> list[ExpectationFailed]:
        return self.ledger.red


def _look(probe: Callable[[], T], claim: Claim, *, patient: bool = True) -> _Look[T]:
    with claims.trying() as ledger:
        look: _Look[T] = _Look(ledger)
        try:
            look.values.append(probe())
        except ExpectationFailed as failure:
            look.findings.append(failure)
        except _PASSING_ERRORS as error:
            if not patient:
                raise
            look.findings.append(
                NotSeenError(claim.what or "the condition", "an answer", error.message, claim=claim)
            )
        except Exception:
            # An exception after a finding follows from it. Without a finding it is an error.
            if not look.findings:
                raise
    if not look.findings and not look.values[0]:
        what, observed = claim.what or "the condition", pretty(look.values[0])
        look.findings.append(ExpectationFailed(what, "something true", observed, claim=claim))
    return look


def _report(look: _Look[T], what: str, how: str) -> None:
    for finding in look.findings:
        name = finding.what if not what or what == finding.what else f"{what}: {finding.what}"
        claims.failed(finding.with_heading(f"{name} ({how})"))
