"""Takes pictures of the report with a browser, and stamps them with a hash of the chapters.

The stamp is a text chunk of the PNG, so the picture itself shows from which chapters it was made.
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
"""Width and height of the picture in pixels."""
KEYWORD = b"Sidecar Lab chapters"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TIMEOUT = 120.0
"""Time limit in seconds for the browser to start, render one page and end."""


def fingerprint(chapters: Sequence[Chapter]) -> str:
    """Return a hash of those parts of the chapters that a report shows: prose, steps, commands."""
    digest = hashlib.sha256()
    for chapter in chapters:
        _add(digest, str(chapter.number), chapter.title, chapter.namespace, chapter.prose or "")
        for step in chapter.steps:
            _add(digest, step.id, step.title, step.prose, *(line.shown for line in step.commands))
    return digest.hexdigest()


def stamped(png: bytes, stamp: str) -> bytes:
    """Return `png` with `stamp` in place of any older stamp. ValueError if `png` is not a PNG."""
    first, *rest = _chunks(png)
    kept = [chunk for chunk in rest if _stamp(chunk) is None]
    text = _chunk(b"tEXt", KEYWORD + b"\0" + stamp.encode("latin-1"))
    return SIGNATURE + b"".join([first, text, *kept])


def stamp_of(png: bytes) -> str | None:
    """The stamp in `png`; None if there is no stamp. Raises ValueError if `png` is not a PNG."""
    return next((stamp for chunk in _chunks(png) if (stamp := _stamp(chunk)) is not None), None)


def browser() -> str:
    """The path of a browser that runs without a screen. Raises ScenarioError if there is none."""
    for name in BROWSERS:
        if program := shutil.which(name):
            return program
    raise ScenarioError(
        "there is no browser that can take the pictures",
        hint="install Chromium (Debian: apt-get install chromium), or use --no-pictures",
    )


def take(html: str, picture: Path, stamp: str) -> None:
    """Take a picture of the page `html` with `browser()`; write it, with its stamp, to `picture`.

    Raises CommandError if the browser fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder, "page.html"), Path(folder, "shot.png")
        page.write_text(html, encoding="utf-8")
        command.run(
            [
                browser(),
                "--headless",
                # The page is our own and has no scripts; the sandbox does not work as root.
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


def _add(digest: "hashlib._Hash", *texts: str) -> None:
    for text in texts:
        data = text.encode()
        digest.update(str(len(data)).encode() + b":" + data)


def _chunks(png: bytes) -> Iterator[bytes]:
    if not png.startswith(SIGNATURE):
        raise ValueError("these bytes are not a PNG")
    at = len(SIGNATURE)
    while at < len(png):
        if at + 12 > len(png):
            raise ValueError("the end of the PNG is missing")
        (length,) = struct.unpack_from(">I", png, at)
        end = at + 12 + length
        if end > len(png):
            raise ValueError("the end of the PNG is missing")
        yield png[at:end]
        at = end


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _stamp(chunk: bytes) -> str | None:
    kind, data = chunk[4:8], chunk[8:-4]
    keyword, _, text = data.partition(b"\0")
    return text.decode("latin-1") if kind == b"tEXt" and keyword == KEYWORD else None
