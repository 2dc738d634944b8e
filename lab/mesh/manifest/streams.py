"""A stream of documents, cut as kubectl cuts it (k8s.io/apimachinery/pkg/util/yaml). Pure.

JSON values end where they end; after one of them YAML may follow, after several only JSON. YAML
is cut at each line that starts with `---`, wherever it stands. A byte order mark may begin the
stream and each document.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from lab.mesh.manifest.yaml_reader import MAX_DEPTH, Problem, is_deeper
from lab.mesh.manifest.yaml_scalars import json_number

BOM: Final = "\ufeff"
SEPARATOR: Final = re.compile(r"---[ \t]*(?:#[^\n]*)?(?:\r*\n)?")
"""A line that is a separator and nothing else."""
_MARK: Final = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_TOUCHES_MARGIN: Final = re.compile(r"^[^ \t\r\n]", re.MULTILINE)


class Piece(NamedTuple):
    """The text of one document. JSON is read already; YAML begins after `skip` characters.

    A piece with problems is not to be read.
    """

    text: str
    value: Any = None
    is_json: bool = False
    skip: int = 0
    problems: Sequence[Problem] = ()


def cut(text: str) -> Iterator[Piece]:
    """The pieces of a stream; their texts, joined, are the stream."""
    values = _cut_json(text) if text.lstrip(BOM + " \t\r\n").startswith("{") else []
    yield from values
    start = sum(len(piece.text) for piece in values)
    rest = text[start:].lstrip()
    if len(values) > 1 and rest:
        told = f"after {len(values)} JSON values kubectl takes only JSON, and this is none"
        line = text[start : len(text) - len(rest)].count("\n") + 1
        problem = Problem(line, told, "put a line `---` between every two of them")
        yield Piece(text[start:], problems=[problem])
        return
    directives, passed = text.startswith("%", start), False
    for mark in _MARK.finditer(text, start):
        at = mark.start()
        if not directives:
            # A separator that ends a document is passed over; one that ends nothing is read.
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
    """A piece of YAML. `passed`: its separator is passed over; `first`: it begins the file.

    A document may begin with a byte order mark, and so may a file. With one more, kubectl takes
    the first letter of every later line for a mark, too.
    """
    separator = SEPARATOR.match(text) if passed else None
    skip = separator.end() if separator and separator.end() == _line_end(text, 0) else 0
    marks = len(text) - skip - len(text[skip:].lstrip(BOM))
    skip += min(marks, 3 if first else 2)
    if marks > (2 if first else 1) and _TOUCHES_MARGIN.search(text, _line_end(text, skip)):
        told = f"{marks} byte order marks: kubectl then drops the first letter of other lines"
        line = text.count("\n", 0, skip) + 1
        return Piece(text, problems=[Problem(line, told, "remove the marks")])
    return Piece(text, skip=skip)


def readable(text: str, skip: int) -> str:
    """What the reader gets: lines keep their numbers."""
    return "\n" * text.count("\n", 0, skip) + text[skip:]


def _cut_json(text: str) -> list[Piece]:
    """JSON values one after another, as far as there are some."""
    pieces: list[Piece] = []
    start, at = 0, text.index("{")
    while at < len(text):
        problems: list[Problem] = []
        line = text[start:at].count("\n") + 1
        tell = partial(_tell, problems, line)
        decoder = json.JSONDecoder(
            object_pairs_hook=partial(_unique, tell),
            parse_float=partial(_number, tell),
            parse_constant=_no_json,
        )
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            break
        # Blanks go with the value before them, lines only where JSON follows.
        blank = len(text) - len(text[at:].lstrip(" \t\r\n"))
        more = blank == len(text) or text[blank] == "{"
        at = blank if more else min(_line_end(text, at), blank)
        whole = text[start:at]
        if not isinstance(value, dict):
            problems.append(Problem(line, "not a Kubernetes object"))
        elif is_deeper(value, MAX_DEPTH):
            problems.append(Problem(line, f"nested deeper than {MAX_DEPTH} levels"))
        elif "\\ud" in whole.lower() and not _encodable(value):
            problems.append(Problem(line, "half a UTF-16 pair is no character"))
        skip = len(whole) - len(whole.lstrip(BOM))
        pieces.append(Piece(whole, value, True, skip, problems))
        start = at
    return pieces


def _tell(problems: list[Problem], line: int, text: str, hint: str = "") -> None:
    problems.append(Problem(line, text, hint))


def _no_json(name: str) -> Any:
    raise ValueError(name)


def _number(tell: Callable[..., None], text: str) -> int | float:
    value = float(text)
    if math.isinf(value):
        tell(f"`{text}` is too large a number")
        return 0
    return json_number(value)


def _unique(tell: Callable[..., None], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        for key in sorted({key for key in keys if keys.count(key) > 1}):
            tell(f"key {key!r} is given twice", "keep one")
    return found


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True
