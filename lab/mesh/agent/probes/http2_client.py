"""Makes one request over HTTP/2, as kubelet does: for gRPC, and for HTTPS where ALPN selects h2.

It has almost no flow control: a probe sends very little and reads less than one window.
"""

import asyncio
import re
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from lab.mesh.agent.probes import hpack
from lab.mesh.agent.probes.byte_stream import Stream, StreamError

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME: Final = 16384
MAX_BLOCK: Final = 256 * 1024
"""Largest encoded header block in bytes. Decoding it blocks all other tasks, hence the limit."""
WINDOW: Final = 65535
REFUSED_STREAM: Final = 7
_OURS: Final = 1
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_FRAME: Final = struct.Struct(">BHBBI")


class RefusedError(StreamError):
    """The server did not process the request; it may succeed on another connection."""


class Event(NamedTuple):
    """A part of the answer: header fields, or data if `fields` is None. `ended`: it is the last."""

    fields: tuple[hpack.Field, ...] | None
    data: bytes
    ended: bool


class Http2:
    """An HTTP/2 connection that makes one request."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._decoder = hpack.Decoder()
        self._received = self._frames = 0
        self._saw_settings = False

    async def open(self) -> None:
        """Send the connection preface and this client's settings."""
        # Setting 2 is ENABLE_PUSH: 0 forbids server push.
        settings = frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 0))
        await self._stream.write(PREFACE + settings)

    async def greeted(self) -> None:
        """Wait for the server's settings, which must be its first frame."""
        while not self._saw_settings:
            await self._control(*await self._frame())

    async def request(self, fields: Iterable[hpack.Field], body: bytes | None = None) -> None:
        """Send the request: its headers and, unless `body` is None, the body."""
        block = hpack.encode(fields)
        ending = END_STREAM if body is None else 0
        parts = [block[at : at + MAX_FRAME] for at in range(0, len(block), MAX_FRAME)]
        sent = b""
        for number, part in enumerate(parts):
            last = END_HEADERS if number == len(parts) - 1 else 0
            kind, flags = (CONTINUATION, last) if number else (HEADERS, last | ending)
            sent += frame(kind, flags, _OURS, part)
        if body is not None:
            sent += frame(DATA, END_STREAM, _OURS, body)
        await self._stream.write(sent)

    async def event(self) -> Event:
        """Return the next part of the answer. Raises StreamError, RefusedError."""
        while True:
            kind, flags, number, payload = await self._frame()
            if kind == HEADERS:
                payload = _unpadded(payload, flags)[5 if flags & PRIORITY else 0 :]
                block = await self._block(payload, flags, number)
                try:
                    fields = self._decoder.decode(block)
                except hpack.HpackError as bad:
                    raise StreamError(f"http2: {bad}") from bad
                if number == _OURS:
                    return Event(tuple(_checked(fields)), b"", bool(flags & END_STREAM))
            elif kind == DATA:
                self._received += len(payload)
                if self._received > WINDOW:
                    raise StreamError("http2: more data than the window allows")
                if number != _OURS:
                    raise StreamError("http2: data for a request that was not made")
                return Event(None, _unpadded(payload, flags), bool(flags & END_STREAM))
            elif kind == RST_STREAM and number == _OURS:
                code = int.from_bytes(payload[:4], "big")
                problem = f"http2: the server reset the stream, code {code}"
                raise RefusedError(problem) if code == REFUSED_STREAM else StreamError(problem)
            elif kind in (PUSH_PROMISE, CONTINUATION):
                raise StreamError(f"http2: an unexpected frame of kind {kind}")
            else:
                await self._control(kind, flags, number, payload)

    async def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            if number or len(payload) % 6:
                raise StreamError("http2: malformed settings")
            await self._stream.write(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            if len(payload) != 8:
                raise StreamError("http2: malformed ping")
            await self._stream.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8].ljust(8, b"\0"))
            if last < _OURS:
                problem = f"http2: the server ends the connection (GOAWAY), code {code}"
                raise StreamError(problem) if code else RefusedError(problem)

    async def _block(self, payload: bytes, flags: int, number: int) -> bytes:
        block = bytearray(payload)
        while not flags & END_HEADERS:
            kind, flags, same, more = await self._frame()
            if kind != CONTINUATION or same != number:
                raise StreamError("http2: the rest of the headers (CONTINUATION) is missing")
            block += more
            if len(block) > MAX_BLOCK:
                raise StreamError(f"http2: the headers have more than {MAX_BLOCK} bytes")
        return bytes(block)

    async def _frame(self) -> tuple[int, int, int, bytes]:
        """Return the next frame: kind, flags, stream number, payload."""
        self._frames += 1
        if self._frames % 64 == 0:
            # Reading data that is in the buffer already does not let other tasks run.
            await asyncio.sleep(0)
        high, low, kind, flags, number = _FRAME.unpack(await self._stream.exactly(9))
        size = high << 16 | low
        if not self._saw_settings and kind != SETTINGS:
            raise StreamError("http2: the first frame is not the settings")
        if size > MAX_FRAME:
            raise StreamError(f"http2: a frame has {size} bytes, more than {MAX_FRAME}")
        self._saw_settings = True
        return kind, flags, number & 0x7FFFFFFF, await self._stream.exactly(size)


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """Return one frame of stream `number`, as bytes."""
    size = len(payload)
    return _FRAME.pack(size >> 16, size & 0xFFFF, kind, flags, number) + payload


def _unpadded(payload: bytes, flags: int) -> bytes:
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise StreamError("http2: more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def _checked(fields: Iterable[hpack.Field]) -> Iterable[hpack.Field]:
    pseudo_names: set[str] = set()
    regular = False
    for name, value in fields:
        if not _VALUE.fullmatch(value):
            raise StreamError(f"http2: an invalid value of {name!r}")
        if name.startswith(":"):
            if regular or name in pseudo_names or name != ":status":
                raise StreamError(f"http2: an unexpected field {name!r}")
            pseudo_names.add(name)
        else:
            regular = True
            if not _NAME.fullmatch(name):
                raise StreamError(f"http2: an invalid field name {name!r}")
        yield name, value
