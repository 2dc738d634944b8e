"""Runs an httpGet as kubelet does, with the requests, redirects and errors of Go's client.

It follows redirects that stay on the first request's host, with at most ten requests in all.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from lab.mesh.agent.probes import http1_client
from lab.mesh.agent.probes.byte_stream import (
    HANDSHAKE_TIMEOUT,
    PlainAnswerError,
    Stream,
    StreamError,
    dial,
)
from lab.mesh.agent.probes.http1_client import Head
from lab.mesh.agent.probes.http2_client import Http2, RefusedError
from lab.mesh.agent.probes.probe_request import ProbeRequest, http1_bytes, http2_fields, redirected

MAX_REQUESTS: Final = 10
MAX_BODY: Final = 10 * 1024
"""How many bytes of a body kubelet reads at most; it ignores the rest."""
_SKIPPED: Final = 2 * 1024
"""Bytes of a redirect's body that Go's client reads before it follows the redirect."""
_FOLLOWED: Final = (301, 302, 303, 307, 308)
_RETRY: Final = 0.1
"""Seconds to wait before repeating a request that an HTTP/2 server did not process."""

Began = Callable[[int], Awaitable[None]]


class Way(NamedTuple):
    """How a connection is made.

    `source`: the address from which to connect; "" stands for any. `hook`: whether it is for a
    hook. For hooks kubelet uses another client, which speaks HTTP/1.1 only, does not ask the server
    to close the connection, and accepts compressed answers.
    """

    source: str = ""
    hook: bool = False


class ProbeResponse(Protocol):
    """A response whose head has arrived, and whose body can be read."""

    @property
    def head(self) -> Head:
        """Status and headers."""

    async def body(self, most: int) -> bytes:
        """Return the body's first `most` bytes. Raises StreamError if the body ends too early."""


class _Http1Response:
    def __init__(self, stream: Stream, head: Head) -> None:
        self._stream, self.head = stream, head

    async def body(self, most: int) -> bytes:
        return await http1_client.read_body(self._stream, self.head, most)


class _Http2Response:
    def __init__(self, connection: Http2, head: Head, ended: bool) -> None:
        self._connection, self.head, self._ended = connection, head, ended

    async def body(self, most: int) -> bytes:
        body, declared = bytearray(), self.head.length
        while not self._ended and len(body) < most:
            event = await self._connection.event()
            self._ended = event.ended
            if event.fields is not None and (
                not event.ended or any(name.startswith(":") for name, _ in event.fields)
            ):
                raise StreamError("http2: malformed trailer")
            body += event.data
            if 0 <= declared < len(body):
                raise StreamError("server replied with more than declared Content-Length")
        if self._ended and len(body) < min(declared, most):
            raise StreamError("unexpected EOF")
        return bytes(body[:most])


async def get(first: ProbeRequest, way: Way, began: Began | None = None) -> Head:
    """Send a request, follow redirects, read the final answer's body and return its head.

    `began` is called with the final answer's status before the body is read. Raises StreamError
    when no answer came, and BodyError when the answer's body is incomplete.
    """
    request, keeps_body = first, True
    for count in range(1, MAX_REQUESTS + 1):
        async with _asked(request, way) as answer:
            head = answer.head
            location = head.first("Location")
            if head.status not in _FOLLOWED or not location:
                return await _finish(answer, way, began)
            keeps_body = keeps_body and head.status in (307, 308)
            try:
                after = redirected(first, request, location, keeps_body=keeps_body)
            except ValueError as bad:
                raise StreamError(f"failed to parse Location header {location!r}: {bad}") from bad
            if after.url.hostname != first.url.hostname:
                return await _finish(answer, way, began)
            if head.length <= _SKIPPED:
                with contextlib.suppress(StreamError):
                    await answer.body(_SKIPPED)
            if count == MAX_REQUESTS:
                break
            request = after
    raise StreamError(f"stopped after {MAX_REQUESTS} redirects")


class BodyError(StreamError):
    """The answer's body is incomplete. When this happens to kubelet, it probes again at once."""


async def _finish(answer: ProbeResponse, way: Way, began: Began | None) -> Head:
    if began is not None:
        await began(answer.head.status)
    if way.hook:
        # A hook's body does not matter, even when it breaks off; a long one is not read.
        if answer.head.length <= MAX_BODY:
            with contextlib.suppress(StreamError):
                await answer.body(MAX_BODY)
        return answer.head
    try:
        await answer.body(MAX_BODY)
    except StreamError as broken:
        raise BodyError(broken.message) from broken
    return answer.head


@contextlib.asynccontextmanager
async def _asked(request: ProbeRequest, way: Way) -> AsyncIterator[ProbeResponse]:
    """Send a request and yield its response; then close the connection."""
    while True:
        async with _connected(request, way) as (stream, protocol):
            if protocol != "h2":
                extra = (("Accept-Encoding", "gzip"),) if _wants_gzip(request, way) else ()
                await stream.write(http1_bytes(request, extra, closes=not way.hook))
                yield _Http1Response(stream, await http1_client.read_head(stream))
                return
            try:
                answer = await _ask2(stream, request)
            except RefusedError:
                await asyncio.sleep(_RETRY)
                continue
            yield answer
            return


@contextlib.asynccontextmanager
async def _connected(request: ProbeRequest, way: Way) -> AsyncIterator[tuple[Stream, str]]:
    url = request.url
    if url.scheme not in ("http", "https"):
        raise StreamError(f"unsupported protocol scheme {url.scheme!r}")
    if not url.host:
        raise StreamError("no Host in request URL")
    try:
        port = url.port
    except ValueError as bad:
        raise StreamError(str(bad)) from bad
    stream = await dial(url.hostname, port, way.source)
    try:
        protocol = ""
        if url.scheme == "https" and way.hook:
            await stream.start_tls()
        elif url.scheme == "https":
            protocol = await _handshake(stream)
        yield stream, protocol
    finally:
        stream.close()


async def _handshake(stream: Stream) -> str:
    limit = asyncio.timeout(HANDSHAKE_TIMEOUT)
    try:
        async with limit:
            return await stream.start_tls(("h2", "http/1.1"))
    except TimeoutError:
        if limit.expired():
            raise StreamError("TLS handshake timeout") from None
        raise


async def _ask2(stream: Stream, request: ProbeRequest) -> ProbeResponse:
    connection = Http2(stream)
    fields = http2_fields(request)
    await connection.open()
    await connection.request(fields)
    while True:
        event = await connection.event()
        if event.fields is None:
            raise StreamError("http2: data before headers")
        values: dict[str, list[str]] = {}
        for name, value in event.fields:
            values.setdefault(name, []).append(value)
        code = values.get(":status", [""])[0]
        if not code.lstrip("+-").isdigit():
            raise StreamError(f"http2: malformed status {code!r}")
        status = int(code)
        if not 100 <= status < 200:
            break
        if event.ended:
            raise StreamError("http2: an interim answer (1xx) ends the stream")
    lengths = values.get("content-length", [])
    text = lengths[0] if len(lengths) == 1 else ""
    length = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1
    if length < 0 and event.ended:
        length = 0
    headers = {"Location": values["location"]} if "location" in values else {}
    return _Http2Response(connection, Head(status, headers, length), event.ended)


def _wants_gzip(request: ProbeRequest, way: Way) -> bool:
    headers = request.headers
    return way.hook and not any(headers.get(n, [""])[0] for n in ("Accept-Encoding", "Range"))


async def hook(request: ProbeRequest, way: Way) -> Head:
    """Run a hook's request; repeat it in plain HTTP if the server does not speak TLS.

    Returns the head of the final answer. Raises StreamError when no answer came.
    """
    try:
        return await get(request, way)
    except PlainAnswerError:
        plain = replace(request.url, scheme="http")
        headers = {k: v for k, v in request.headers.items() if k != "Authorization"}
        return await get(ProbeRequest(plain, headers, request.host), way)
