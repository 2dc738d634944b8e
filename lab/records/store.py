"""Records on disk: `records/chapters/N.json` as chapters end, `records/run.json` when all have."""

from collections.abc import Iterable
from pathlib import Path

from lab.records.model import ChapterRecord, RecordError, RunRecord, from_json, to_json


def save_chapter(records: Path, chapter: ChapterRecord) -> Path:
    """Write one chapter; a chapter of an earlier run is replaced."""
    return _write(records / "chapters" / f"{chapter.number:02}.json", to_json(chapter))


def save_run(records: Path, run: RunRecord) -> Path:
    """Write a whole run."""
    return _write(records / "run.json", to_json(run))


def load_run(records: Path) -> RunRecord:
    """The last run. Raises FileNotFoundError, or RecordError when it cannot be read."""
    return from_json(RunRecord, (records / "run.json").read_text(encoding="utf-8"))


def load_chapters(records: Path, run: str | None = None) -> tuple[ChapterRecord, ...]:
    """The newest record of each chapter (only of `run` if given), by number.

    A file that is no record any more (an older format) is left out.
    """
    found = []
    for file in sorted((records / "chapters").glob("*.json")):
        try:
            found.append(from_json(ChapterRecord, file.read_text(encoding="utf-8")))
        except RecordError:
            continue
    return tuple(sorted(_of(found, run), key=lambda one: one.number))


def _of(chapters: Iterable[ChapterRecord], run: str | None) -> list[ChapterRecord]:
    return [one for one in chapters if run is None or one.run == run]


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".new")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
    return file
