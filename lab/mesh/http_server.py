"""A plain HTTP/1.1 server for health, metrics and probes, with one request per connection.

It uses the standard library alone, because it is part of the proxy image. It serves the agent's
port 15020 and discovery's health port. Every other pod can reach these ports. So a client has a
deadline to send its request and one to receive the answer, and the number of connections is
limited.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("lab.mesh.http_server")

MAX_HEAD = 16 * 1024
HEAD_TIMEOUT = 10.0
"""Seconds within which a client has to send its request line and headers."""
SEND_TIMEOUT = 30.0
"""Seconds within which a client has to receive an answer; then its connection is closed."""
MAX_CONNECTIONS = 128
TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
            405: "Method Not Allowed", 503: "Service Unavailable"}  # fmt: skip
_LOCAL = ("127.0.0.1", "::1")
"""Source addresses of local clients. Not 127.0.0.6: Envoy forwards outside requests from it."""


@dataclass(frozen=True)
class HttpRequest:
    """One request. Header names are in lower case. `local`: it came from this pod's loopback."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    local: bool = False
    chunks: bool = True
    """Whether the client accepts a chunked body, whose length is not known at the start."""


Begin = Callable[[int], Awaitable[None]]
"""A function that sends an answer's status before its body is known. Calling it is optional."""


@dataclass(frozen=True)
class HttpAnswer:
    """An answer to a request.

    `cut`: the body of the application's own answer was incomplete. So if `Begin` has already sent
    the status, the server closes the connection without sending the body.
    """

    status: int
    body: bytes
    content_type: str = TEXT
    cut: bool = False
    broken: str = ""
    """If it is not "", the client gets no valid answer, but an error with this reason."""

    @classmethod
    def say(cls, status: int, sentence: str) -> "HttpAnswer":
        """Return an answer with one line of text."""
        return cls(status, f"{sentence}\n".encode())

    @classmethod
    def broke(cls, sentence: str) -> "HttpAnswer":
        """Return an answer that is an error for the client, with `sentence` as its reason."""
        return cls(503, f"{sentence}\n".encode(), broken=sentence)


Answering = Coroutine[Any, Any, HttpAnswer]


class HttpServer:
    """Serves HTTP on the socket `listener`; `answer` makes the answer to each request.

    `abandoned` is a path prefix. For a request whose path begins with it, the server cancels
    `answer` when the client closes the connection. If it is "", the server never does so.
    """

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[HttpRequest, Begin], Answering],
        *,
        abandoned: str = "",
    ) -> None:
        self._listener, self._answer, self._abandoned = listener, answer, abandoned
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Begin to accept connections."""
        self._server = await asyncio.start_server(self._serve, sock=self._listener, limit=MAX_HEAD)

    def close(self) -> None:
        """Stop accepting connections."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open += 1
        # So that drain() waits for the last byte: closing would wait for it without a deadline.
        writer.transport.set_write_buffer_limits(high=0)
        try:
            await self._one(reader, writer)
        except (OSError, asyncio.IncompleteReadError) as gone:
            log.debug("http: client went away: %s", gone)
        except asyncio.CancelledError:
            # The program ends. Python 3.11 would report this task as one that failed.
            log.debug("http: not answered, because the program ends")
        finally:
            self._open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            answer = HttpAnswer.say(400, f"the request's head is longer than {MAX_HEAD} bytes")
        except TimeoutError:
            return
        else:
            peer = writer.get_extra_info("peername")
            request = parse(head, local=bool(peer) and peer[0] in _LOCAL)
            if request is not None:
                await self._respond(request, reader, writer)
                return
            answer = HttpAnswer.say(400, "not HTTP/1.1")
        writer.write(_whole(answer))
        await _sent(writer)

    async def _respond(
        self, request: HttpRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        begun = False

        async def begin(status: int) -> None:
            nonlocal begun
            if not begun and request.chunks:
                begun = True
                writer.write(_head(status, TEXT, "Transfer-Encoding: chunked"))
                await _sent(writer)

        abandon = self._abandoned and request.path.startswith(self._abandoned)
        answer = await _unless_left(self._answer(request, begin), reader if abandon else None)
        if answer is None:
            return
        if not begun:
            writer.write(_whole(answer))
        elif not answer.cut:
            writer.write(f"{len(answer.body):x}\r\n".encode() + answer.body + b"\r\n0\r\n\r\n")
        await _sent(writer)


async def _sent(writer: asyncio.StreamWriter) -> None:
    """Wait until the client has received what was written; if it is too slow, disconnect it."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await writer.drain()
    except TimeoutError:
        writer.transport.abort()


async def _unless_left(
    answering: Answering, reader: asyncio.StreamReader | None
) -> HttpAnswer | None:
    """Return the answer; None if the client of `reader` left before it was ready."""
    if reader is None:
        return await answering
    task, leaving = asyncio.ensure_future(answering), asyncio.ensure_future(_left(reader))
    try:
        await asyncio.wait((task, leaving), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, leaving):
            each.cancel()
        await asyncio.wait((task, leaving))


async def _left(reader: asyncio.StreamReader) -> None:
    """Return when the client has disconnected; what it sends until then is ignored."""
    with contextlib.suppress(OSError):
        while await reader.read(1024):
            pass


def _whole(answer: HttpAnswer) -> bytes:
    """Return the answer as bytes.

    If `answer.broken` is set, its text is sent as the name of a transfer encoding. No client knows
    this encoding, so kubelet reports an error with the text. A status alone would not do for a
    hook, because kubelet takes any status of a hook's answer for success.
    """
    length = f"Content-Length: {len(answer.body)}"
    if answer.broken:
        text = "".join(c if c.isascii() and c.isprintable() else "?" for c in answer.broken)
        length = f"Transfer-Encoding: {text}"
    return _head(answer.status, answer.content_type, length) + answer.body


def _head(status: int, content_type: str, *headers: str) -> bytes:
    lines = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Application')}",
        f"Content-Type: {content_type}",
        *headers,
        "Connection: close",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def parse(head: bytes, *, local: bool) -> HttpRequest | None:
    """Return the request in `head`, or None if it is not an HTTP/1.x request for a path."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        return None
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    chunks = words[0] != "HEAD" and words[2] != "HTTP/1.0"
    return HttpRequest(words[0], words[1], headers, local, chunks)


Pages = Mapping[str, Callable[[], HttpAnswer]]
"""Path → the function that makes its answer."""


def serving_pages(pages: Pages, *, local: str = "") -> Callable[[HttpRequest, Begin], Answering]:
    """Return a function that answers GET requests from `pages`.

    For a path that is not in `pages`, the answer lists the paths of `pages`, with the status 404.
    `local` is a path prefix. A path that begins with it is answered only to clients on this pod's
    loopback. If `local` is "", every path is answered to every client.
    """

    async def answer(request: HttpRequest, begin: Begin) -> HttpAnswer:
        if request.method != "GET":
            return HttpAnswer.say(405, "only GET is answered")
        if local and request.path.startswith(local) and not request.local:
            return HttpAnswer.say(403, f"{local} is answered on loopback only")
        page = pages.get(request.path.partition("?")[0])
        return page() if page else HttpAnswer.say(404, "pages: " + " ".join(pages))

    return answer


def exposition(samples: Mapping[str, tuple[str, str, float]]) -> bytes:
    """Return Prometheus' text for samples: name → (type, help, value)."""
    return "".join(
        f"# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {value!r}\n"
        for name, (kind, about, value) in samples.items()
    ).encode()
