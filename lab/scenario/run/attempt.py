"""One attempt at a step: its outputs and its result."""

from dataclasses import dataclass

from lab.scenario.claims import Claim, ExpectationFailed
from lab.scenario.seen import Output


@dataclass
class Attempt:
    """One attempt at a step. `error` is None if commands, templates and check all held.

    `outputs` are the outputs of the commands. `claims` are the expectations that held, `checked`
    their sentences for the report. `red` are the failed expectations; there can be more than one
    only if the check went on after the first.
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
