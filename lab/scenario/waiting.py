"""Claims about time: what must come true soon, and what must stay true for a while.

Bounds are in seconds of wall time.
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

# A world in motion is looked at again: a pod that is being replaced cannot be observed yet.
_PASSING_TROUBLE = (ObservationError, CommandError)


def eventually(
    probe: Callable[[], T], what: str = "", *, within: float = 5.0, every: float = 0.1
) -> T:
    """Call `probe` until it returns something true, and return that.

    A probe that raises ExpectationFailed, ObservationError or CommandError is tried again;
    `expect(...)` chains are true, so `eventually(lambda: expect(f(), "f").equal(3))` reads well.
    When `within` seconds are over (always after at least one try): raises ExpectationFailed with
    the last thing seen, NotSeenError if nothing could be. A break run shortens `within`, and goes
    on after what was seen with whatever the probe returned.
    """
    within = bounded(within)
    started = time.monotonic()
    claim = claims.here(what, "eventually")
    while True:
        look = _look(probe, claim)
        if not look.found:
            told = f"{what} (after {time.monotonic() - started:.1f} s)" if what else ""
            claims.settle(look.ledger, claim, told)
            return look.values[0]
        left = started + within - time.monotonic()
        if left <= 0:
            _tell(look, what, f"waited {within:g} s")
            if not look.values:
                raise look.found[0]
            return look.values[0]
        time.sleep(min(every, left))


def consistently(
    probe: Callable[[], object], what: str = "", *, during: float = 1.0, every: float = 0.1
) -> None:
    """Call `probe` for `during` seconds; it must return something true every time.

    Raises ExpectationFailed at the first time that it does not, saying when that was.
    Not shortened in a break run: a thing may go bad late.
    """
    started = time.monotonic()
    claim = claims.here(what, "consistently")
    while True:
        after = time.monotonic() - started
        look = _look(probe, claim, patient=False)
        if look.found:
            _tell(look, what, f"held only {after:.1f} s of {during:g} s")
            return
        if after >= during:
            claims.settle(look.ledger, claim, f"{what} (for {during:g} s)" if what else "")
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


@dataclass
class _Look(Generic[T]):
    """One call of a probe: what held, what was found, and the value if it came to one."""

    ledger: Ledger
    values: list[T] = field(default_factory=list)

    @property
    def found(self) -> list[ExpectationFailed]:
        return self.ledger.red


def _look(probe: Callable[[], T], claim: Claim, *, patient: bool = True) -> _Look[T]:
    with claims.trying() as ledger:
        look: _Look[T] = _Look(ledger)
        try:
            look.values.append(probe())
        except ExpectationFailed as failure:
            look.found.append(failure)
        except _PASSING_TROUBLE as trouble:
            if not patient:
                raise
            look.found.append(
                NotSeenError(
                    claim.what or "the condition", "an answer", trouble.message, claim=claim
                )
            )
        except Exception:
            # What stumbles over a finding is no fault of its own; anything else is.
            if not look.found:
                raise
    if not look.found and not look.values[0]:
        what, seen = claim.what or "the condition", pretty(look.values[0])
        look.found.append(ExpectationFailed(what, "something true", seen, claim=claim))
    return look


def _tell(look: _Look[T], what: str, how: str) -> None:
    for one in look.found:
        name = one.what if not what or what == one.what else f"{what}: {one.what}"
        claims.failed(one.told(f"{name} ({how})"))
