"""Converts values that a check observed into a plain table for the report. Pure."""

import dataclasses
from collections.abc import Iterable, Mapping, Set
from typing import Any

from lab.records.model import Grid


def grid(items: Iterable[object]) -> Grid:
    """Return a table with one row for each of `items`.

    If all items are dataclasses or mappings, their fields become the columns; otherwise the table
    has one column of texts. Fields of dataclasses that are not compared (`compare=False`, for
    instance counters) come last. Columns that are empty in every row are left out. If `items` is a
    set, the rows are sorted.
    """
    rows = list(items)
    if not rows:
        return Grid((), ())
    if all(isinstance(row, Mapping) or dataclasses.is_dataclass(row) for row in rows):
        cells = [_cells(row) for row in rows]
        columns = tuple(dict.fromkeys(name for cell in cells for name in cell))
        body = [tuple(cell.get(name, "") for name in columns) for cell in cells]
        # A column that is empty in every row only takes room.
        filled = [index for index in range(len(columns)) if any(row[index] for row in body)]
        columns = tuple(columns[index] for index in filled)
        body = [tuple(row[index] for index in filled) for row in body]
    else:
        columns = ("",)
        body = [(_text(row),) for row in rows]
    return Grid(columns, tuple(sorted(body) if isinstance(items, Set) else body))


def _cells(row: Any) -> dict[str, str]:
    if isinstance(row, Mapping):
        return {str(key): _text(value) for key, value in row.items()}
    fields = sorted(dataclasses.fields(row), key=lambda field: not field.compare)
    return {field.name: _text(getattr(row, field.name)) for field in fields}


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Set):
        return ", ".join(sorted(_text(member) for member in value))
    if isinstance(value, list | tuple):
        return ", ".join(_text(member) for member in value)
    return str(value)
