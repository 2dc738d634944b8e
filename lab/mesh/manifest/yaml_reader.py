"""Reads the text of one YAML document into plain data, as kubectl does.

This module uses libyaml's events (PyYAML), not PyYAML's constructors: those read `on`, `1e3`,
`22:22` and dates differently from Kubernetes, accept a duplicate key, and keep no line numbers.
yaml_scalars.py decides what a scalar means.
"""

import math
import re
from typing import Any, Final

import yaml

from lab.mesh.manifest.reading import MAX_DEPTH, Problem, Reading
from lab.mesh.manifest.yaml_scalars import go_value, json_number, key_text

MAX_ALIAS_NODES: Final = 100_000
"""The most nodes that aliases may add to a document: an alias bomb would add far more."""
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"
_TAG_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}
_MARK: Final = "\ufeff"
_INNER_MARK: Final = re.compile(rf"(?<=\n){_MARK}")
DROPPED: Final = "kubectl reads one document here, and drops this and all that follows it"
DROPPED_HINT: Final = "begin another document with a line `---`; indent a document's lines alike"


def read(text: str, *, with_lines: bool = False) -> Reading:
    """Reads one document. Never raises: the result holds every mistake.

    Reading goes on after a duplicate key, a key that is not text, an alias without its anchor and
    an unknown tag. It stops at bad syntax, at a second document, at too deep a nesting and where
    aliases add too many nodes. `with_lines` fills `lines` with the line of every field, and
    `written` with every unquoted scalar as the text spells it (slower). A byte order mark at the
    start of `text` is skipped; at the start of a later line it is text, as in kubectl.
    """
    reading = Reading()
    text, stand_in = _without_marks(text)
    builder = _Builder(text, reading, with_lines, stand_in)
    try:
        builder.document()
    except UnicodeEncodeError:
        reading.complete = False
        reading.problems.append(Problem(1, "half a UTF-16 pair is not a character"))
    except yaml.YAMLError as error:
        reading.complete = False
        reading.problems.append(_syntax_problem(error, builder.ended))
    except _Stop as stop:
        reading.complete = False
        reading.problems.append(stop.problem)
    return reading


def _without_marks(text: str) -> tuple[str, str]:
    """Returns the text without the byte order mark at its start, and a stand-in character.

    The stand-in replaces the marks at the start of other lines, because libyaml would drop them
    and kubectl reads them as text. It is "" if there are none.
    """
    text = text.removeprefix(_MARK)
    if _MARK not in text:
        return text, ""
    stand_in = next(free for free in map(chr, range(0xE000, 0xF900)) if free not in text)
    return _INNER_MARK.sub(stand_in, f"\n{text}")[1:], stand_in


def _syntax_problem(error: yaml.YAMLError, ended: bool) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        if ended and error.problem == "did not find expected <document start>":
            return Problem(line, DROPPED, DROPPED_HINT)
        return Problem(line, f"not YAML: {error.problem or error.context or error}")
    if isinstance(error, yaml.reader.ReaderError):
        return Problem(1, f"not YAML: character #x{error.character:04x} is not allowed")
    return Problem(1, f"not YAML: {' '.join(str(error).split())}")


class _Stop(Exception):  # noqa: N818  (control flow inside this module)
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.text)
        self.problem = problem


class _Builder:
    """Builds data from libyaml's events, and keeps the path of the current node for messages."""

    def __init__(self, text: str, reading: Reading, with_lines: bool, stand_in: str) -> None:
        self.text = text
        self.reading = reading
        self.lines = reading.lines if with_lines else None
        self.stand_in = stand_in
        self.ended = False
        self.path: list[str | int] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.nodes = 0
        self.alias_nodes = 0
        self.depth = 0

    def document(self) -> None:
        """Reads the document. Raises _Stop if a second one follows, which kubectl would drop."""
        self.next = _LOADER(self.text).get_event
        event = self.next()
        while event is not None and not isinstance(event, yaml.NodeEvent):
            event = self.next()
        if event is None:
            return
        self.reading.value = self.node(event)
        while event is not None and not isinstance(event, yaml.DocumentEndEvent):
            event = self.next()
        self.ended = True
        while event is not None:  # bad syntax after the document must not pass, either
            event = self.next()
            if isinstance(event, yaml.NodeEvent):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise _Stop(Problem(line, DROPPED, DROPPED_HINT))

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
            # The path's length is no measure: a key that is no text has no path, nor its content.
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
        value = self.go_scalar(event)
        if not isinstance(value, float):
            return value
        if not math.isfinite(value):
            self.problem(event, f"`{event.value}` is a number that JSON cannot hold", "quote it")
        return json_number(value)

    def go_scalar(self, event: Any) -> Any:
        """Returns the value of a scalar, with the type that Go's YAML reader gives it."""
        text: str = event.value
        if self.stand_in:
            text = text.replace(self.stand_in, _MARK)
        tag = event.tag
        if tag is None or tag == "!":
            if not event.implicit[0] or tag is not None:
                return text
            if self.lines is not None:
                self.reading.written[tuple(self.path)] = text
            return go_value(text)
        name = tag.removeprefix(_TAG)
        if name == "str":
            return text
        if name == "binary":
            import base64

            try:
                return base64.b64decode(text, validate=False).decode()
            except ValueError:
                self.problem(event, "the value of !!binary is not UTF-8 text in base64")
                return ""
        value = go_value(text)
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
        entries: dict[str, Any] = {}
        merges: list[Any] = []
        while type(event := self.next()) is not yaml.MappingEndEvent:
            key = self.key(event)
            self.path.append("<<" if key is _MERGE else key)
            if key is _MERGE:
                merges.append(self.merged(self.next()))
            else:
                if key in entries:
                    self.problem(event, f"key {key!r} is given twice", "keep one of the two")
                if self.lines is not None:
                    self.lines[tuple(self.path)] = event.start_mark.line + 1
                entries[key] = self.node(self.next())
            self.path.pop()
        for mapping in merges:
            for key, value in mapping.items():
                entries.setdefault(key, value)
        return entries

    def key(self, event: Any) -> Any:
        """Returns a key as text; numbers and truth values are spelt as in Kubernetes.

        Returns _MERGE for the key `<<`, and "" (after noting the mistake) for any other kind of
        key, such as null or a list.
        """
        if type(event) is yaml.ScalarEvent and event.value == "<<" and event.implicit[0]:
            return _MERGE
        if type(event) is yaml.ScalarEvent and not event.anchor:
            self.nodes += 1
            value = self.go_scalar(event)
        else:
            value = self.node(event)
        if isinstance(value, str):
            if self.stand_in and value.startswith(_MARK) and event.implicit[0]:
                value = value.lstrip(_MARK)  # or the field would be missing as well
                text = f"a byte order mark before {value!r}: kubectl reads it as a part of the key"
                self.problem(event, text, "remove the mark")
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float):
            return key_text(value)
        if isinstance(value, int) and value < 2**63:
            return str(value)
        self.problem(event, "a key must be text", "quote the key")
        return ""

    def merged(self, event: Any) -> dict[str, Any]:
        """Returns the entries that `<<` adds, from a mapping or a list of mappings.

        If a key is in several mappings of the list, the first one wins.
        """
        value = self.node(event)
        parts = value if isinstance(value, list) else [value]
        merged: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, dict):
                self.problem(event, "<< takes a mapping or a list of mappings")
                continue
            for key, entry in part.items():
                merged.setdefault(key, entry)
        return merged

    def collection_tag(self, event: Any, expected: str) -> None:
        if event.tag not in (None, "!", _TAG + expected):
            self.problem(event, f"tag {event.tag} means nothing to Kubernetes", "remove the tag")


_MERGE: Final = object()
