"""Cuts a stream into documents, as kubectl does (k8s.io/apimachinery/pkg/util/yaml). Pure.

A JSON value ends where its syntax ends. YAML may follow a single JSON value, but only JSON may
follow several. YAML is cut at each line that starts with `---`, even inside a quoted text. A byte
order mark may begin the stream and each document.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from lab.mesh.manifest.reading import MAX_DEPTH, Problem, is_deeper
from lab.mesh.manifest.yaml_scalars import json_number

BOM: Final = "\ufeff"
SEPARATOR: Final = re.compile(r"---[ \t]*(?:#[^\n]*)?(?:\r*\n)?")
"""A line with a separator and nothing else, except a comment."""
_MARK: Final = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_TOUCHES_MARGIN: Final = re.compile(r"^[^ \t\r\n]", re.MULTILINE)


class Piece(NamedTuple):
    """The text of one document.

    `value`: the data, if the document is JSON. `skip`: the length of what stands in `text` before
    the content (separator, byte order marks). A text with `problems` must not be parsed.
    """

    text: str
    value: Any = None
    is_json: bool = False
    skip: int = 0
    problems: Sequence[Problem] = ()


def cut(text: str) -> Iterator[Piece]:
    """Yields the pieces of a stream; their texts, joined, are the stream."""
    values = _cut_json(text) if text.lstrip(BOM + " \t\r\n").startswith("{") else []
    yield from values
    start = sum(len(piece.text) for piece in values)
    rest = text[start:].lstrip()
    if len(values) > 1 and rest:
        message = f"after {len(values)} JSON values kubectl takes only JSON, and this is not JSON"
        line = text[start : len(text) - len(rest)].count("\n") + 1
        problem = Problem(line, message, "put a line `---` between the values")
        yield Piece(text[start:], problems=[problem])
        return
    directives, passed = text.startswith("%", start), False
    for mark in _MARK.finditer(text, start):
        at = mark.start()
        if not directives:
            # kubectl skips a separator that ends a document, and reads one that ends nothing.
            ends = at > (_line_end(text, start) if passed else start)
            if at > start:
                yield _piece(text[start:at], passed, start == 0)
            start, passed = at, ends
        directives = False
    if start < len(text):
        yield _piece(text[start:], passed, start == 0)


def _line_end(text: str, at: int) -> int:
    return text.find("\n", at) + 1 or len(text)


def _piece(text: str, passed: bool, first: bool) -> Piece:
    """Returns a piece of YAML.

    `passed`: whether kubectl skips a separator at the start of `text`. `first`: whether `text` is
    the start of the file. kubectl accepts one byte order mark at the start of a document, and a
    second one at the start of the file. With one more, it also drops the first letter of every
    later line.
    """
    separator = SEPARATOR.match(text) if passed else None
    skip = separator.end() if separator and separator.end() == _line_end(text, 0) else 0
    marks = len(text) - skip - len(text[skip:].lstrip(BOM))
    skip += min(marks, 3 if first else 2)
    if marks > (2 if first else 1) and _TOUCHES_MARGIN.search(text, _line_end(text, skip)):
        message = f"{marks} byte order marks: kubectl then drops the first letter of other lines"
        line = text.count("\n", 0, skip) + 1
        return Piece(text, problems=[Problem(line, message, "remove the marks")])
    return Piece(text, skip=skip)


def readable(text: str, skip: int) -> str:
    """Returns the text to parse; skipped lines become empty, so that line numbers stay right."""
    return "\n" * text.count("\n", 0, skip) + text[skip:]


def _cut_json(text: str) -> list[Piece]:
    """Returns the JSON values at the start of a stream, up to the first text that is not JSON."""
    pieces: list[Piece] = []
    start, at = 0, text.index("{")
    while at < len(text):
        problems: list[Problem] = []
        line = text[start:at].count("\n") + 1
        report = partial(_report, problems, line)
        decoder = json.JSONDecoder(
            object_pairs_hook=partial(_unique, report),
            parse_float=partial(_number, report),
            parse_constant=_no_json,
        )
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        # Blanks belong to the value before them; line ends, too, unless YAML follows.
        blank = len(text) - len(text[at:].lstrip(" \t\r\n"))
        more = blank == len(text) or text[blank] == "{"
        at = blank if more else min(_line_end(text, at), blank)
        raw = text[start:at]
        if not isinstance(value, dict):
            problems.append(Problem(line, "not a Kubernetes object"))
        elif is_deeper(value, MAX_DEPTH):
            problems.append(Problem(line, f"nested deeper than {MAX_DEPTH} levels"))
        elif "\\ud" in raw.lower() and not _encodable(value):
            problems.append(Problem(line, "half a UTF-16 pair is not a character"))
        skip = len(raw) - len(raw.lstrip(BOM))
        pieces.append(Piece(raw, value, True, skip, problems))
        start = at
    return pieces


def _report(problems: list[Problem], line: int, text: str, hint: str = "") -> None:
    problems.append(Problem(line, text, hint))


def _no_json(name: str) -> Any:
    raise ValueError(name)


def _number(report: Callable[..., None], text: str) -> int | float:
    value = float(text)
    if math.isinf(value):
        report(f"`{text}` is too large a number")
        return 0
    return json_number(value)


def _unique(report: Callable[..., None], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        keys = [key for key, _ in pairs]
        for key in sorted({key for key in keys if keys.count(key) > 1}):
            report(f"key {key!r} is given twice", "keep one")
    return mapping


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
