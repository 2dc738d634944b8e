"""Panels as one SVG: a row a floor, a box a room, an arrow an import."""

import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from tests.rooms.house import Panel, Room

WIDTH: Final = 1360
MARGIN: Final = 24
GAP: Final = 14
ROW_GAP: Final = 44
LINE: Final = 15
BOX: Final = 248
"""Pixels: the drawing, its margin, between boxes, between floors, a line of text, a box."""
STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2937 }
.title { font-size: 20px; font-weight: 600 }
.package { font: 13px ui-monospace, monospace; fill: #6b7280 }
.name { font: 600 13px ui-monospace, monospace }
.room { fill: #eef4ff; stroke: #3b6fc4 }
.module { fill: #f7f7f5; stroke: #9ca3af }
.arrow { fill: none; stroke: #3b6fc4; stroke-opacity: .45; stroke-width: 1.3 }
"""


def svg(panels: Sequence[Panel]) -> str:
    """The whole drawing."""
    parts: list[str] = []
    top = MARGIN
    for panel in panels:
        drawn, top = _panel(panel, top)
        parts += drawn
        top += 40
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" '
        f'viewBox="0 0 {WIDTH} {top}" role="img">'
    )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#3b6fc4"/></marker></defs>'
    )
    white = f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>'
    title = "<title>The rooms of Sidecar Lab: each floor imports only floors below it</title>"
    return "\n".join([head, title, f"<style>{STYLE}</style>", tip, white, *parts, "</svg>", ""])


def _panel(panel: Panel, top: int) -> tuple[list[str], int]:
    parts = [
        f'<text class="title" x="{MARGIN}" y="{top + 18}">{escape(panel.title)}</text>',
        f'<text class="package" x="{MARGIN}" y="{top + 38}">{escape(panel.package)}</text>',
    ]
    top += 56
    places: dict[str, tuple[float, int, int]] = {}
    boxes: list[str] = []
    for floor in panel.floors:
        for row in _rows(floor):
            height = max(34 + LINE * len(_lines(room)) for room in row)
            width = len(row) * (BOX + GAP) - GAP
            left = (WIDTH - width) / 2
            for room in row:
                boxes += _box(room, left, top, height)
                places[room.name] = (left + BOX / 2, top, top + height)
                left += BOX + GAP
            top += height + ROW_GAP
    return [*parts, *_arrows(panel, places), *boxes], top - ROW_GAP


def _rows(floor: Sequence[Room]) -> Iterator[Sequence[Room]]:
    """A floor that is too wide stands in several rows."""
    most = (WIDTH - 2 * MARGIN + GAP) // (BOX + GAP)
    for at in range(0, len(floor), most):
        yield floor[at : at + most]


def _lines(room: Room) -> list[str]:
    return textwrap.wrap(room.sentence, 35)


def _box(room: Room, left: float, top: int, height: int) -> Iterator[str]:
    kind = "room" if room.is_package else "module"
    yield f'<rect class="{kind}" x="{left:g}" y="{top}" width="{BOX}" height="{height}" rx="6"/>'
    yield f'<text class="name" x="{left + 10:g}" y="{top + 20}">{escape(room.name)}</text>'
    for number, line in enumerate(_lines(room), start=1):
        at = top + 22 + LINE * number
        yield f'<text x="{left + 10:g}" y="{at}">{escape(line)}</text>'


def _arrows(panel: Panel, places: dict[str, tuple[float, int, int]]) -> Iterator[str]:
    for importer, imported in sorted(panel.arrows):
        (x, _, bottom), (there, top, _) = places[importer], places[imported]
        bend = (top - bottom) / 2
        yield (
            f'<path class="arrow" marker-end="url(#tip)" d="M{x:g} {bottom} '
            f'C{x:g} {bottom + bend:g} {there:g} {top - bend:g} {there:g} {top - 2}"/>'
        )
