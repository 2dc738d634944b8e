"""Reads HTTP/1 answers; accepts and refuses the same ones as Go's client, which kubelet uses.

For example, it accepts lines that end with a line feed alone, a body without a length, and versions
such as HTTP/3.7. It refuses an incomplete line, a first header that begins with a blank, and two
different values of Content-Length.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lab.mesh.agent.probes.byte_stream import CHUNK, Stream, StreamError

MAX_HEAD: Final = 10 << 20
"""Largest size in bytes of one answer's headers and of its interim answers (1xx) together. Go has
this limit."""
_MAX_CHUNK_LINE: Final = 4096
_MAX_OVERHEAD: Final = 16 * 1024
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z -]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_VERSION: Final = re.compile(r"HTTP/([0-9])\.([0-9])")
_CODE: Final = re.compile(r"[0-9]{3}|\+[0-9]{2}|-00")
_WANTED: Final = ("Location", "Content-Length", "Transfer-Encoding", "Trailer")
_NO_BODY: Final = (204, 304)


@dataclass(frozen=True)
class Head:
    """The head of an HTTP/1 answer: its status, and those headers that this client uses.

    `headers`: canonical name → values in order. `length`: the body's length in bytes; -1 if the
    headers do not tell it. `chunked`: the body is sent in chunks.
    """

    status: int
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    length: int = -1
    chunked: bool = False

    def first(self, name: str) -> str:
        """Return the first value of a header, "" where there is none."""
        return self.headers.get(name, [""])[0]


def canonical(name: str) -> str:
    """Return a header's name as Go writes it: X-My-Header. A name with a space is not changed."""
    return name if " " in name else "-".join(part.capitalize() for part in name.split("-"))


async def read_head(stream: Stream) -> Head:
    """Skip interim answers (1xx); return the final answer's head. Raises StreamError."""
    budget = [MAX_HEAD]
    while True:
        head = await _one_head(stream, budget)
        if not 100 <= head.status < 200 or head.status == 101:
            return head


async def read_body(stream: Stream, head: Head, most: int) -> bytes:
    """Return the body, or its first `most` bytes. Raises StreamError if it ends too early."""
    if head.chunked:
        return await _chunked(stream, most)
    body = bytearray()
    wanted = most if head.length < 0 else min(most, head.length)
    while len(body) < wanted:
        if not (data := await stream.read(wanted - len(body))):
            if head.length >= 0:
                raise StreamError("unexpected EOF")
            break
        body += data
    return bytes(body)


async def _one_head(stream: Stream, budget: list[int]) -> Head:
    line = _text(await _line(stream, budget))
    version, _, rest = line.partition(" ")
    code = rest.lstrip(" ").partition(" ")[0]
    numbers = _VERSION.fullmatch(version)
    if not _CODE.fullmatch(code) or not numbers:
        raise StreamError(f"malformed HTTP response {line[:60]!r}")
    headers = await _headers(stream, budget)
    status, is_11 = int(code), (int(numbers[1]), int(numbers[2])) >= (1, 1)
    encodings = headers.pop("Transfer-Encoding", None)
    chunked = bool(encodings) and is_11
    if chunked and (len(encodings or ()) != 1 or (encodings or [""])[0].lower() != "chunked"):
        raise StreamError(f"unsupported transfer encoding {encodings!r}")
    length = _length(headers)
    if status // 100 == 1 or status in _NO_BODY:
        return Head(status, headers, 0)
    if chunked:
        if any(
            canonical(key.strip(" \t")) in ("Transfer-Encoding", "Trailer", "Content-Length")
            for value in headers.get("Trailer", ())
            for key in value.split(",")
        ):
            raise StreamError("bad trailer key")
        return Head(status, headers, -1, chunked=True)
    return Head(status, headers, length)


async def _line(stream: Stream, budget: list[int]) -> bytes:
    raw = await stream.line(budget[0])
    if not raw:
        raise StreamError("unexpected EOF")
    budget[0] -= len(raw)
    return raw.removesuffix(b"\n").removesuffix(b"\r") if raw.endswith(b"\n") else raw


async def _headers(stream: Stream, budget: list[int]) -> dict[str, list[str]]:
    """Return the headers that this client uses; check the syntax of all headers."""
    headers: dict[str, list[str]] = {}
    if await stream.peek() in (b" ", b"\t"):
        raise StreamError("malformed header: the first one begins with a blank")
    count = 0
    while first := await _line(stream, budget):
        if b":" not in first:
            raise StreamError(f"malformed header {_text(first[:60])!r}: no colon")
        line = bytearray(first.strip(b" \t"))
        while await stream.peek() in (b" ", b"\t"):
            line += b" " + (await _line(stream, budget)).strip(b" \t")
            count = await _breathe(count)
        name, _, value = line.partition(b":")
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise StreamError(f"malformed header {_text(line[:60])!r}")
        if (known := canonical(_text(name))) in _WANTED:
            headers.setdefault(known, []).append(_text(value.lstrip(b" \t")))
        count = await _breathe(count)
    return headers


async def _breathe(count: int) -> int:
    """Return `count` + 1, and let other tasks run at every 256th call.

    Reading data that is in the buffer already does not let other tasks run.
    """
    if count % 256 == 255:
        await asyncio.sleep(0)
    return count + 1


def _length(headers: Mapping[str, list[str]]) -> int:
    lengths = {value.strip(" \t\r\n") for value in headers.get("Content-Length", ())}
    if not lengths:
        return -1
    text = lengths.pop()
    if lengths or not (text.isascii() and text.isdigit()) or len(text) > 40 or int(text) >= 1 << 63:
        raise StreamError(f"bad Content-Length {text[:40]!r}")
    return int(text)


async def _chunked(stream: Stream, most: int) -> bytes:
    body, overhead, count = bytearray(), 0, 0
    while len(body) < most:
        count = await _breathe(count)
        line = await _chunk_line(stream)
        text = line.rstrip(b" \t").partition(b";")[0]
        if not re.fullmatch(rb"[0-9A-Fa-f]{1,16}", text):
            raise StreamError(f"bad chunk length {_text(text[:20])!r}")
        size = int(text, 16)
        overhead = max(0, overhead + len(line) + 2 - 16 - 2 * size)
        if overhead > _MAX_OVERHEAD:
            raise StreamError("chunked encoding contains too much non-data")
        if size == 0:
            await _trailer(stream)
            break
        wanted = min(size, most - len(body))
        left = wanted
        while left:
            if not (data := await stream.read(min(left, CHUNK))):
                raise StreamError("unexpected EOF")
            body += data
            left -= len(data)
        if wanted == size and len(body) < most and await stream.exactly(2) != b"\r\n":
            raise StreamError("malformed chunked encoding")
    return bytes(body)


async def _chunk_line(stream: Stream) -> bytes:
    line = await stream.line(_MAX_CHUNK_LINE)
    if not line.endswith(b"\n"):
        raise StreamError("unexpected EOF")
    if line.find(b"\r") != len(line) - 2:
        raise StreamError("a chunk's line does not end with CR LF")
    return line[:-2]


async def _trailer(stream: Stream) -> None:
    """Read and check the trailer, which follows the last chunk and ends with an empty line.

    Go requires that a trailer fits into one buffer, hence the limit. Raises StreamError.
    """
    budget, first = _MAX_CHUNK_LINE, True
    while (raw := await stream.line(budget)) != b"\r\n":
        budget -= len(raw)
        name, colon, value = raw.removesuffix(b"\n").removesuffix(b"\r").partition(b":")
        continued = raw[:1] in (b" ", b"\t") and not first
        fits = colon and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value)
        if not raw.endswith(b"\n") or not (continued or fits):
            raise StreamError("malformed trailer of a chunked body")
        first = False


def _text(raw: bytes | bytearray) -> str:
    return raw.decode("latin-1")
