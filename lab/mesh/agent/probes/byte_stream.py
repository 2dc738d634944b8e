"""Implements a TCP connection to an application, with or without TLS, and with limits on reads.

TLS runs over memory buffers here, not over asyncio's transport. So this module sees the first bytes
of the answer to a handshake and, like kubelet, recognises an answer in plain HTTP.
"""

import asyncio
import contextlib
import os
import ssl
from collections.abc import Sequence
from typing import Final

from lab.mesh.errors import SidecarLabError

CHUNK: Final = 16 * 1024
HANDSHAKE_TIMEOUT: Final = 10.0
"""Seconds that kubelet's probes allow for a TLS handshake, whatever the probe's own timeout."""
_HTTP: Final = b"HTTP/"
_CIPHERS: Final = ":".join(
    f"ECDHE-{kind}-{cipher}"
    for cipher in (
        *("AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"),
        *("AES128-SHA", "AES256-SHA"),
    )
    for kind in ("ECDSA", "RSA")
)
"""The ciphers of Go's client for TLS 1.2; TLS 1.3 has its own. They are used at OpenSSL's security
level 1, because Go accepts 1024-bit keys."""


class StreamError(SidecarLabError):
    """The connection cannot be made, it broke, or the peer violated the protocol."""


class PlainAnswerError(StreamError):
    """The server answered a TLS handshake with plain HTTP."""


class Stream:
    """One connection. Every read raises StreamError when the connection broke."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._buffer = bytearray()
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()

    async def start_tls(self, protocols: Sequence[str] = ()) -> str:
        """Start TLS without verifying the certificate; return the protocol that ALPN selected.

        If ALPN selected none, return "".

        Raises PlainAnswerError, StreamError.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(f"{_CIPHERS}:@SECLEVEL=1")
        if protocols:
            context.set_alpn_protocols(list(protocols))
        # No server name: an address has none.
        tls = context.wrap_bio(self._in, self._out)
        first = bytearray()
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._raw()
                if not data:
                    raise StreamError("the server left during the TLS handshake") from None
                if len(first) < len(_HTTP):
                    first += data[: len(_HTTP)]
                self._in.write(data)
                continue
            except ssl.SSLError as bad:
                # The TLS alert that tells the server about the error is still in the buffer.
                with contextlib.suppress(StreamError):
                    await self._flush()
                if first.startswith(_HTTP):
                    raise PlainAnswerError("server gave HTTP response to HTTPS client") from bad
                raise StreamError(f"TLS: {bad.reason or bad}") from bad
            await self._flush()
            self._tls = tls
            return tls.selected_alpn_protocol() or ""

    async def write(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            if self._tls is None:
                self._writer.write(data)
                await self._writer.drain()
            else:
                self._tls.write(data)
                await self._flush()
        except (OSError, ssl.SSLError) as broken:
            raise StreamError(f"write: {_reason(broken)}") from broken

    async def read(self, most: int = CHUNK) -> bytes:
        """Return between one and `most` bytes; b"" at the end of the stream."""
        if not self._buffer:
            self._buffer += await self._more()
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    async def exactly(self, size: int) -> bytes:
        """Return `size` bytes. Raises StreamError when the connection ends too early."""
        while len(self._buffer) < size:
            if not (data := await self._more()):
                raise StreamError("unexpected EOF")
            self._buffer += data
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def line(self, most: int) -> bytes:
        """Return the bytes up to and including the next line feed.

        If the stream ends before a line feed, return the remaining bytes, b"" if there are none.
        Raises StreamError when the line is longer than `most` bytes.
        """
        searched = 0
        while not (size := self._buffer.find(b"\n", searched) + 1):
            searched = len(self._buffer)
            if searched > most:
                break
            if not (data := await self._more()):
                size = searched
                break
            self._buffer += data
        if max(size, searched) > most:
            raise StreamError(f"a line is longer than {most} bytes")
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def peek(self) -> bytes:
        """Return the next byte without consuming it; b"" at the end of the stream."""
        if not self._buffer:
            self._buffer += await self._more()
        return bytes(self._buffer[:1])

    def close(self) -> None:
        """Close without waiting for the peer; data that was written before is still sent."""
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError, OSError):
                self._tls.unwrap()
            self._writer.write(self._out.read())
        self._writer.close()

    async def _more(self) -> bytes:
        if self._tls is None:
            return await self._raw()
        while True:
            try:
                return self._tls.read(CHUNK)
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as bad:
                raise StreamError(f"TLS: {bad.reason or bad}") from bad
            if not (data := await self._raw()):
                if self._in.pending:
                    raise StreamError("unexpected EOF within a TLS record")
                return b""
            self._in.write(data)

    async def _raw(self) -> bytes:
        try:
            return await self._reader.read(CHUNK)
        except OSError as broken:
            raise StreamError(f"read: {_reason(broken)}") from broken

    async def _flush(self) -> None:
        if data := self._out.read():
            try:
                self._writer.write(data)
                await self._writer.drain()
            except OSError as broken:
                raise StreamError(f"write: {_reason(broken)}") from broken


async def dial(host: str, port: int, source: str = "") -> Stream:
    """Connect to `host`:`port` from the address `source` ("": any address). Raises StreamError."""
    local = (source, 0) if source else None
    try:
        reader, writer = await asyncio.open_connection(host, port, local_addr=local, limit=CHUNK)
    except OSError as refused:
        raise StreamError(f"dial tcp {host}:{port}: {_reason(refused)}") from refused
    return Stream(reader, writer)


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)
