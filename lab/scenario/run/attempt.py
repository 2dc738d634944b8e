"""One go at a step: what ran, and what came of it."""

from dataclasses import dataclass

from lab.scenario.claims import Claim, ExpectationFailed
from lab.scenario.seen import Output


@dataclass
class Attempt:
    """One go at a step: what ran and what came of it. `trouble` is None when all held.

    `claims` are the expectations that held, `red` the findings (several, where the check went on).
    """

    outputs: list[Output]
    checked: list[str]
    trouble: Exception | None = None
    claims: tuple[Claim, ...] = ()
    red: tuple[ExpectationFailed, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether commands, templates and check all held."""
        return self.trouble is None
