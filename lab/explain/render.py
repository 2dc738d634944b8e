"""Formats explanations as text for people and as JSON for programs. Pure."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from lab.explain.chain import Line
from lab.explain.verdict import Explanation

SCHEMA: Final = 1
"""Version of the JSON output. It increases when the meaning of a field changes."""
Paint = Callable[[str, str], str]
"""A function that takes a text and a colour's name, and returns the text in that colour."""
_COLOURS: Final = {"yes": "green", "no": "red", "?": "yellow"}
_WIDEST: Final = 58
"""The widest column of questions. A longer question moves the detail of its line to the right."""


def plain(text: str, colour: str) -> str:
    """Returns `text` unchanged. It is the Paint function for output without colours."""
    return text


def as_text(explanations: Sequence[Explanation], paint: Paint = plain) -> str:
    """Returns all explanations as text.

    An existing pod takes only one line if an earlier pod of its namespace has the same verdict and
    cause.
    """
    first_names: dict[tuple[object, ...], str] = {}
    blocks = []
    for explanation in explanations:
        key = (explanation.origin, explanation.namespace, explanation.verdict, explanation.cause)
        if explanation.origin == "live" and key in first_names:
            blocks.append(f"{_head(explanation, paint)}, like {first_names[key]}")
            continue
        first_names[key] = explanation.name
        blocks.append("\n".join(_block(explanation, paint)))
    return "\n\n".join(blocks) + "\n"


def _head(explanation: Explanation, paint: Paint) -> str:
    colour = {0: "green", 1: "red", 2: "yellow", 3: "yellow"}[explanation.verdict.exit_code]
    where = f"{explanation.place}: " if explanation.place else ""
    space = f" in namespace {explanation.namespace}" if explanation.namespace else ""
    return f"{where}{explanation.title}{space}: {paint(explanation.verdict.value, colour)}"


def _block(explanation: Explanation, paint: Paint) -> Iterator[str]:
    yield _head(explanation, paint)
    yield f"  {explanation.sentence}"
    if explanation.lines:
        yield ""
        width = min(_WIDEST, max(len(line.question) for line in explanation.lines))
        yield from (_line(line, width, paint) for line in explanation.lines)
    for finding in explanation.others:
        yield f"  also: {finding.sentence}"
    if explanation.steps:
        yield ""
        yield "  to change it:"
    for number, step in enumerate(explanation.steps, start=1):
        yield f"  {number}. {step.text}"
        yield from (f"       {command}" for command in step.commands)
    if explanation.notes or explanation.unknown:
        yield ""
    yield from (f"  note: {note}" for note in explanation.notes)
    yield from (f"  not known: {what}" for what in explanation.unknown)


def _line(line: Line, width: int, paint: Paint) -> str:
    mark = paint("->", "cyan") if line.decides else "  "
    answer = paint(f"{line.answer:<3}", _COLOURS[line.answer])
    return f"  {mark} {answer}  {line.question:<{width}}  {line.detail}".rstrip()


def as_json(explanations: Sequence[Explanation], exit_code: int) -> str:
    """Returns a JSON object with the fields `schema`, `exit_code` and `explanations`."""
    plain_data = [_plain_data(explanation) for explanation in explanations]
    document = {"schema": SCHEMA, "exit_code": exit_code, "explanations": plain_data}
    return json.dumps(document, indent=1) + "\n"


def _plain_data(explanation: Explanation) -> dict[str, Any]:
    return {
        "title": explanation.title,
        "namespace": explanation.namespace,
        "name": explanation.name,
        "origin": explanation.origin,
        "place": explanation.place,
        "verdict": explanation.verdict.value,
        "cause": explanation.cause.value if explanation.cause else None,
        "sentence": explanation.sentence,
        "also": [
            {"cause": finding.cause.value, "sentence": finding.sentence}
            for finding in explanation.others
        ],
        "lines": [dataclasses.asdict(line) for line in explanation.lines],
        "steps": [
            {
                "text": step.text,
                "commands": list(step.commands),
                "causes": [cause.value for cause in step.causes],
            }
            for step in explanation.steps
        ],
        "notes": list(explanation.notes),
        "unknown": list(explanation.unknown),
    }
