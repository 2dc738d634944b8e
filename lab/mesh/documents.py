"""Files of manifests into documents and back; an untouched document keeps its bytes.

A stream is cut by lines (a line that starts with `---`, or follows `...`, starts a document,
wherever it stands: YAML allows no other reading), so every document holds its own exact text.
Streams of JSON values are cut at the values.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from lab.mesh import fields, yaml_reader, yaml_writer
from lab.mesh.errors import DocumentError, DocumentErrors, Place
from lab.mesh.yaml_reader import FieldPath, Problem

_MARK: Final = re.compile(r"^(?:---(?=[ \t\r\n]|\Z)|\.\.\.(?=[ \t\r\n]|\Z))", re.MULTILINE)
_SEPARATOR_ONLY: Final = re.compile(r"---[ \t]*(?:#[^\n]*)?(?:\r*\n)?")
_QUIET_LINE: Final = re.compile(r"[ \t]*(?:#[^\n]*)?\r?\n")
_JSON_SPACE: Final = re.compile(r"[ \t\r\n]*")
_BOM: Final = "\ufeff"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class Document(NamedTuple):
    """One document of a file.

    `number` counts from 1 the documents that hold something; `line` is where `text` starts.
    `value` is None where there is nothing but comments. `is_json`: written as a JSON value.
    """

    file: str
    number: int
    line: int
    text: str
    value: Any = None
    is_json: bool = False

    def place(self, path: FieldPath = (), line: int | None = None) -> Place:
        """Where a field is. Reads the text again for the line: for messages only."""
        if line is None and self.text:
            line = self.line + _line_of(self, path) - 1
        return Place(self.file, self.number, line, fields.show(path) or None)

    def error(self, problem: str, path: FieldPath = (), *, hint: str = "") -> DocumentError:
        """A DocumentError at a field of this document."""
        return DocumentError(problem, self.place(path), hint=hint)

    def rewritten(self, value: Any) -> "Document":
        """The same document with other data: separator, leading comments and style of line
        ends are kept, and JSON stays JSON.
        """
        return self._replace(value=value, text=_render(self, value))


def read(data: bytes, file: str) -> list[Document]:
    """Cut and read a file. The texts of the documents, joined, are the file.

    Every document is a Kubernetes object (a mapping with apiVersion and kind) or empty.
    Raises DocumentErrors with every mistake that could be found.
    """
    text = decode(data, file)
    documents: list[Document] = []
    errors: list[DocumentError] = []
    number, line = 1, 1
    for piece in _cut(text):
        document = Document(file, number, line, piece.text, piece.value, piece.is_json)
        problems = piece.problems
        if not piece.is_json:
            value, problems = _understand(piece.text)
            document = document._replace(value=value)
        errors += (_error(document, problem) for problem in problems)
        documents.append(document)
        line += piece.text.count("\n")
        number += document.value is not None or bool(problems)
    if errors:
        raise DocumentErrors(errors)
    return documents


def join(files: Sequence[Sequence[Document]]) -> Iterator[str]:
    """The text of several files as one stream, a piece for each document.

    One file comes out as it is; between files a separator is added where none stands.
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
                text = text.removeprefix(_BOM)
                if not text.startswith(("---", "%")):
                    yield "---\n"
            yield text
            start = first = False
            ended = text.endswith("\n")


def decode(data: bytes, file: str) -> str:
    """The text of a file in UTF-8. Raises DocumentErrors, which says what else it is."""
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


class _Piece(NamedTuple):
    text: str
    is_json: bool = False
    value: Any = None
    problems: Sequence[Problem] = ()


def _cut(text: str) -> Iterator[_Piece]:
    if text.lstrip(_BOM + " \t\r\n").startswith("{"):
        pieces = _cut_json(text)
        if pieces is not None:
            yield from pieces
            return
    start = 0
    directives = text.startswith("%")
    for mark in _MARK.finditer(text):
        at = mark.start()
        if mark[0] == "---":
            if at > start and not directives:
                yield _Piece(text[start:at])
                start = at
            directives = False
            continue
        end = text.find("\n", at) + 1 or len(text)
        yield _Piece(text[start:end])
        start = end
        directives = text.startswith("%", start)
    if start < len(text):
        yield _Piece(text[start:])


def _cut_json(text: str) -> list[_Piece] | None:
    """JSON values one after another, or None where the text is something else."""
    pieces: list[_Piece] = []
    start, at = 0, text.index("{")
    while at < len(text):
        doubles: list[str] = []
        decoder = json.JSONDecoder(object_pairs_hook=partial(_unique, doubles))
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return None
        after = _JSON_SPACE.match(text, at)
        at = after.end() if after else at
        whole = text[start:at]
        line = whole[: len(whole) - len(whole.lstrip())].count("\n") + 1
        problems = [Problem(line, f"key {key!r} is given twice", "keep one") for key in doubles]
        if not isinstance(value, dict):
            problems.append(Problem(line, "not a Kubernetes object"))
        elif "\\ud" in whole.lower() and not _encodable(value):
            problems.append(Problem(line, "half a UTF-16 pair is no character"))
        else:
            problems += _object_problems(value, whole)
        pieces.append(_Piece(whole, True, value, problems))
        start = at
    return pieces


def _unique(doubles: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        doubles.extend(sorted({key for key in keys if keys.count(key) > 1}))
    return found


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _understand(text: str) -> tuple[Any, list[Problem]]:
    """The data of a text and all that is wrong with it, as far as can be seen in one go."""
    reading = yaml_reader.read(text)
    problems: list[Problem] = []
    if not reading.complete or (reading.problems and "{{" in text):
        from lab.mesh import mistakes  # only mistakes pay for loading it

        mended = mistakes.find(text)
        if mended.is_template:
            return None, list(mended.problems)
        problems += mended.problems
        if problems:
            reading = yaml_reader.read(mended.text)
            text = mended.text
    told = {problem.line for problem in problems}
    problems += (problem for problem in reading.problems if problem.line not in told)
    if reading.complete and reading.value is not None:
        problems += _object_problems(reading.value, text)
    return reading.value, sorted(problems, key=lambda problem: problem.line)


def _object_problems(value: Any, text: str) -> list[Problem]:
    if not isinstance(value, dict):
        reading = yaml_reader.read(text, with_lines=True)
        kind = fields.kind_of(value)
        return [Problem(reading.lines.get((), 1), f"not a Kubernetes object, but {kind}")]
    faults = fields.object_faults(value)
    if not faults:
        return []
    lines = yaml_reader.read(text, with_lines=True).lines
    return [Problem(_nearest(lines, f.path), f.text, f.hint, f.path) for f in faults]


def _error(document: Document, problem: Problem) -> DocumentError:
    place = document.place(problem.path, document.line + problem.line - 1)
    return DocumentError(problem.text, place, hint=problem.hint)


def _line_of(document: Document, path: FieldPath) -> int:
    return _nearest(_lines(document.text), path)


@lru_cache(maxsize=1)
def _lines(text: str) -> dict[FieldPath, int]:
    """The line of every field; kept, as a document with one mistake may have thousands."""
    return yaml_reader.read(text, with_lines=True).lines


def _nearest(lines: dict[FieldPath, int], path: FieldPath) -> int:
    """The line of the field, or of the nearest one that holds it."""
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
    head = _BOM if source.startswith(_BOM) else ""
    at = len(head)
    if (mark := re.compile(r"^---", re.MULTILINE).search(source)) and (
        mark.start() == at or source.startswith("%", at)
    ):
        separator = _SEPARATOR_ONLY.match(source, mark.start())
        head = source[: mark.start()] + (separator[0] if separator else "---")
        if not head.endswith("\n"):
            head += line_end
        at = separator.end() if separator else len(source)
    while quiet := _QUIET_LINE.match(source, at):
        head, at = head + quiet[0], quiet.end()
    tail = re.search(r"^\.\.\.[^\n]*\n?\Z", source, re.MULTILINE)
    body = yaml_writer.write(value).replace("\n", line_end)
    return head + body + (tail[0] if tail else "")
