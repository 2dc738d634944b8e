"""What is generated from the chapters: docs/walkthrough.md and the pictures beside it."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lab import paths
from lab.errors import ScenarioError
from lab.records import store
from lab.records.model import ChapterRecord, RecordError, RunRecord
from lab.report import html
from lab.scenario.chapter import Chapter
from lab.scenario.pages import pictures
from lab.scenario.pages import walkthrough_page as walkthrough

PICTURE = "report.png"
AGAIN = "`nox -s docs` writes it anew"


def write(
    page: Path, chapters: Sequence[Chapter], where: paths.LabPaths, *, with_pictures: bool
) -> list[Path]:
    """Write the page, and the pictures in its folder, from the lab's last records; the files.

    Raises ScenarioError when a chapter has no complete record, CommandError when no picture can
    be made.
    """
    records = {one.number: one for one in store.load_chapters(where.records)}
    for chapter in chapters:
        known = records.get(chapter.number)
        if known is None or not known.passed or len(known.steps) != len(chapter.steps):
            raise ScenarioError(
                f"chapter {chapter.number} has no complete record", hint="run `lab docs` afresh"
            )
    scrub = _scrub(where)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(walkthrough.walkthrough(chapters, records, scrub), encoding="utf-8")
    if not with_pictures:
        return [page]
    text = html.page(_run(where, tuple(records[one.number] for one in chapters)))
    for found, instead in scrub.items():
        text = text.replace(found, instead)
    picture = page.with_name(PICTURE)
    pictures.take(text, picture, pictures.fingerprint(chapters))
    return [page, picture]


def check(page: Path, chapters: Sequence[Chapter]) -> tuple[list[Path], list[Chapter]]:
    """The page and the pictures beside it, which fit the chapters; and the chapters not yet in it.

    Raises ScenarioError, naming what does not fit.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except FileNotFoundError as absent:
        raise ScenarioError(f"there is no {page}", hint="`nox -s docs` writes it") from absent
    missing = walkthrough.unrecorded(text, chapters)
    recorded = [one for one in chapters if one not in missing]
    wrong = walkthrough.stale(text, recorded)
    if wrong is not None:
        raise ScenarioError(
            f"{page}:{wrong.line} is not what the chapters say: found {wrong.found!r}, "
            f"wanted {wrong.wanted!r}",
            hint=AGAIN,
        )
    wanted = pictures.fingerprint(recorded)
    found = sorted({page.with_name(PICTURE), *page.parent.glob("*.png")})
    for picture in found:
        if not _is_of(picture, wanted):
            raise ScenarioError(f"{picture} is no picture of the chapters as they are", hint=AGAIN)
    return [page, *found], missing


def _is_of(picture: Path, wanted: str) -> bool:
    try:
        return pictures.stamp_of(picture.read_bytes()) == wanted
    except (FileNotFoundError, ValueError):
        return False


def _run(where: paths.LabPaths, chapters: tuple[ChapterRecord, ...]) -> RunRecord:
    """The last run, if it was of all chapters; else the chapters' records as one."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        last = store.load_run(where.records)
    except (FileNotFoundError, RecordError):
        last = RunRecord("", where.name, now, 0.0)
    if last.chapters != chapters:
        seconds = sum(one.seconds for one in chapters)
        last = replace(last, chapters=chapters, seconds=seconds, breaks=False)
    return replace(last, lab=paths.DEFAULT_NAME)


def _scrub(where: paths.LabPaths) -> Mapping[str, str]:
    # What is shown must not speak of the machine that recorded it, nor of how its lab was called.
    home, name = where.root.parent, paths.DEFAULT_NAME
    told = {str(home): ".lab", str(home.parent): ".", str(Path.home()): "~"}
    if where.name != name:
        told |= {f" {where.name}-": f" {name}-", f">{where.name}-": f">{name}-"}
        told |= {f"={where.name} ": f"={name} ", f"\n{where.name}-": f"\n{name}-"}
    return told
