"""Values in words: what a report says was checked is read by people. Pure.

A type of lab.observe says itself by its `__str__`; collections are listed, whole; texts are as
they are. Nothing here prints as Python would.
"""

import dataclasses
import pprint
import re
from collections.abc import Collection, Iterable, Mapping, Set

LONGEST = 700
"""Characters of a sentence; what needs more is said by the expectation's own words."""
_MARKS = {
    "a quotation mark": r"[\"“”]|(?<![A-Za-z0-9])'|\bb'",
    "a brace": r"[{}]",
    "a bracket": r"[\[\]]",
    "a backslash": r"\\",
    "a cut": r"…|\.\.\.",
    "a pattern": r"\.[*+?]|\(\?|[*+?]\)|\$$|\^",
    "a Python value": r"\b(?:None|True|False)\b|\w\(| object at 0x",
}
"""What a sentence never holds: name and pattern of what would give away where it comes from."""


def say(value: object) -> str:
    """`value` in words, whole, on one line."""
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
        return series(sorted(_member(one) for one in value))
    if isinstance(value, list | tuple):
        return series(_member(one) for one in value)
    if dataclasses.is_dataclass(value) and not _speaks(value):
        told = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value) if f.compare)
        return " ".join(f"{name} {say(of)}" for name, of in told if of not in (None, "", ()))
    return str(value)


def series(items: Iterable[str]) -> str:
    """ "a", "a and b", "a, b and c"; semicolons where a member has commas itself."""
    words = list(items)
    if not words:
        return "none"
    if any(", " in word for word in words):
        return "; ".join(words)
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def equals(what: str, value: object) -> str:
    """The sentence that `what` is `value`."""
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
    """The sentence that `container` has each of `items`."""
    told = series(say(item) for item in items)
    return f"{what} contains {told}" if isinstance(container, str) else f"{what}: among them {told}"


def lacks(what: str, container: object, items: Collection[object]) -> str:
    """The sentence that `container` has none of `items`."""
    told = [say(item) for item in items]
    listed = told[0] if len(told) == 1 else ", ".join(told[:-1]) + f" or {told[-1]}"
    return (
        f"{what} does not contain {listed}"
        if isinstance(container, str)
        else (f"{what}: among them is no {listed}")
    )


def fault(sentence: str) -> str:
    """Why this is no sentence for a reader; "" if it is one."""
    for name, pattern in _MARKS.items():
        if found := re.search(pattern, sentence):
            return f"it has {name}: {found[0]}"
    return f"it has {len(sentence)} characters" if len(sentence) > LONGEST else ""


def show(value: object, limit: int = 160) -> str:
    """`value` on one line, cut at `limit` characters: for what failed, never for what held."""
    text = " ".join(pretty(value).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def pretty(value: object) -> str:
    """`value` exactly, for who looks into a failure; collections one member a line where long."""
    if isinstance(value, str):
        return value if value.strip() else repr(value)
    if isinstance(value, Set):
        # Sets print in an order that changes from run to run; reports must not.
        return "{" + ",\n ".join(sorted(_exact(item) for item in value)) + "}"
    if isinstance(value, list | tuple) and any(_speaks(item) for item in value):
        return "[" + ",\n ".join(_exact(item) for item in value) + "]"
    return _exact(value)


def _member(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(say(one) for one in value)
    return say(value)


def _speaks(value: object) -> bool:
    """Whether it is plain data that says of itself how it is read best."""
    return dataclasses.is_dataclass(value) and type(value).__str__ is not object.__str__


def _exact(value: object) -> str:
    return str(value) if _speaks(value) else pprint.pformat(value, width=96, sort_dicts=False)
