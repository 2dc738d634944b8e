"""What a session's log says of its tests: which failed, and how many were not run."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOST: Final = 20
"""Lines of one session; more of them hide which session it was."""
_ESCAPES: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])|\r")
_SUMMARY: Final = re.compile(r"(?m)^=+ short test summary info =+$")
_FAILED: Final = re.compile(r"(?m)^(?:FAILED|ERROR|[Ee]rror:) (?=\S)(.+)$")
_NOT_RUN: Final = re.compile(r"(?m)^SKIPPED \[(\d+)\] \S+?(?::\d+)?: (?:Skipped: )?(.+)$")
_PASSED: Final = re.compile(r"(?m)^=* ?(?:.*, )?[1-9]\d* passed\b")
_ENDED: Final = re.compile(r"(?m)^session: (.+)$")


@dataclass(frozen=True)
class Session:
    """One session that was begun: its name, where its log is, and whether it did what it should."""

    name: str
    log: str
    good: bool

    @property
    def text(self) -> str:
        """What it printed, "" when nothing was kept."""
        file = Path(self.log)
        return plain(file.read_text("utf-8", errors="replace")) if file.is_file() else ""


def plain(text: str) -> str:
    """Text as it was meant for a terminal, without what moves and colours."""
    return _ESCAPES.sub("", text)


def failures(log: str) -> list[str]:
    """What failed, one text each: pytest's and the lab's own last words, else how it ended."""
    last = _SUMMARY.split(log)[-1]
    found = list(dict.fromkeys(_FAILED.findall(last)))
    return found or _ENDED.findall(log)[-1:]


def not_run(log: str) -> list[tuple[int, str]]:
    """(how many tests, why) of what this machine or this user cannot run."""
    found: dict[str, int] = {}
    for number, why in _NOT_RUN.findall(log):
        found[why] = found.get(why, 0) + int(number)
    return [(number, why) for why, number in found.items()]


def closing(sessions: Sequence[Session]) -> list[str]:
    """The last lines of a run: what passed, what was not run and why, and what failed.

    Of one session that did all it should nothing needs to be said, and a session none of whose
    tests were run did not pass.
    """
    good = [one.name for one in sessions if one.good and not _idle(one.text)]
    missing = [
        f"NOT RUN  {one.name}: {number} test{'s' * (number != 1)}, because {why}"
        for one in sessions
        for number, why in not_run(one.text)
    ]
    failed = [line for one in sessions if not one.good for line in _failed(one)]
    if len(sessions) == len(good) == 1 and not missing:
        return []
    return [*([f"ok       {', '.join(good)}"] if good else []), *missing, *failed]


def _idle(log: str) -> bool:
    """Whether there were tests, and none of them was run."""
    return bool(not_run(log)) and not _PASSED.search(log)


def _failed(session: Session) -> Iterable[str]:
    found = failures(session.text)
    shown = found[:MOST] or ["nothing says why"]
    for one in shown:
        yield f"FAILED   {session.name}: {one}  (log: {session.log})"
    if len(found) > MOST:
        yield f"FAILED   {session.name}: {len(found) - MOST} more  (log: {session.log})"
