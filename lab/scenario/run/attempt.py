"""One attempt at a step: its outputs and its result."""

from dataclasses import dataclass

from lab.scenario.claims import Claim, ExpectationFailed
from lab.scenario.seen import Output


@dataclass
class Attempt:
    """One attempt at a step. `error` is None when commands, templates and check all held.

    `outputs` are those of its commands, `checked` the sentences of the expectations that held and
    `claims` these expectations. `red` are the findings: several, if the check went on after one.
    """

    outputs: list[Output]
    checked: list[str]
    error: Exception | None = None
    claims: tuple[Claim, ...] = ()
    red: tuple[ExpectationFailed, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether commands, templates and check all held."""
        return self.error is None
