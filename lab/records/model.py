"""What a run of scenarios leaves behind: frozen, made of plain values, to JSON and back.

RunRecord → ChapterRecord → SetupRecord, StepRecord → CommandRecord, BreakRecord, Failure, …
Imports nothing else of the lab: a report is made from these alone, anywhere.
"""

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

R = TypeVar("R")

Outcome = Literal["passed", "failed", "not reached"]
"""A step after a failed one of its chapter is `not reached`: counted as a failure, not skipped."""

FORMAT = 1
"""Raised when a change makes old record files unreadable."""


@dataclass(frozen=True)
class CommandRecord:
    """A command line as shown and run, and what it printed. `seconds` is wall time."""

    shown: str
    stdout: str
    stderr: str
    exit_code: int
    seconds: float


@dataclass(frozen=True)
class Grid:
    """A table: column titles ("" for a lone nameless column) and rows of texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Attachment:
    """A named table before and after; None where only one side was looked at."""

    name: str
    before: Grid | None = None
    after: Grid | None = None


@dataclass(frozen=True)
class Failure:
    """Why something failed.

    `kind`: a check did not hold; a command ended badly; a break showed the check to be blind;
    the scenario, the lab or this machine had a fault.
    `what` names the thing, `expected` and `seen` stand side by side ("" if there is no such pair).
    `link` is the first broken link of the chain (admission … app) and `diagnosis` its sentence;
    `bundle` is the folder with events, logs, rules, sockets, Envoy's configuration.
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
    """A step's `breaks`: did it turn the check red (`said`: how), and was it green again after?"""

    what: str
    turned_red: bool
    said: str
    green_again: bool
    seconds: float


@dataclass(frozen=True)
class ClaimRecord:
    """One expectation of a step: what about, where in the code, and which break turned it red.

    `listed` is the reason why none can; both are "" where none did.
    """

    what: str
    place: str
    red_by: str = ""
    listed: str = ""


@dataclass(frozen=True)
class StepRecord:
    """One step of one run. `checked` are the sentences of the expectations that held.

    `claims` are its expectations and what the breaks did to them; none where nothing was broken.
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
        """Whether everything about the step held."""
        return self.outcome == "passed"


@dataclass(frozen=True)
class SetupRecord:
    """One piece of a chapter's set-up (the namespace, each `given`)."""

    name: str
    seconds: float
    failure: Failure | None = None


@dataclass(frozen=True)
class ChapterRecord:
    """One chapter of one run. `run` is the run's id: chapters may be of different runs."""

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
        """Whether set-up and every step passed."""
        return all(s.failure is None for s in self.setup) and all(s.passed for s in self.steps)


@dataclass(frozen=True)
class RunRecord:
    """A whole run. `started` is UTC in ISO 8601; `aborted` says why no chapter could begin."""

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
        """Whether nothing failed and something ran."""
        ran = bool(self.steps)
        return ran and self.aborted is None and all(one.passed for one in self.chapters)

    def count(self, outcome: Outcome) -> int:
        """How many steps ended so."""
        return sum(step.outcome == outcome for step in self.steps)

    @property
    def breaks_told(self) -> tuple[int, int]:
        """(breaks that turned their step red and back, breaks that were tried)."""
        every = [one for step in self.steps for one in step.breaks]
        return sum(one.turned_red and one.green_again for one in every), len(every)

    @property
    def claims_told(self) -> tuple[int, int]:
        """(expectations that some break turned red, expectations of the steps broken)."""
        every = [one for step in self.steps for one in step.claims]
        return sum(bool(one.red_by) for one in every), len(every)


class RecordError(ValueError):
    """A text is no record of the kind asked for."""


def to_json(record: object) -> str:
    """JSON text of a record, keys in the order of its fields."""
    return json.dumps(dataclasses.asdict(typing.cast(Any, record)), ensure_ascii=False, indent=1)


def from_json(kind: type[R], text: str) -> R:
    """Read a record back. Raises RecordError if it is not one, naming where it differs."""
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
        (inner,) = [one for one in typing.get_args(kind) if one is not types.NoneType]
        return None if data is None else _build(inner, data, where)
    if origin is tuple:
        return _tuple(kind, data, where)
    if origin is Literal:
        if data not in typing.get_args(kind):
            raise RecordError(f"{where} is {data!r}")
        return data
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    # bool is an int to Python, but a record that says true where a number belongs is wrong.
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
    return tuple(_build(one, item, f"{where}[{n}]") for n, (one, item) in enumerate(pairs))


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
