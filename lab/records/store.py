"""Record files: `records/chapters/NN.json` for each chapter, `records/run.json` for a run."""

from collections.abc import Iterable
from pathlib import Path

from lab.records.model import ChapterRecord, RecordError, RunRecord, from_json, to_json


def save_chapter(records: Path, chapter: ChapterRecord) -> Path:
    """Write one chapter's record and return the file; it replaces the record of an earlier run."""
    return _write(records / "chapters" / f"{chapter.number:02}.json", to_json(chapter))


def save_run(records: Path, run: RunRecord) -> Path:
    """Write the record of a whole run and return the file."""
    return _write(records / "run.json", to_json(run))


def load_run(records: Path) -> RunRecord:
    """Read the record of the last run.

    Raises FileNotFoundError if there is none, and RecordError if it cannot be parsed.
    """
    return from_json(RunRecord, (records / "run.json").read_text(encoding="utf-8"))


def load_chapters(records: Path, run: str | None = None) -> tuple[ChapterRecord, ...]:
    """Read the records of the chapters and return them, sorted by number.

    If `run` is not None, only the records of the run with this id are returned. A file that cannot
    be parsed as a ChapterRecord is left out.
    """
    chapters = []
    for file in sorted((records / "chapters").glob("*.json")):
        try:
            chapters.append(from_json(ChapterRecord, file.read_text(encoding="utf-8")))
        except RecordError:
            continue
    return tuple(sorted(_of(chapters, run), key=lambda chapter: chapter.number))


def _of(chapters: Iterable[ChapterRecord], run: str | None) -> list[ChapterRecord]:
    return [chapter for chapter in chapters if run is None or chapter.run == run]


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".new")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
    return file
