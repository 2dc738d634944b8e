"""What a step's commands printed, as the check gets it: text, rows, JSON, YAML."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import yaml

_COLUMN = re.compile(r"\S+(?: \S+)*")


@dataclass(frozen=True)
class Output:
    """One command line that ran. `argv` is its last stage's; `file` is what `> FILE` received.

    `stderr` joins the stages' own. `seconds` is wall time of the whole line.
    """

    shown: str
    argv: tuple[str, ...]
    stdout: str
    stderr: str = ""
    returncode: int = 0
    seconds: float = 0.0
    file: str | None = None

    @property
    def text(self) -> str:
        """What a reader sees on the terminal: standard output, then errors."""
        return self.stdout + self.stderr

    @property
    def lines(self) -> list[str]:
        """Lines of standard output that are not blank, without the blanks at their ends."""
        return [line.rstrip() for line in self.stdout.splitlines() if line.strip()]

    @property
    def rows(self) -> list[dict[str, str]]:
        """A table as kubectl prints it: one dict a line, keys are the column titles as printed."""
        return table(self.stdout)

    def json(self) -> Any:
        """Standard output read as JSON. Raises json.JSONDecodeError."""
        return json.loads(self.stdout)

    def yaml(self) -> Any:
        """Standard output read as one YAML document. Raises yaml.YAMLError."""
        return yaml.safe_load(self.stdout)

    def documents(self) -> list[Any]:
        """Standard output (or the file it went to) read as YAML documents."""
        return list(yaml.safe_load_all(self.file if self.file is not None else self.stdout))


@dataclass(frozen=True)
class Seen:
    """The outputs of a step's commands in order; short-cuts speak of the last one.

    `holes` are the named holes (`<ip:pod>`) of the step's templates, by name.
    """

    outputs: tuple[Output, ...]
    holes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __getitem__(self, index: int) -> Output:
        return self.outputs[index]

    def __len__(self) -> int:
        return len(self.outputs)

    def __iter__(self) -> Iterator[Output]:
        return iter(self.outputs)

    @property
    def last(self) -> Output:
        """The last command's output."""
        return self.outputs[-1]

    @property
    def text(self) -> str:
        """The last command's standard output and errors."""
        return self.last.text

    @property
    def stdout(self) -> str:
        """The last command's standard output."""
        return self.last.stdout

    @property
    def lines(self) -> list[str]:
        """The last command's lines that are not blank."""
        return self.last.lines

    @property
    def rows(self) -> list[dict[str, str]]:
        """The last command's table."""
        return self.last.rows


def table(text: str) -> list[dict[str, str]]:
    """Split a table whose columns begin where their titles begin (two blanks between titles).

    A cell belongs to the column under whose title it starts; a missing cell is "".
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    columns = [(found.start(), found[0]) for found in _COLUMN.finditer(lines[0])]
    edges = [start for start, _ in columns[1:]] + [None]
    return [
        {title: line[start:end].strip() for (start, title), end in zip(columns, edges, strict=True)}
        for line in lines[1:]
    ]
