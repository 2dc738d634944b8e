"""Pictures in the docs: the report as a browser shows it, stamped with the chapters it was made of.

The stamp is a text chunk of the PNG, so that a picture carries by itself what it is a picture of.
"""

import hashlib
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import command
from lab.errors import ScenarioError
from lab.scenario.chapter import Chapter

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = (1000, 900)
"""Width and height in pixels: what a reader sees without scrolling."""
KEYWORD = b"Sidecar Lab chapters"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIMEOUT = 120.0
"""Seconds for the browser to start, read one page and end."""


def fingerprint(chapters: Sequence[Chapter]) -> str:
    """What a report of these chapters shows of them, as a hash: prose, steps, command lines."""
    told = hashlib.sha256()
    for chapter in chapters:
        _tell(told, str(chapter.number), chapter.title, chapter.namespace, chapter.prose or "")
        for step in chapter.steps:
            _tell(told, step.id, step.title, step.prose, *(one.shown for one in step.commands))
    return told.hexdigest()


def stamped(png: bytes, stamp: str) -> bytes:
    """The picture with `stamp` in it, in place of an older one. Raises ValueError if it is none."""
    first, *rest = _chunks(png)
    kept = [chunk for chunk in rest if _stamp(chunk) is None]
    text = _chunk(b"tEXt", KEYWORD + b"\0" + stamp.encode("latin-1"))
    return SIGNATURE + b"".join([first, text, *kept])


def stamp_of(png: bytes) -> str | None:
    """The stamp of a picture; None when it has none. Raises ValueError if it is no PNG."""
    return next((stamp for chunk in _chunks(png) if (stamp := _stamp(chunk)) is not None), None)


def browser() -> str:
    """A browser that needs no screen. Raises ScenarioError when there is none."""
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise ScenarioError(
        "there is no browser to make the pictures with",
        hint="Debian: apt-get install chromium; or --no-pictures",
    )


def take(html: str, picture: Path, stamp: str) -> None:
    """Write `picture`: the page as `browser()` shows it, stamped. Raises CommandError."""
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        page.write_text(html, encoding="utf-8")
        command.run(
            [
                browser(),
                "--headless",
                # A page of our own, without scripts; root has no sandbox to offer.
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--no-first-run",
                "--hide-scrollbars",
                "--force-device-scale-factor=1",
                f"--user-data-dir={folder}/profile",
                f"--window-size={SIZE[0]},{SIZE[1]}",
                f"--screenshot={shot}",
                page.as_uri(),
            ],
            timeout=TIMEOUT,
        )
        picture.write_bytes(stamped(shot.read_bytes(), stamp))


def _tell(told: "hashlib._Hash", *texts: str) -> None:
    for text in texts:
        data = text.encode()
        told.update(str(len(data)).encode() + b":" + data)


def _chunks(png: bytes) -> Iterator[bytes]:
    if not png.startswith(SIGNATURE):
        raise ValueError("no PNG")
    at = len(SIGNATURE)
    while at < len(png):
        if at + 12 > len(png):
            raise ValueError("a PNG that is cut off")
        (length,) = struct.unpack_from(">I", png, at)
        end = at + 12 + length
        if end > len(png):
            raise ValueError("a PNG that is cut off")
        yield png[at:end]
        at = end


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _stamp(chunk: bytes) -> str | None:
    kind, data = chunk[4:8], chunk[8:-4]
    keyword, _, text = data.partition(b"\0")
    return text.decode("latin-1") if kind == b"tEXt" and keyword == KEYWORD else None
