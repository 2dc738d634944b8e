"""Writes a run's JUnit XML and HTML page into the folder of its records."""

from pathlib import Path

from lab.records.model import RunRecord
from lab.records.store import save_run
from lab.report.html import page
from lab.report.junit import junit


def write_reports(records: Path, run: RunRecord) -> tuple[Path, Path]:
    """Write `run.json`, `junit.xml` and `report.html` in `records`; return the last two files."""
    save_run(records, run)
    xml, html = records / "junit.xml", records / "report.html"
    xml.write_text(junit(run), encoding="utf-8")
    html.write_text(page(run), encoding="utf-8")
    return xml, html
