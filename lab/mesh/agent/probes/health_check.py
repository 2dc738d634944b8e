"""Calls grpc.health.v1.Health/Check over plain HTTP/2, as kubelet does."""

import asyncio
import base64
import re
import struct
from collections.abc import Iterable
from typing import Final

from lab.mesh.agent.probes.byte_stream import Stream, StreamError, dial
from lab.mesh.agent.probes.hpack import Field
from lab.mesh.agent.probes.http2_client import Http2, RefusedError

STATUSES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
SERVING: Final = 1
_UNIMPLEMENTED: Final = 12
_METHOD: Final = "/grpc.health.v1.Health/Check"
_BACKOFF, _GROWTH = 1.0, 1.6
"""Seconds before a failed connection is tried again, and the factor by which each wait grows.

Both are the values of gRPC's own clients."""
_FIXED: Final = {1: 8, 5: 4}
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,10}")


async def check(host: str, port: int, service: str, user_agent: str, source: str = "") -> int:
    """Return the health status of `service`, which is "" for the application as a whole.

    The status is a number, usually an index of STATUSES. A failed connection is tried again until
    the caller's timeout. Raises StreamError when the application answers without a health status.
    """
    for attempt in (1, 2):
        stream, connection = await _connected(host, port, source)
        try:
            return await _ask(connection, f"{_bracketed(host)}:{port}", service, user_agent)
        except RefusedError:
            if attempt == 2:
                raise
        finally:
            stream.close()
    raise AssertionError("unreachable")


async def _connected(host: str, port: int, source: str) -> tuple[Stream, Http2]:
    pause = _BACKOFF
    while True:
        try:
            stream = await dial(host, port, source)
            try:
                connection = Http2(stream)
                await connection.open()
                await connection.greeted()
            except BaseException:
                stream.close()
                raise
            return stream, connection
        except StreamError:
            await asyncio.sleep(pause)
            pause *= _GROWTH


async def _ask(connection: Http2, authority: str, service: str, user_agent: str) -> int:
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    await connection.request(
        (
            (":method", "POST"),
            (":scheme", "http"),
            (":path", _METHOD),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("user-agent", user_agent),
            ("te", "trailers"),
        ),
        b"\x00" + struct.pack(">I", len(message)) + message,
    )
    data, speaks_grpc, status = bytearray(), False, ""
    while True:
        event = await connection.event()
        if event.fields is None:
            data += event.data
            if event.ended:
                raise StreamError("server closed the stream without sending trailers")
            continue
        if speaks_grpc and not event.ended:
            raise StreamError("a HEADERS frame cannot appear in the middle of a stream")
        headers = dict(event.fields)
        code = headers.get(":status", "")
        if not speaks_grpc and not _is_grpc(headers.get("content-type", "")):
            if re.fullmatch(r"1[0-9][0-9]", code) and not event.ended:
                continue
            if code == "404":
                raise StreamError("the application does not implement grpc.health.v1.Health: 404")
            raise StreamError(f"the answer is not gRPC; its HTTP status is {code or 'missing'}")
        _check_binary(event.fields)
        speaks_grpc = True
        if event.ended:
            status = headers.get("grpc-status", "2")
            break
    if not _NUMBER.fullmatch(status) or int(status) != 0:
        if status == str(_UNIMPLEMENTED):
            raise StreamError("the application does not implement grpc.health.v1.Health")
        reason = headers.get("grpc-message", "")[:100]
        raise StreamError(f"health rpc failed with gRPC status {status[:20]} {reason}".rstrip())
    return _status(bytes(data))


def _is_grpc(content_type: str) -> bool:
    return bool(re.fullmatch(r"application/grpc([+;].*)?", content_type, re.DOTALL))


def _check_binary(fields: Iterable[Field]) -> None:
    """Raise StreamError if a header *-bin is not base64. gRPC's own headers are not checked."""
    for name, value in fields:
        if name.endswith("-bin") and not name.startswith("grpc-"):
            padded = value if len(value) % 4 == 0 else value + "=" * (-len(value) % 4)
            try:
                base64.b64decode(padded.encode("latin-1"), validate=True)
            except ValueError as bad:
                raise StreamError(f"malformed {name}") from bad


def _status(data: bytes) -> int:
    """Decode the answer's body, one gRPC message; return the health status in it.

    Raises StreamError.
    """
    if len(data) < 5 or data[0] or int.from_bytes(data[1:5], "big") != len(data) - 5:
        raise StreamError("the answer is not one uncompressed gRPC message")
    at, status, message = 0, 0, data[5:]
    groups: list[int] = []
    while at < len(message):
        key, at = _read_varint(message, at)
        kind, number = key & 7, key >> 3
        if kind == 0:
            value, at = _read_varint(message, at)
            if number == 1 and not groups:
                status = value & 0xFFFFFFFF
        elif kind == 2:
            size, at = _read_varint(message, at)
            at += size
        elif kind in _FIXED:
            at += _FIXED[kind]
        elif kind == 3:
            groups.append(number)
        elif kind != 4 or not groups or groups.pop() != number:
            raise StreamError("the answer's message is malformed")
        if at > len(message) or not number:
            raise StreamError("the answer's message is malformed")
    if groups:
        raise StreamError("the answer's message is malformed")
    return status


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        number |= (message[at] & 127) << shift
        at += 1
        if not message[at - 1] & 128:
            return number & 0xFFFFFFFFFFFFFFFF, at
    raise StreamError("the answer's message is malformed")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
