"""Puts values into words for the sentences of a report, which people read. Pure.

A value of a type of lab.observe is written as its `__str__` returns it, a collection with all its
members, a text as it is. No sentence has Python syntax.
"""

import dataclasses
import pprint
import re
from collections.abc import Collection, Iterable, Mapping, Set

LONGEST = 700
"""The largest length of a sentence in characters. An expectation about a longer value must describe
what holds in words of its own (the parameter `claim`)."""
_MARKS = {
    "a quotation mark": r"[\"“”]|(?<![A-Za-z0-9])'|\bb'",
    "a brace": r"[{}]",
    "a bracket": r"[\[\]]",
    "a backslash": r"\\",
    "a cut": r"…|\.\.\.",
    "a pattern": r"\.[*+?]|\(\?|[*+?]\)|\$$|\^",
    "a Python value": r"\b(?:None|True|False)\b|\w\(| object at 0x",
}
"""Signs of Python syntax or of a cut text, which a sentence must not have: their names and regular
expressions."""


def say(value: object) -> str:
    """Return the whole `value` in words, on one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return " ".join(value.split()) or "nothing"
    if isinstance(value, Mapping):
        return series(f"{say(of)} for {say(key)}" for key, of in value.items())
    if isinstance(value, Set):
        return series(sorted(_member(member) for member in value))
    if isinstance(value, list | tuple):
        return series(_member(member) for member in value)
    if dataclasses.is_dataclass(value) and not _has_wording(value):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare)
        return " ".join(f"{name} {say(of)}" for name, of in pairs if of not in (None, "", ()))
    return str(value)


def series(items: Iterable[str]) -> str:
    """Join `items` to "a", "a and b" or "a, b and c"; with semicolons if an item has a comma."""
    words = list(items)
    if not words:
        return "none"
    if any(", " in word for word in words):
        return "; ".join(words)
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def equals(what: str, value: object) -> str:
    """Return the sentence which says that `what` is `value`."""
    if value is None or value == "":
        return f"{what} is {'empty' if value == '' else 'absent'}"
    if isinstance(value, Mapping | Set | list | tuple):
        if not value:
            return f"{what}: none"
        if len(value) == 1 and not isinstance(value, Mapping):
            return f"{what}: only {say(value)}"
        ordered = isinstance(value, list | tuple)
        return f"{what}{', in this order' if ordered else ''}: {say(value)}"
    return f"{what} is {say(value)}"


def holds(what: str, container: object, items: Collection[object]) -> str:
    """Return the sentence which says that `container`, named `what`, contains each of `items`."""
    listed = series(say(item) for item in items)
    return (
        f"{what} contains {listed}"
        if isinstance(container, str)
        else f"{what}: among them {listed}"
    )


def lacks(what: str, container: object, items: Collection[object]) -> str:
    """Return the sentence which says that `container`, named `what`, contains none of `items`."""
    words = [say(item) for item in items]
    listed = words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" or {words[-1]}"
    return (
        f"{what} does not contain {listed}"
        if isinstance(container, str)
        else (f"{what}: among them is no {listed}")
    )


def fault(sentence: str) -> str:
    """Return the reason why the report must not have `sentence`; "" if there is no reason."""
    for name, pattern in _MARKS.items():
        if match := re.search(pattern, sentence):
            return f"it has {name}: {match[0]}"
    return f"it has {len(sentence)} characters" if len(sentence) > LONGEST else ""


def show(value: object, limit: int = 160) -> str:
    """Return `value` on one line, cut at `limit` characters; only for messages about failures."""
    text = " ".join(pretty(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def pretty(value: object) -> str:
    """Return the exact form of `value`, for messages about failures.

    A long collection has one member per line.
    """
    if isinstance(value, str):
        return value if value.strip() else repr(value)
    if isinstance(value, Set):
        # The order of a set changes from run to run; the report must not change with it.
        return "{" + ",\n ".join(sorted(_exact(item) for item in value)) + "}"
    if isinstance(value, list | tuple) and any(_has_wording(item) for item in value):
        return "[" + ",\n ".join(_exact(item) for item in value) + "]"
    return _exact(value)


def _member(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(say(part) for part in value)
    return say(value)


def _has_wording(value: object) -> bool:
    """Whether `value` is a dataclass with a `__str__` of its own."""
    return dataclasses.is_dataclass(value) and type(value).__str__ is not object.__str__


def _exact(value: object) -> str:
    return str(value) if _has_wording(value) else pprint.pformat(value, width=96, sort_dicts=False)
