"""The text of one YAML document in, plain data out, read as kubectl reads it.

Built on libyaml's events (PyYAML), not on PyYAML's constructors: those read `on`, `1e3`,
`22:22` and dates otherwise than Kubernetes does, accept a key given twice, and keep no lines.
Source of the scalar rules: sigs.k8s.io/yaml's goyaml.v2, resolve.go.
"""

import re
from typing import Any, Final, NamedTuple

import yaml

FieldPath = tuple[str | int, ...]
"""A field: keys and list indices from the document's root."""

MAX_DEPTH: Final = 200
"""Levels of nesting. A pod needs about 12; the bound keeps recursion safe."""
MAX_ALIAS_NODES: Final = 100_000
"""Nodes that aliases may add to one document: far above honest use, far below a bomb."""

_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(
        ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True
    ),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), False),
    **dict.fromkeys(("off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_TAG_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
_INTEGER: Final = re.compile(
    r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))"
)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NUMBER_STARTS: Final = frozenset("0123456789+-.")


class Problem(NamedTuple):
    """One thing wrong with a text. `line` counts from 1 within that text."""

    line: int
    text: str
    hint: str = ""
    path: FieldPath = ()


class Reading:
    """What one text held. `complete` is false when the parser had to stop at `problems[-1]`."""

    def __init__(self) -> None:
        self.value: Any = None
        self.problems: list[Problem] = []
        self.complete = True
        self.lines: dict[FieldPath, int] = {}


def resolve(text: str) -> str | int | float | bool | None:
    """What an unquoted scalar means to kubectl."""
    if text in _WORDS:
        return _WORDS[text]  # type: ignore[no-any-return]
    if text[0] not in _NUMBER_STARTS:
        return text
    plain = text if text[0] == "." else text.replace("_", "")
    if whole := _INTEGER.fullmatch(plain):
        sign, hexadecimal, binary, octal, decimal = whole.groups()
        digits, base = next(
            (d, b) for d, b in ((hexadecimal, 16), (binary, 2), (octal, 8), (decimal, 10)) if d
        )
        if len(digits) <= 64:
            number = int(digits, base) * (-1 if sign == "-" else 1)
            if -(2**63) <= number < 2**64:
                return number
    if _FLOAT.fullmatch(plain):
        return float(plain)
    return text


def read(text: str, *, with_lines: bool = False) -> Reading:
    """Read one document; never raises for what a text may hold.

    A key given twice, a key that is no text, an alias that leads nowhere or too far and an
    unknown tag are problems, and reading goes on; bad syntax is a problem that ends it.
    `with_lines` fills `lines` with the line of every field (slower).
    """
    reading = Reading()
    try:
        _Builder(text, reading, with_lines).document()
    except UnicodeEncodeError:
        reading.complete = False
        reading.problems.append(Problem(1, "half a UTF-16 pair is no character"))
    except yaml.YAMLError as error:
        reading.complete = False
        reading.problems.append(_syntax_problem(error))
    except _Stop as stop:
        reading.complete = False
        reading.problems.append(stop.problem)
    return reading


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        return Problem(line, f"not YAML: {error.problem or error.context or error}")
    if isinstance(error, yaml.reader.ReaderError):
        return Problem(1, f"not YAML: character #x{error.character:04x} is not allowed")
    return Problem(1, f"not YAML: {' '.join(str(error).split())}")


class _Stop(Exception):  # noqa: N818  (control flow inside this module)
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


class _Builder:
    """Turns libyaml's events into data, keeping where it is for messages."""

    def __init__(self, text: str, reading: Reading, with_lines: bool) -> None:
        self.next = _LOADER(text).get_event
        self.reading = reading
        self.lines = reading.lines if with_lines else None
        self.path: list[str | int] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.nodes = 0
        self.alias_nodes = 0
        self.depth = 0

    def document(self) -> None:
        """Read the first document; anything after it is the caller's mistake and ignored."""
        event = self.next()
        while event is not None and not isinstance(event, yaml.NodeEvent):
            event = self.next()
        if event is None:
            return
        self.reading.value = self.node(event)
        while self.next() is not None:
            pass  # to the end: bad syntax after the last value must not pass

    def problem(self, event: Any, text: str, hint: str = "") -> None:
        line = event.start_mark.line + 1
        self.reading.problems.append(Problem(line, text, hint, tuple(self.path)))

    def node(self, event: Any) -> Any:
        self.nodes += 1
        kind = type(event)
        if self.lines is not None:
            self.lines.setdefault(tuple(self.path), event.start_mark.line + 1)
        if kind is yaml.AliasEvent:
            return self.alias(event)
        before = self.nodes
        if kind is yaml.ScalarEvent:
            value = self.scalar(event)
        else:
            # Not the path's length: a key that is no text, and what is in it, has no path.
            if self.depth >= MAX_DEPTH:
                line = event.start_mark.line + 1
                raise _Stop(Problem(line, f"nested deeper than {MAX_DEPTH} levels"))
            self.depth += 1
            value = self.mapping(event) if kind is yaml.MappingStartEvent else self.sequence(event)
            self.depth -= 1
        if event.anchor:
            self.anchors[event.anchor] = (value, self.nodes - before + 1)
        return value

    def alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            self.problem(event, f"alias *{event.anchor} has no anchor before it")
            return None
        value, size = self.anchors[event.anchor]
        self.nodes += size
        self.alias_nodes += size
        if self.alias_nodes > MAX_ALIAS_NODES:
            line = event.start_mark.line + 1
            text = f"aliases expand to more than {MAX_ALIAS_NODES} values"
            raise _Stop(Problem(line, text, "write the repeated parts out, or fewer of them"))
        return value

    def scalar(self, event: Any) -> Any:
        text: str = event.value
        tag = event.tag
        if tag is None or tag == "!":
            return resolve(text) if event.implicit[0] and tag is None else text
        name = tag.removeprefix(_TAG)
        if name == "str":
            return text
        if name == "binary":
            import base64

            try:
                return base64.b64decode(text, validate=False).decode()
            except ValueError:
                self.problem(event, "!!binary that is no base64 of UTF-8 text")
                return ""
        value = resolve(text)
        if name == "timestamp":
            return text
        if name not in _TAG_TYPES:
            self.problem(event, f"tag {tag} means nothing to Kubernetes", "remove the tag")
        elif not isinstance(value, _TAG_TYPES[name]) or (
            name != "bool" and isinstance(value, bool)
        ):
            self.problem(event, f"{text!r} is not a !!{name}")
        return float(value) if name == "float" and isinstance(value, int) else value

    def sequence(self, event: Any) -> list[Any]:
        self.collection_tag(event, "seq")
        items: list[Any] = []
        self.path.append(0)
        while type(event := self.next()) is not yaml.SequenceEndEvent:
            self.path[-1] = len(items)
            items.append(self.node(event))
        self.path.pop()
        return items

    def mapping(self, event: Any) -> dict[str, Any]:
        self.collection_tag(event, "map")
        found: dict[str, Any] = {}
        merges: list[Any] = []
        while type(event := self.next()) is not yaml.MappingEndEvent:
            key = self.key(event)
            self.path.append("<<" if key is _MERGE else key)
            if key is _MERGE:
                merges.append(self.merged(self.next()))
            else:
                if key in found:
                    self.problem(event, f"key {key!r} is given twice", "keep one of the two")
                if self.lines is not None:
                    self.lines[tuple(self.path)] = event.start_mark.line + 1
                found[key] = self.node(self.next())
            self.path.pop()
        for mapping in merges:
            for key, value in mapping.items():
                found.setdefault(key, value)
        return found

    def key(self, event: Any) -> Any:
        """A key as text: Kubernetes turns numbers and truth values into JSON's text."""
        if type(event) is yaml.ScalarEvent and event.value == "<<" and event.implicit[0]:
            return _MERGE
        value = self.node(event)
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)
        self.problem(event, "a key must be text", "quote the key")
        return ""

    def merged(self, event: Any) -> dict[str, Any]:
        """What `<<` brings: one mapping, or a list of which the earlier wins."""
        value = self.node(event)
        parts = value if isinstance(value, list) else [value]
        together: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, dict):
                self.problem(event, "<< takes a mapping or a list of mappings")
                continue
            for key, entry in part.items():
                together.setdefault(key, entry)
        return together

    def collection_tag(self, event: Any, expected: str) -> None:
        if event.tag not in (None, "!", _TAG + expected):
            self.problem(event, f"tag {event.tag} means nothing to Kubernetes", "remove the tag")


_MERGE: Final = object()
