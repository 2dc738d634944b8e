"""Renders the records as one self-contained HTML page: no network, scripts or other files."""

import re
from collections import Counter
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lab.records.model import Attachment, Grid, RunRecord
from lab.records.proofs import PROOFS
from lab.report.terminal import failed, never_red


@dataclass(frozen=True)
class Row:
    """A row of a table in a before/after comparison.

    `mark` is "" if both tables have the row, "gone" if only the table "before" has it, "new" if
    only the table "after" has it.
    """

    mark: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """One of the two tables of a before/after comparison."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def page(run: RunRecord) -> str:
    """Return the HTML page about `run`. Failures come first; every value is escaped."""
    environment = Environment(
        loader=PackageLoader("lab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    return environment.get_template("report.html.j2").render(
        run=run,
        failed=list(failed(run)),
        sides=sides,
        proven=proven(run),
        proofs=PROOFS,
        never_red=list(never_red(run)),
    )


def prose(text: str) -> Markup:
    """Return `text` as escaped HTML, with a <code> element for each part between backticks."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def proven(run: RunRecord) -> dict[int, bool]:
    """Return which of the PROOFS this run has proven: a dict whose keys are their numbers.

    The value is True if all steps that name the number in `proves` passed. Numbers that no step
    names are left out.
    """
    results: dict[int, bool] = {}
    for step in run.steps:
        for number in step.proves:
            results[number] = results.get(number, True) and step.passed
    return dict(sorted(results.items()))


def sides(attachment: Attachment) -> list[Side]:
    """Return the tables of an attachment: two, or fewer if "before" or "after" was not read.

    If there are two, each row that the other table does not have is marked. If a row occurs more
    often in one table than in the other, its surplus copies are marked.
    """
    before, after = attachment.before, attachment.after
    if before is None or after is None:
        only = after if before is None else before
        title = "after" if before is None else "before"
        return [] if only is None else [Side(title, only.columns, _plain(only))]
    return [
        Side("before", before.columns, _marked(before, after, "gone")),
        Side("after", after.columns, _marked(after, before, "new")),
    ]


def _plain(grid: Grid) -> tuple[Row, ...]:
    return tuple(Row("", cells) for cells in grid.rows)


def _marked(grid: Grid, other: Grid, mark: str) -> tuple[Row, ...]:
    # The sides may have different columns (an empty column is left out), so rows are compared
    # by the titles and texts of their cells that are not empty.
    left = Counter(_cells_by_title(other, cells) for cells in other.rows)
    rows = []
    for cells in grid.rows:
        known = left[_cells_by_title(grid, cells)] > 0
        left[_cells_by_title(grid, cells)] -= known
        rows.append(Row("" if known else mark, cells))
    return tuple(rows)


def _cells_by_title(grid: Grid, cells: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    return frozenset((c, x) for c, x in zip(grid.columns, cells, strict=True) if x)
