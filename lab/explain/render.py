"""Explanations as text for people and as JSON for programs. Pure: text in, colours on demand."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from lab.explain.chain import Line
from lab.explain.verdict import Explanation

SCHEMA: Final = 1
"""Raised when a field of the JSON changes its meaning."""
Paint = Callable[[str, str], str]
"""From text and a colour's name to text."""
_COLOURS: Final = {"yes": "green", "no": "red", "?": "yellow"}
_WIDEST: Final = 58
"""Columns of the questions; a longer one pushes its detail to the right."""


def plain(text: str, colour: str) -> str:
    """No colours."""
    return text


def as_text(explanations: Sequence[Explanation], paint: Paint = plain) -> str:
    """All explanations; pods with a verdict and cause that was told already take one line."""
    told: dict[tuple[object, ...], str] = {}
    blocks = []
    for one in explanations:
        key = (one.origin, one.namespace, one.verdict, one.cause)
        if one.origin == "live" and key in told:
            blocks.append(f"{_head(one, paint)}, like {told[key]}")
            continue
        told[key] = one.name
        blocks.append("\n".join(_block(one, paint)))
    return "\n\n".join(blocks) + "\n"


def _head(one: Explanation, paint: Paint) -> str:
    colour = {0: "green", 1: "red", 2: "yellow", 3: "yellow"}[one.verdict.exit_code]
    where = f"{one.place}: " if one.place else ""
    space = f" in namespace {one.namespace}" if one.namespace else ""
    return f"{where}{one.title}{space}: {paint(one.verdict.value, colour)}"


def _block(one: Explanation, paint: Paint) -> Iterator[str]:
    yield _head(one, paint)
    yield f"  {one.sentence}"
    if one.lines:
        yield ""
        width = min(_WIDEST, max(len(line.question) for line in one.lines))
        yield from (_line(line, width, paint) for line in one.lines)
    for finding in one.others:
        yield f"  also: {finding.sentence}"
    if one.steps:
        yield ""
        yield "  to change it:"
    for number, step in enumerate(one.steps, start=1):
        yield f"  {number}. {step.text}"
        yield from (f"       {command}" for command in step.commands)
    if one.notes or one.unknown:
        yield ""
    yield from (f"  note: {note}" for note in one.notes)
    yield from (f"  not known: {what}" for what in one.unknown)


def _line(line: Line, width: int, paint: Paint) -> str:
    mark = paint("->", "cyan") if line.decides else "  "
    answer = paint(f"{line.answer:<3}", _COLOURS[line.answer])
    return f"  {mark} {answer}  {line.question:<{width}}  {line.detail}".rstrip()


def as_json(explanations: Sequence[Explanation], exit_code: int) -> str:
    """One JSON object: schema, exit_code, explanations."""
    told = [_plain(one) for one in explanations]
    whole = {"schema": SCHEMA, "exit_code": exit_code, "explanations": told}
    return json.dumps(whole, indent=1) + "\n"


def _plain(one: Explanation) -> dict[str, Any]:
    return {
        "title": one.title,
        "namespace": one.namespace,
        "name": one.name,
        "origin": one.origin,
        "place": one.place,
        "verdict": one.verdict.value,
        "cause": one.cause.value if one.cause else None,
        "sentence": one.sentence,
        "also": [{"cause": each.cause.value, "sentence": each.sentence} for each in one.others],
        "lines": [dataclasses.asdict(line) for line in one.lines],
        "steps": [
            {
                "text": step.text,
                "commands": list(step.commands),
                "causes": [cause.value for cause in step.causes],
            }
            for step in one.steps
        ],
        "notes": list(one.notes),
        "unknown": list(one.unknown),
    }
