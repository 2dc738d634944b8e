"""Records as one HTML page that needs nothing else: no network, no script, no other file."""

import re
from collections import Counter
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from lab.records.model import Attachment, Grid, RunRecord
from lab.records.proofs import PROOFS
from lab.report.terminal import failed, unseen


@dataclass(frozen=True)
class Row:
    """A table's row and its mark: "" in both, "gone" only before, "new" only after."""

    mark: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """One side of a comparison."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def page(run: RunRecord) -> str:
    """The page's text. Failures stand first; every value is escaped."""
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
        unseen=list(unseen(run)),
    )


def prose(text: str) -> Markup:
    """Escaped text with `words` between backticks as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def proven(run: RunRecord) -> dict[int, bool]:
    """Numbers of the walkthrough's list that steps speak of → whether all of those passed."""
    told: dict[int, bool] = {}
    for step in run.steps:
        for number in step.proves:
            told[number] = told.get(number, True) and step.passed
    return dict(sorted(told.items()))


def sides(attachment: Attachment) -> list[Side]:
    """Before and after, each row marked by whether the other side has it (as often)."""
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
    # Columns may differ (a column that is empty throughout is left out), so rows are compared
    # by what they say under which title.
    left = Counter(_said(other, cells) for cells in other.rows)
    rows = []
    for cells in grid.rows:
        known = left[_said(grid, cells)] > 0
        left[_said(grid, cells)] -= known
        rows.append(Row("" if known else mark, cells))
    return tuple(rows)


def _said(grid: Grid, cells: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    return frozenset((c, x) for c, x in zip(grid.columns, cells, strict=True) if x)
