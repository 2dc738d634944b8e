"""Defines the result of reading one document: plain data, and mistakes with their lines."""

from typing import Any, Final, NamedTuple

FieldPath = tuple[str | int, ...]
"""The path of a field: keys and list indices from the document's root."""

MAX_DEPTH: Final = 200
"""The most levels of nesting. A pod needs about 12; the limit keeps recursion safe."""


def is_deeper(value: Any, most: int) -> bool:
    """Whether plain data has more than `most` levels of lists and mappings."""
    level, levels = [value], 0
    while level and levels <= most:
        holders = [node for node in level if isinstance(node, dict | list)]
        level = [v for node in holders for v in (node.values() if isinstance(node, dict) else node)]
        levels += bool(holders)
    return levels > most


class Problem(NamedTuple):
    """One mistake in a text. `line` counts from 1 within that text."""

    line: int
    text: str
    hint: str = ""
    path: FieldPath = ()


class Reading:
    """The data and the mistakes of one text.

    `complete` is false if the parser had to stop at `problems[-1]`. `lines` holds the line of each
    field, and `written` each unquoted scalar as the text spells it; both are empty unless
    yaml_reader.read was called with `with_lines`.
    """

    def __init__(self) -> None:
        self.value: Any = None
        self.problems: list[Problem] = []
        self.complete = True
        self.lines: dict[FieldPath, int] = {}
        self.written: dict[FieldPath, str] = {}
