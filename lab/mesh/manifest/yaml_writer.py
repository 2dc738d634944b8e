"""Writes plain data as YAML that every reader reads as the same data.

PyYAML's dumper takes four times as long. It also writes `y` and `1e3` without quotes, and kubectl
would read these as true and 1000. This writer uses block style, puts a list at the indent of its
key, as kubectl does, and keeps the order of keys.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final

from lab.mesh.manifest.yaml_scalars import resolve

_BARE: Final = re.compile(r"(?:[A-Za-z_/$(]|--?[A-Za-z])[A-Za-z0-9_./$()@%+=,*^~:-]*")
_BARE_WORDS: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./()@%+=,*-]*(?: [A-Za-z0-9_./()@%+=,*-]+)+")
_QUANTITY: Final = re.compile(r"[0-9]+(?:m|Ki|Mi|Gi|s|ms)")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*")
_ESCAPED: Final = "[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]"
"""Matches a character to escape. Compiling the pattern takes 0.3 ms; only texts that are not ASCII
need it.
"""


@cache
def _literal() -> re.Pattern[str]:
    """Returns a regular expression that matches each text that a literal block can hold.

    It is compiled only when needed, because that takes 3 ms.
    """
    return re.compile(
        r"(?!\s)(?:[\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]|[^\0-\uffff])+"
    )


def write(value: Any) -> str:
    """Returns one document of YAML, which ends in a newline.

    Takes data that JSON can hold. Raises ValueError for infinity and NaN.
    """
    lines: list[str] = []
    if isinstance(value, Mapping) and value:
        _mapping(value, "", "", lines)
    elif isinstance(value, list | tuple) and value:
        _sequence(value, "", lines)
    else:
        lines.append(_inline(value, ""))
    lines.append("")
    return "\n".join(lines)


def _mapping(value: Mapping[str, Any], indent: str, first: str, lines: list[str]) -> None:
    """Appends the lines of a mapping, with its keys at `indent`.

    `first`: the start of the first line, if a list's dash stands there; else "".
    """
    lead = first or indent
    for key, entry in value.items():
        name = text(key)
        if isinstance(entry, Mapping) and entry:
            lines.append(f"{lead}{name}:")
            _mapping(entry, indent + "  ", "", lines)
        elif isinstance(entry, list | tuple) and entry:
            lines.append(f"{lead}{name}:")
            _sequence(entry, indent, lines)
        else:
            lines.append(f"{lead}{name}: {_inline(entry, indent)}")
        lead = indent


def _sequence(value: Sequence[Any], indent: str, lines: list[str]) -> None:
    inner = indent + "  "
    for entry in value:
        if isinstance(entry, Mapping) and entry:
            _mapping(entry, inner, f"{indent}- ", lines)
        elif isinstance(entry, list | tuple) and entry:
            lines.append(f"{indent}-")
            _sequence(entry, inner, lines)
        else:
            lines.append(f"{indent}- {_inline(entry, indent)}")


def _inline(value: Any, indent: str) -> str:
    if isinstance(value, str):
        return _block(value, indent) if "\n" in value else text(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return repr(value)
        raise ValueError(f"{value} is not a number that JSON can hold")
    return "{}" if isinstance(value, Mapping) else "[]"


def _block(value: str, indent: str) -> str:
    """Returns a text as a literal block if that keeps it exactly, else in quotes."""
    body = value.rstrip("\n")
    if not body or not _literal().fullmatch(value):
        return text(value)
    ends = len(value) - len(body)
    mark = "-" if ends == 0 else "" if ends == 1 else "+"
    inner = indent + "  "
    written = "\n".join(inner + line if line else "" for line in body.split("\n"))
    return f"|{mark}\n{written}" + "\n" * max(0, ends - 1)


@lru_cache(maxsize=4096)
def text(value: str) -> str:
    """Returns a text on one line: quoted, unless every YAML reader reads it as the same text."""
    if _BARE.fullmatch(value):
        if value[-1] != ":" and resolve(value) == value and len(value) < 200:
            return value
    elif _BARE_WORDS.fullmatch(value) or _QUANTITY.fullmatch(value):
        return value
    if '"' in value and _PRINTABLE.fullmatch(value):
        return "'" + value.replace("'", "''") + "'"
    quoted = json.dumps(value, ensure_ascii=False)
    if quoted.isascii() and "\x7f" not in quoted:
        return quoted
    return re.sub(_ESCAPED, lambda match: f"\\u{ord(match[0]):04x}", quoted)
