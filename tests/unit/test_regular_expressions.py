"""Every regular expression of the mesh and of explanations takes time linear in a hostile text.

They read what strangers wrote: names, annotations, logs, manifests. One that tries every start, or
every length, takes minutes for a text of the 256 KiB that an API server lets anybody write.
"""

import ast
import importlib
import re
import signal
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

ROOMS: Final = ("mesh", "explain", "observe", "scenario")
LAB: Final = Path(__file__).parents[2] / "lab"
LENGTH: Final = 20_000
LIMIT: Final = 0.5
"""Seconds of processor time; an honest one takes some milliseconds, a squared one many seconds."""
WAYS: Final = ("search", "match", "fullmatch", "findall", "finditer", "split", "sub")
UNITS: Final = (
    *("a", "0", "-", " ", "\t", ".", "/", ":", "#", "\n", '"', "'", "\\", "%", "=", "_", "[", "é"),
    *("a-", "0-", "- ", "a.", "a ", "a: ", ": ", "0_", "---\n", "...\n", "a\n", "a=", '\\"', "x,"),
)
BEFORE: Final = ("", "a:x", "a: ", "[", 'a="x')
AFTER: Final = ("", "\x00", "#")
TEXTS: Final = tuple(
    before + unit * (LENGTH // len(unit)) + after
    for unit, before, after in product(UNITS, BEFORE, AFTER)
)
BOUNDED: Final = {
    ("lab.mesh.grammar.proxy_grammar", "findall"): "the text has at most 50 characters by then",
    ("lab.mesh.grammar.traffic_grammar", "findall"): "the text is a row of matches by then",
}
"""Uses that are linear for a reason that their pattern does not show."""


class LateError(BaseException):
    """The processor time was up."""


def _late(_: int, __: FrameType | None) -> None:
    raise LateError


def uses(file: Path) -> Iterator[tuple[str, re.Pattern[Any], str]]:
    """(where, pattern, way) of each use in a module whose pattern is a constant."""
    room = ".".join(file.relative_to(LAB.parent).with_suffix("").parts)
    names = vars(importlib.import_module(room.removesuffix(".__init__")))

    def value(node: ast.expr) -> Any:
        try:
            return eval(compile(ast.Expression(node), room, "eval"), dict(names))
        except Exception:  # noqa: BLE001 - it depends on what only a call knows
            return None

    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        way = node.func.attr
        if way not in WAYS or (room, way) in BOUNDED:
            continue
        holder = value(node.func.value)
        if holder is re and isinstance(text := value(node.args[0]), str | bytes):
            flags = [one for one in map(value, node.args[1:]) if isinstance(one, re.RegexFlag)]
            yield f"{room}:{node.lineno}", re.compile(text, *flags), way
        elif isinstance(holder, re.Pattern):
            yield f"{room}:{node.lineno}", holder, way


FOUND: Final = {
    (pattern.pattern, way): (where, pattern)
    for room in ROOMS
    for file in sorted((LAB / room).rglob("*.py"))
    if file.name != "__main__.py"
    for where, pattern, way in uses(file)
}


@pytest.fixture(autouse=True)
def _alarm() -> Iterator[None]:
    before = signal.signal(signal.SIGPROF, _late)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)


def slow_on(pattern: re.Pattern[Any], way: str) -> str:
    """The beginning of a text for which the time is not enough, "" if there is none."""
    for text in TEXTS:
        given: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        try:
            made = getattr(pattern, way)(*([given[:0]] if way == "sub" else []), given)
            if way == "finditer":
                list(made)
        except LateError:
            return f"{text[:8]!r} … {text[-4:]!r}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def test_most_expressions_are_found() -> None:
    assert len(FOUND) > 90


@pytest.mark.parametrize(("text", "way"), FOUND, ids=lambda one: str(one)[:40])
def test_a_regular_expression_is_linear_in_a_hostile_text(text: str | bytes, way: str) -> None:
    where, pattern = FOUND[text, way]
    assert not slow_on(pattern, way), where


@pytest.mark.parametrize(
    ("pattern", "way"),
    [(r"(.+)-[0-9]{8,10}\Z", "search"), (r"([\w.-]+) refused (.*)", "search"), (r"\s*x", "search")],
)
def test_a_squared_expression_is_told(pattern: str, way: str) -> None:
    assert slow_on(re.compile(pattern), way)
