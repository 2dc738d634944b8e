"""Writes and checks the files generated from the chapters: docs/walkthrough.md and its pictures."""

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
AGAIN = "`nox -s docs` writes it again"


def write(
    page: Path, chapters: Sequence[Chapter], where: paths.LabPaths, *, with_pictures: bool
) -> list[Path]:
    """Write `page`, and the picture in its folder, from the lab's last records; return the files.

    Raises ScenarioError if a chapter has no record in which all its steps passed, and CommandError
    if the browser fails.
    """
    records = {record.number: record for record in store.load_chapters(where.records)}
    for chapter in chapters:
        known = records.get(chapter.number)
        if known is None or not known.passed or len(known.steps) != len(chapter.steps):
            raise ScenarioError(
                f"chapter {chapter.number} has no record in which all its steps passed",
                hint="run `lab docs` without --from-records",
            )
    scrub = _scrub(where)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(walkthrough.walkthrough(chapters, records, scrub), encoding="utf-8")
    if not with_pictures:
        return [page]
    text = html.page(_run(where, tuple(records[recorded.number] for recorded in chapters)))
    for original, replacement in scrub.items():
        text = text.replace(original, replacement)
    picture = page.with_name(PICTURE)
    pictures.take(text, picture, pictures.fingerprint(chapters))
    return [page, picture]


def check(page: Path, chapters: Sequence[Chapter]) -> tuple[list[Path], list[Chapter]]:
    """Check that `page` and the pictures in its folder were made from these chapters.

    Returns the checked files, and the chapters that the page does not have yet. Raises
    ScenarioError, which names the first line or picture that does not fit the chapters.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except FileNotFoundError as absent:
        raise ScenarioError(f"there is no {page}", hint="`nox -s docs` writes it") from absent
    missing = walkthrough.unrecorded(text, chapters)
    recorded = [chapter for chapter in chapters if chapter not in missing]
    wrong = walkthrough.stale(text, recorded)
    if wrong is not None:
        raise ScenarioError(
            f"{page}:{wrong.line} is not what the chapters say: the page has {wrong.found!r}, "
            f"the chapters {wrong.wanted!r}",
            hint=AGAIN,
        )
    wanted = pictures.fingerprint(recorded)
    picture_files = sorted({page.with_name(PICTURE), *page.parent.glob("*.png")})
    for picture in picture_files:
        if not _is_of(picture, wanted):
            raise ScenarioError(f"{picture} is not a picture of the current chapters", hint=AGAIN)
    return [page, *picture_files], missing


def _is_of(picture: Path, wanted: str) -> bool:
    try:
        return pictures.stamp_of(picture.read_bytes()) == wanted
    except (FileNotFoundError, ValueError):
        return False


def _run(where: paths.LabPaths, chapters: tuple[ChapterRecord, ...]) -> RunRecord:
    """Return the record of the last run, if it has exactly these chapters.

    Otherwise return a record that is put together from the records of these chapters.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        last = store.load_run(where.records)
    except (FileNotFoundError, RecordError):
        last = RunRecord("", where.name, now, 0.0)
    if last.chapters != chapters:
        seconds = sum(chapter.seconds for chapter in chapters)
        last = replace(last, chapters=chapters, seconds=seconds, breaks=False)
    return replace(last, lab=paths.DEFAULT_NAME)


def _scrub(where: paths.LabPaths) -> Mapping[str, str]:
    # The page must show neither paths of the recording machine nor the name of its lab.
    home, name = where.root.parent, paths.DEFAULT_NAME
    replacements = {str(home): ".lab", str(home.parent): ".", str(Path.home()): "~"}
    if where.name != name:
        replacements |= {f" {where.name}-": f" {name}-", f">{where.name}-": f">{name}-"}
        replacements |= {f"={where.name} ": f"={name} ", f"\n{where.name}-": f"\n{name}-"}
    return replacements
