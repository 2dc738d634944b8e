"""What was measured, beside what it is compared with: ratios, their spread, goals. Pure."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """Samples of ours and of real Istio's, taken in one run.

    `goal`: the ratio ours / Istio's that is wanted, or, with `limit`, the figure of ours itself.
    `more_is_better` turns the goal round. `why` is what to read when it is missed.
    """

    what: str
    unit: str
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    goal: float | None = None
    limit: float | None = None
    more_is_better: bool = False
    why: str = ""

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Least, middle, most: of medians in the middle, of the extremes at the ends."""
        return (
            min(self.ours) / max(self.theirs),
            statistics.median(self.ours) / statistics.median(self.theirs),
            max(self.ours) / min(self.theirs),
        )

    @property
    def met(self) -> bool:
        """Whether the median reaches the goal."""
        if self.limit is not None:
            return statistics.median(self.ours) <= self.limit
        if self.goal is None:
            return True
        middle = self.ratio[1]
        return middle >= self.goal if self.more_is_better else middle <= self.goal

    def line(self) -> str:
        """One line of the table."""
        low, middle, high = self.ratio
        sign = "≥" if self.more_is_better else "≤"
        goal = f"{sign} {self.goal:g}x" if self.goal is not None else "-"
        if self.limit is not None:
            goal = f"≤ {self.limit:g} {self.unit}"
        verdict = "" if goal == "-" else "met" if self.met else "MISSED"
        ratio = f"{middle:.2f} ({low:.2f}-{high:.2f})"
        return (
            f"{self.what:45} {spread(self.ours):>22} {spread(self.theirs):>22} {self.unit:6}"
            f" {ratio:>18} {goal:>8}  {verdict}"
        )

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "what": self.what, "unit": self.unit, "ours": self.ours, "istio": self.theirs,
            "ratio": dict(zip(("min", "median", "max"), self.ratio, strict=True)),
            "goal": self.goal, "limit": self.limit, "met": self.met, "why": self.why,
        }  # fmt: skip


@dataclass
class Table:
    """All rows of a run, and single figures that have no counterpart."""

    rows: list[Row] = field(default_factory=list)
    singles: list[tuple[str, float]] = field(default_factory=list)

    def text(self) -> str:
        """The table, and below it what explains the goals that were missed."""
        lines = [f"{seconds:8.2f} s  {what}" for what, seconds in self.singles]
        if self.rows:
            heads = ("ours", "real Istio", "unit", "ours/Istio", "goal")
            head = f"{'min / median / max of each':45} {heads[0]:>22} {heads[1]:>22} {heads[2]:6}"
            lines += [f"{head} {heads[3]:>18} {heads[4]:>8}", *(row.line() for row in self.rows)]
            missed = [row for row in self.rows if not row.met]
            lines += [f"\nwhy {row.what} misses its goal:\n{row.why}" for row in missed]
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        singles = [{"what": what, "seconds": seconds} for what, seconds in self.singles]
        return {"rows": [row.plain() for row in self.rows], "singles": singles}


def spread(samples: Sequence[float]) -> str:
    """min / median / max, with as many digits as mean something."""
    values = (min(samples), statistics.median(samples), max(samples))
    digits = 0 if values[1] >= 100 else 1 if values[1] >= 10 else 3
    return " / ".join(f"{value:.{digits}f}" for value in values)
