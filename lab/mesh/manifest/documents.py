"""Reads files of manifests into documents and writes them; an unchanged document keeps its bytes.

streams.py splits a file's text between documents and drops nothing, so each document holds its own
part of the text, exactly as it was written.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lab.mesh.errors import DocumentError, DocumentErrors, Place
from lab.mesh.manifest import field_types, streams, yaml_reader, yaml_writer
from lab.mesh.manifest.field_types import Fault
from lab.mesh.manifest.reading import FieldPath, Problem, Reading
from lab.mesh.manifest.streams import BOM, SEPARATOR

_QUIET_LINE: Final = re.compile(r"[ \t]*(?:#[^\n]*)?\r?\n")
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class Document(NamedTuple):
    """One document of a file.

    `number` counts the documents that have content, from 1; `line` is the line of the file on
    which `text` starts. `value` is None if the document has only comments. `is_json`: the document
    is written as a JSON value.
    """

    file: str
    number: int
    line: int
    text: str
    value: Any = None
    is_json: bool = False
    skip: int = 0
    """Characters at the start of `text` (a separator, byte order marks) that the reader skips."""

    def place(self, path: FieldPath = (), line: int | None = None) -> Place:
        """Returns the place of a field, for messages. Slow: reads the text again for the line."""
        if line is None and self.text:
            line = self.line + _line_of(self, path) - 1
        return Place(self.file, self.number, line, field_types.show(path) or None)

    def error(self, problem: str, path: FieldPath = (), *, hint: str = "") -> DocumentError:
        """Returns a DocumentError at a field of this document."""
        return DocumentError(problem, self.place(path), hint=hint)

    def fault(self, fault: Fault, path: FieldPath = ()) -> DocumentError:
        """Returns the DocumentError for `fault`, which is in the object at `path`."""
        where = (*path, *fault.path)
        reworded = _as_written(fault, _reading(streams.readable(self.text, self.skip)), where)
        return self.error(reworded.text, where, hint=reworded.hint)

    def rewritten(self, value: Any) -> "Document":
        """Returns the document with another value, written in the same format (YAML or JSON).

        The separator, the leading comments and the style of line ends stay.
        """
        return self._replace(value=value, text=_render(self, value))


def read(data: bytes, file: str) -> list[Document]:
    """Splits a file into documents and reads them. The documents' texts, joined, are the file.

    Every document must be a Kubernetes object (a mapping with apiVersion and kind) or empty.
    Raises DocumentErrors with every mistake that one reading can find.
    """
    text = decode(data, file)
    documents: list[Document] = []
    errors: list[DocumentError] = []
    number, line = 1, 1
    for piece in streams.cut(text):
        document = Document(file, number, line, *piece[:4])
        problems = piece.problems
        text = streams.readable(piece.text, piece.skip)
        if piece.is_json and not problems:
            problems = _object_problems(piece.value, text)
        elif not problems:
            value, problems = _understand(text)
            document = document._replace(value=value)
        errors += (_error(document, problem) for problem in problems)
        documents.append(document)
        line += piece.text.count("\n")
        number += document.value is not None or bool(problems)
    if errors:
        raise DocumentErrors(errors)
    return documents


def join(files: Sequence[Sequence[Document]]) -> Iterator[str]:
    """Yields the text of several files as one stream, piece by piece.

    The text of a single file stays unchanged. If a later file begins with neither a separator nor a
    directive (`%`), a separator is added before it.
    """
    ended, first = True, True
    for documents in files:
        start = True
        for document in documents:
            text = document.text
            if not text:
                continue
            if start and not first:
                if not ended:
                    yield "\n"
                text = text.lstrip(BOM)
                if not text.startswith(("---", "%")):
                    yield "---\n"
            yield text
            start = first = False
            ended = text.endswith("\n")


def decode(data: bytes, file: str) -> str:
    """Decodes UTF-8. Raises DocumentErrors, which names UTF-16 or the first bad byte."""
    if data.startswith(_UTF16_MARKS):
        hint = "save the file as UTF-8 (PowerShell's `>` writes UTF-16)"
        raise DocumentErrors([DocumentError("UTF-16, not UTF-8", Place(file, line=1), hint=hint)])
    try:
        return data.decode()
    except UnicodeDecodeError as bad:
        line = data.count(b"\n", 0, bad.start) + 1
        problem = f"not UTF-8: byte 0x{data[bad.start]:02x}"
        hint = "save the file as UTF-8"
        raise DocumentErrors([DocumentError(problem, Place(file, line=line), hint=hint)]) from bad


def _understand(text: str) -> tuple[Any, list[Problem]]:
    """Returns the data of a YAML document, and every mistake that one reading can find."""
    reading = yaml_reader.read(text)
    problems: list[Problem] = []
    if not reading.complete or (reading.problems and "{{" in text):
        from lab.mesh.manifest import yaml_typos  # only mistakes pay for loading it

        corrected = yaml_typos.find(text)
        if corrected.is_template:
            return None, list(corrected.problems)
        problems += corrected.problems
        if problems:
            reading = yaml_reader.read(corrected.text)
            text = corrected.text
    reported_lines = {problem.line for problem in problems}
    problems += (problem for problem in reading.problems if problem.line not in reported_lines)
    if reading.complete and reading.value is not None:
        problems += _object_problems(reading.value, text)
    return reading.value, sorted(problems, key=lambda problem: problem.line)


def _object_problems(value: Any, text: str) -> list[Problem]:
    if not isinstance(value, dict):
        reading = yaml_reader.read(text, with_lines=True)
        kind = field_types.kind_of(value)
        return [Problem(reading.lines.get((), 1), f"not a Kubernetes object, but {kind}")]
    faults = field_types.object_faults(value)
    if not faults:
        return []
    reading = yaml_reader.read(text, with_lines=True)
    faults_at = ((f.path, _as_written(f, reading, f.path)) for f in faults)
    return [Problem(_nearest(reading.lines, at), f.text, f.hint, at) for at, f in faults_at]


def _as_written(fault: Fault, reading: Reading, path: FieldPath) -> Fault:
    written = reading.written.get(path)
    return fault.as_written(written) if written else fault


def _error(document: Document, problem: Problem) -> DocumentError:
    place = document.place(problem.path, document.line + problem.line - 1)
    return DocumentError(problem.text, place, hint=problem.hint)


def _line_of(document: Document, path: FieldPath) -> int:
    return _nearest(_reading(streams.readable(document.text, document.skip)).lines, path)


@lru_cache(maxsize=1)
def _reading(text: str) -> Reading:
    """Reads a text with the line of every field.

    Caches the last result, because a document may have thousands of mistakes.
    """
    return yaml_reader.read(text, with_lines=True)


def _nearest(lines: dict[FieldPath, int], path: FieldPath) -> int:
    """Returns the line of a field, or of the nearest field around it that has a line."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _render(document: Document, value: Any) -> str:
    source = document.text
    if document.is_json:
        lead = source[: source.index("{")]
        return f"{lead}{json.dumps(value, indent=2, ensure_ascii=False)}\n"
    first_end = source.find("\n")
    line_end = "\r\n" if first_end > 0 and source[first_end - 1] == "\r" else "\n"
    at = len(source) - len(source.lstrip(BOM))
    head = source[: min(at, 1)]
    mark = at if source.startswith("---", at) else -1
    if source.startswith("%", at) and (after := re.search(r"^---", source, re.MULTILINE)):
        mark = after.start()
    if mark >= 0:
        separator = SEPARATOR.match(source, mark)
        head += source[at:mark] + (separator[0] if separator else "---")
        if not head.endswith("\n"):
            head += line_end
        at = separator.end() if separator else len(source)
        at = len(source) - len(source[at:].lstrip(BOM))
    while quiet := _QUIET_LINE.match(source, at):
        head, at = head + quiet[0], quiet.end()
    tail = re.search(r"^\.\.\.[^\n]*\n?\Z", source, re.MULTILINE)
    body = yaml_writer.write(value).replace("\n", line_end)
    return head + body + (tail[0] if tail else "")
