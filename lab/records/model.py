"""The records of a run of scenarios: frozen dataclasses of plain values, written as JSON.

A RunRecord contains ChapterRecords, a ChapterRecord contains SetupRecords and StepRecords, and a
StepRecord contains CommandRecords, BreakRecords and ClaimRecords. This module imports no other
module of the lab, so that a report depends only on the records.
"""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

R = TypeVar("R")

Outcome = Literal["passed", "failed", "not reached"]
"""A step after a failed step of its chapter is `not reached`; that counts as a failure."""

FORMAT = 1
"""Version of the format of run.json. A change that makes old files unreadable gets a new number."""


@dataclass(frozen=True)
class CommandRecord:
    """A command line as it was shown and run, its output, exit code and wall time in seconds."""

    shown: str
    stdout: str
    stderr: str
    exit_code: int
    seconds: float


@dataclass(frozen=True)
class Grid:
    """A table: column titles and rows of texts. A single column without a name has the title ""."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Attachment:
    """A named table before and after a change. A side that was not read is None."""

    name: str
    before: Grid | None = None
    after: Grid | None = None


@dataclass(frozen=True)
class Failure:
    """Why something failed.

    `kind` is "check" if an expectation did not hold; "command" if a command failed; "break" if the
    breaks (deliberate faults) did not prove that the check can fail; "fault" if the scenario, the
    lab or this machine had an error.
    `what` names the expectation, the command or the break that failed. `expected` and `seen` are
    the expected and the observed value; both are "" if there are no such values. `difference`
    lists where they differ. `detail` is for instance a traceback. `hint` says what to try first.
    `link` is the first broken link of the chain (admission … app), `diagnosis` is the sentence
    about this link. `bundle` is the folder with events, logs, rules, sockets and Envoy's
    configuration. Each field is "" if it is not known.
    """

    kind: Literal["check", "command", "break", "fault"]
    what: str
    expected: str = ""
    seen: str = ""
    difference: str = ""
    detail: str = ""
    hint: str = ""
    link: str = ""
    diagnosis: str = ""
    bundle: str = ""


@dataclass(frozen=True)
class BreakRecord:
    """The result of one break of a step; a break is a deliberate fault that the check must notice.

    `what` describes the break. `turned_red` says whether an expectation of the check failed while
    the break was in effect; `said` is the message of this failure, or of another error.
    `green_again` says whether the check passed after the break was undone.
    """

    what: str
    turned_red: bool
    said: str
    green_again: bool
    seconds: float


@dataclass(frozen=True)
class ClaimRecord:
    """One expectation of a step, and the break (a deliberate fault) that made it fail.

    `what` is the expectation's subject, `place` its place in the code. `red_by` describes the
    break; it is "" if no break made the expectation fail. `listed` is the reason that the chapter
    gives why no break can do this; it is "" if the chapter gives none.
    """

    what: str
    place: str
    red_by: str = ""
    listed: str = ""


@dataclass(frozen=True)
class StepRecord:
    """One step of one run.

    `checked`: a sentence for each expectation that held.
    `claims`: the same expectations, each with the break (a deliberate fault) that made it fail;
    () in a run without breaks.
    """

    id: str
    name: str
    title: str
    prose: str
    outcome: Outcome
    commands: tuple[CommandRecord, ...] = ()
    checked: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    breaks: tuple[BreakRecord, ...] = ()
    claims: tuple[ClaimRecord, ...] = ()
    proves: tuple[int, ...] = ()
    hint: str = ""
    failure: Failure | None = None
    seconds: float = 0.0
    templates: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the step passed."""
        return self.outcome == "passed"


@dataclass(frozen=True)
class SetupRecord:
    """One part of a chapter's set-up: creating the namespaces, or one `Chapter.given` function.

    If the namespaces cannot be removed after the chapter, this failure is recorded here, too.
    """

    name: str
    seconds: float
    failure: Failure | None = None


@dataclass(frozen=True)
class ChapterRecord:
    """One chapter of one run.

    `run` is the id of this run, because the record files in one folder can be from several runs.
    """

    number: int
    title: str
    namespace: str
    prose: str
    setup: tuple[SetupRecord, ...] = ()
    steps: tuple[StepRecord, ...] = ()
    run: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the set-up and every step passed."""
        return all(s.failure is None for s in self.setup) and all(s.passed for s in self.steps)


@dataclass(frozen=True)
class RunRecord:
    """A whole run. `started` is a time in UTC, in the format of ISO 8601.

    `aborted` is a failure of the run as a whole, for instance because the lab is not up; None if
    there is no such failure.
    """

    run: str
    lab: str
    started: str
    seconds: float
    chapters: tuple[ChapterRecord, ...] = ()
    aborted: Failure | None = None
    breaks: bool = False
    versions: tuple[tuple[str, str], ...] = ()
    format: int = FORMAT

    @property
    def steps(self) -> tuple[StepRecord, ...]:
        """Every step, chapter after chapter."""
        return tuple(step for chapter in self.chapters for step in chapter.steps)

    @property
    def passed(self) -> bool:
        """Whether the run has at least one step and everything in it passed."""
        ran = bool(self.steps)
        return ran and self.aborted is None and all(chapter.passed for chapter in self.chapters)

    def count(self, outcome: Outcome) -> int:
        """The number of steps with this outcome."""
        return sum(step.outcome == outcome for step in self.steps)

    @property
    def break_counts(self) -> tuple[int, int]:
        """The number of breaks that worked, and the number of all breaks that were tried.

        A break (a deliberate fault) worked if the step's check failed, and passed again after the
        undo.
        """
        tried = [record for step in self.steps for record in step.breaks]
        return sum(record.turned_red and record.green_again for record in tried), len(tried)

    @property
    def claim_counts(self) -> tuple[int, int]:
        """The number of expectations that a break made fail, and the number of all expectations.

        Both count only expectations of steps whose breaks were tried.
        """
        claims = [claim for step in self.steps for claim in step.claims]
        return sum(bool(claim.red_by) for claim in claims), len(claims)


class RecordError(ValueError):
    """Raised if a text is not a record of the expected kind."""


def to_json(record: object) -> str:
    """The JSON text of a record; its keys have the order of the fields."""
    return json.dumps(dataclasses.asdict(typing.cast(Any, record)), ensure_ascii=False, indent=1)


def from_json(kind: type[R], text: str) -> R:
    """Read a record of type `kind` from JSON. Raises RecordError, which names the wrong field."""
    try:
        data = json.loads(text)
    except ValueError as wrong:
        raise RecordError(f"not JSON: {wrong}") from wrong
    return typing.cast(R, _build(kind, data, kind.__name__))


def _build(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _record(kind, data, where)
    if origin is types.UnionType or origin is typing.Union:
        (inner,) = [member for member in typing.get_args(kind) if member is not types.NoneType]
        return None if data is None else _build(inner, data, where)
    if origin is tuple:
        return _tuple(kind, data, where)
    if origin is Literal:
        if data not in typing.get_args(kind):
            raise RecordError(f"{where} is {data!r}, which is not allowed there")
        return data
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    # Python takes a bool for an int, but `true` in the place of a number is an error.
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise RecordError(f"{where} is {data!r}, not of type {kind.__name__}")
    return data


def _tuple(kind: Any, data: Any, where: str) -> tuple[Any, ...]:
    kinds = typing.get_args(kind)
    if not isinstance(data, list):
        raise RecordError(f"{where} is {data!r}, not a list")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_build(kinds[0], item, f"{where}[{n}]") for n, item in enumerate(data))
    if len(kinds) != len(data):
        raise RecordError(f"{where} has {len(data)} members, not {len(kinds)}")
    pairs = zip(kinds, data, strict=True)
    return tuple(
        _build(item_kind, item, f"{where}[{n}]") for n, (item_kind, item) in enumerate(pairs)
    )


def _record(kind: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise RecordError(f"{where} is {data!r}, not an object")
    hints = typing.get_type_hints(kind)
    unknown = data.keys() - hints.keys()
    if unknown:
        raise RecordError(f"{where} has an unknown field {sorted(unknown)[0]!r}")
    try:
        return kind(**{n: _build(hints[n], v, f"{where}.{n}") for n, v in data.items()})
    except TypeError as wrong:
        raise RecordError(f"{where}: {wrong}") from wrong
