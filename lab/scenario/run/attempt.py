"""One attempt at a step (its commands and its check): the outputs and the result."""

from dataclasses import dataclass

from lab.scenario.claims import Claim, ExpectationFailed
from lab.scenario.seen import Output


@dataclass
class Attempt:
    """One attempt at a step: its commands ran, then its check.

    `error` is None if every command succeeded, every output fitted its template, and the check
    passed. `outputs` are the outputs of the commands that ran. `claims` are the expectations that
    held; `checked` has their sentences for the report. `red` are the expectations that failed;
    there can be more than one only if the check went on after the first failure.
    """

    outputs: list[Output]
    checked: list[str]
    error: Exception | None = None
    claims: tuple[Claim, ...] = ()
    red: tuple[ExpectationFailed, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all commands succeeded, their outputs fitted the templates, the check passed."""
        return self.error is None
