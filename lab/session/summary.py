"""Finds in the logs of sessions which tests failed and how many were not run, and why."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST: Final = 20
"""Maximum number of failures listed for one session: more would hide those of other sessions."""
_ESCAPES: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])|\r")
_SUMMARY: Final = re.compile(r"(?m)^=+ short test summary info =+$")
_FAILED: Final = re.compile(r"(?m)^(?:FAILED|ERROR|[Ee]rror:) (?=\S)(.+)$")
_NOT_RUN: Final = re.compile(r"(?m)^SKIPPED \[(\d+)\] \S+?(?::\d+)?: (?:Skipped: )?(.+)$")
_PASSED: Final = re.compile(r"(?m)^=* ?(?:.*, )?[1-9]\d* passed\b")
_ENDED: Final = re.compile(r"(?m)^session: (.+)$")


@dataclass(frozen=True)
class Session:
    """A session of nox that was run: its name, the path of its log, and whether it succeeded."""

    name: str
    log: str
    good: bool

    @property
    def text(self) -> str:
        """The session's output; "" when there is no log."""
        file = Path(self.log)
        return plain(file.read_text("utf-8", errors="replace")) if file.is_file() else ""


def plain(text: str) -> str:
    """Returns terminal output without the codes that move the cursor or set colours."""
    return _ESCAPES.sub("", text)


def failures(log: str) -> list[str]:
    """Parses a session's log; returns one text for each failure.

    Failures are the lines that begin with FAILED, ERROR or `error:` after the heading of pytest's
    last summary, or in the whole log if it has no summary. If there are no such lines, returns how
    the last failed command ended; [] when no command failed.
    """
    last = _SUMMARY.split(log)[-1]
    failed = list(dict.fromkeys(_FAILED.findall(last)))
    return failed or _ENDED.findall(log)[-1:]


def not_run(log: str) -> list[tuple[int, str]]:
    """Parses a session's log; returns (number of skipped tests, reason) for each reason."""
    counts: dict[str, int] = {}
    for number, why in _NOT_RUN.findall(log):
        counts[why] = counts.get(why, 0) + int(number)
    return [(number, why) for why, number in counts.items()]


def closing(sessions: Sequence[Session]) -> list[str]:
    """Returns the last lines that nox prints: what passed, what was not run and why, what failed.

    Returns [] for a single session that passed without skipped tests. A session is not listed as
    passed if all its tests were skipped.
    """
    good = [session.name for session in sessions if session.good and not _idle(session.text)]
    missing = [
        f"NOT RUN  {session.name}: {number} test{'s' * (number != 1)}, because {why}"
        for session in sessions
        for number, why in not_run(session.text)
    ]
    failed = [line for session in sessions if not session.good for line in _failed(session)]
    if len(sessions) == len(good) == 1 and not missing:
        return []
    return [*([f"ok       {', '.join(good)}"] if good else []), *missing, *failed]


def _idle(log: str) -> bool:
    """Whether tests were skipped and no test passed."""
    return bool(not_run(log)) and not _PASSED.search(log)


def _failed(session: Session) -> Iterable[str]:
    failed = failures(session.text)
    shown = failed[:MOST] or ["the log does not show why"]
    for failure in shown:
        yield f"FAILED   {session.name}: {failure}  (log: {session.log})"
    if len(failed) > MOST:
        yield f"FAILED   {session.name}: {len(failed) - MOST} more  (log: {session.log})"
