"""The output of a step's commands, as the check gets it: text, rows, JSON, YAML."""

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
    """What one command line printed. `argv` is the argv of the last command of the pipeline.

    `stderr` is the standard error of all its commands. `file` is the text that was written to
    `> FILE`; None if the line has no `> FILE`. `seconds` is the wall time of the whole line.
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
        """Standard output, then standard error."""
        return self.stdout + self.stderr

    @property
    def lines(self) -> list[str]:
        """The lines of standard output that are not blank, without trailing blanks."""
        return [line.rstrip() for line in self.stdout.splitlines() if line.strip()]

    @property
    def rows(self) -> list[dict[str, str]]:
        """Standard output as a table of kubectl: one dict per line, keyed by the column titles."""
        return table(self.stdout)

    def json(self) -> Any:
        """Parse standard output as JSON. Raises json.JSONDecodeError."""
        return json.loads(self.stdout)

    def yaml(self) -> Any:
        """Parse standard output as one YAML document. Raises yaml.YAMLError."""
        return yaml.safe_load(self.stdout)

    def documents(self) -> list[Any]:
        """Parse the YAML documents in standard output, or in the file to which it was written."""
        return list(yaml.safe_load_all(self.file if self.file is not None else self.stdout))


@dataclass(frozen=True)
class Seen:
    """The outputs of a step's commands, in order. The properties are those of the last output.

    Holes are the variable parts of the step's templates; the hole `<ip:pod>` has the name "pod".
    `holes` maps the name of each hole that has a name to the text that the hole matched.
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
        """The last command's standard output and standard error."""
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
        """The last command's output as a table; see Output.rows."""
        return self.last.rows


def table(text: str) -> list[dict[str, str]]:
    """Parse a table into one dict per row. Two or more blanks separate the column titles.

    A column begins where its title begins. A cell without text is "".
    """
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    if not lines:
        return []
    columns = [(title.start(), title[0]) for title in _COLUMN.finditer(lines[0])]
    edges = [start for start, _ in columns[1:]] + [None]
    return [
        {title: line[start:end].strip() for (start, title), end in zip(columns, edges, strict=True)}
        for line in lines[1:]
    ]
