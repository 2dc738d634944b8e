import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import ScenarioError
from lab.paths import LabPaths
from lab.records import store
from lab.scenario import World
from lab.scenario.chapter import Chapter
from lab.scenario.pages import generated, pictures
from lab.scenario.pages.pictures import SIGNATURE, fingerprint, stamp_of, stamped
from lab.scenario.pages.walkthrough_page import walkthrough
from lab.scenario.run.runner import ChapterRunner


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PIXEL = (
    SIGNATURE
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + chunk(b"tEXt", b"Software\0a browser")
    + chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    + chunk(b"IEND", b"")
)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_a_stamp_is_read_back_and_replaces_an_older_one(stamp: str) -> None:
    assert stamp_of(PIXEL) is None
    once = stamped(stamped(PIXEL, "an older one"), stamp)
    assert stamp_of(once) == stamp
    assert once == stamped(PIXEL, stamp)
    assert b"Software\0a browser" in once


@pytest.mark.parametrize("png", [b"", b"GIF89a", SIGNATURE + b"\0\0", PIXEL[:-5]])
def test_what_is_no_picture_is_told(png: bytes) -> None:
    with pytest.raises(ValueError, match="PNG"):
        stamp_of(png)


def test_a_fingerprint_changes_with_whatever_a_report_shows_of_the_chapters(
    little: Chapter,
) -> None:
    before = fingerprint([little])
    assert fingerprint([little]) == before
    seen = {before}
    first = little.steps[0]
    for name, text in (("prose", "Other."), ("name", "other"), ("commands", ())):
        kept = getattr(first, name)
        setattr(first, name, text)
        seen.add(fingerprint([little]))
        setattr(first, name, kept)
    little.title = "Other"
    seen.add(fingerprint([little]))
    little.steps.pop()
    seen.add(fingerprint([little]))
    assert len(seen) == 6


def a_page(little: Chapter, make_world: Callable[[], World], folder: Path) -> Path:
    runner = ChapterRunner(little, make_world())
    runner.step(len(little.steps))
    file = folder / "walkthrough.md"
    file.write_text(walkthrough([little], {1: runner.finish()}), encoding="utf-8")
    return file


def test_lint_finds_a_picture_that_is_missing_of_other_chapters_or_none(
    little: Chapter, make_world: Callable[[], World], tmp_path: Path
) -> None:
    page = a_page(little, make_world, tmp_path)
    picture, other = tmp_path / "report.png", tmp_path / "other.png"
    with pytest.raises(
        ScenarioError, match=r"report\.png is not a picture of the current chapters"
    ):
        generated.check(page, [little])
    picture.write_bytes(stamped(PIXEL, fingerprint([little])))
    assert generated.check(page, [little]) == ([page, picture], [])
    for wrong in (PIXEL, stamped(PIXEL, "of other chapters"), b"no picture"):
        other.write_bytes(wrong)
        with pytest.raises(
            ScenarioError, match=r"other\.png is not a picture of the current chapters"
        ):
            generated.check(page, [little])


def test_a_new_chapter_is_told_and_keeps_nothing_red_until_it_is_recorded(
    little: Chapter, make_world: Callable[[], World], tmp_path: Path
) -> None:
    page = a_page(little, make_world, tmp_path)
    picture = tmp_path / "report.png"
    picture.write_bytes(stamped(PIXEL, fingerprint([little])))
    new = Chapter(9, "New", namespace="nine", prose="Why.")
    assert generated.check(page, [little, new]) == ([page, picture], [new])
    page.write_text(f"{page.read_text()}\n## 9. Old\n")
    with pytest.raises(ScenarioError, match="is not what the chapters say"):
        generated.check(page, [little, new])


def test_the_picture_is_of_the_records_and_names_no_machine(
    little: Chapter,
    make_world: Callable[[], World],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = LabPaths("mine", tmp_path / ".lab" / "mine")
    runner = ChapterRunner(little, make_world())
    runner.step(len(little.steps))
    store.save_chapter(where.records, runner.finish())
    taken: dict[Path, tuple[str, str]] = {}

    def take(html: str, picture: Path, stamp: str) -> None:
        taken[picture] = html, stamp

    monkeypatch.setattr(pictures, "take", take)
    page = tmp_path / "docs" / "walkthrough.md"
    picture = page.with_name("report.png")
    assert generated.write(page, [little], where, with_pictures=True) == [page, picture]
    html, stamp = taken[picture]
    assert stamp == fingerprint([little])
    assert "2 passed" in html
    assert "mine" not in html
    assert generated.write(page, [little], where, with_pictures=False) == [page]


def test_without_a_browser_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "BROWSERS", ("no-such-browser",))
    with pytest.raises(ScenarioError) as told:
        pictures.browser()
    assert "chromium" in told.value.hint
