"""The agent's HTTP port (15020): health, metrics, application probes, drain and quit."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

log = logging.getLogger("pilot-agent")

MAX_HEAD = 16 * 1024
HEAD_TIMEOUT = 10.0
"""Seconds within which a client has to send its request line and headers."""
MAX_CONNECTIONS = 128
TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
            405: "Method Not Allowed", 503: "Service Unavailable"}  # fmt: skip
_LOCAL = ("127.0.0.1", "::1")
"""Not 127.0.0.6: that is where Envoy brings requests from outside."""


@dataclass(frozen=True)
class Request:
    """One request; header names in lower case. `local`: it came from this pod's loopback."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    local: bool = False


@dataclass(frozen=True)
class Answer:
    """What to answer."""

    status: int
    body: bytes
    content_type: str = TEXT

    @classmethod
    def say(cls, status: int, sentence: str) -> "Answer":
        """Answer with one line of text."""
        return cls(status, f"{sentence}\n".encode())


class AgentHttp:
    """HTTP/1.1 on `listener`, one request a connection, answered by `answer`."""

    def __init__(
        self, listener: socket.socket, answer: Callable[[Request], Awaitable[Answer]]
    ) -> None:
        self._listener, self._answer = listener, answer
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self) -> None:
        """Begin to accept."""
        self._server = await asyncio.start_server(self._serve, sock=self._listener, limit=MAX_HEAD)

    def close(self) -> None:
        """Stop accepting."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= MAX_CONNECTIONS:
            writer.close()
            return
        self._open += 1
        try:
            await self._one(reader, writer)
        except (OSError, asyncio.IncompleteReadError) as gone:
            log.debug("http: client went away: %s", gone)
        finally:
            self._open -= 1
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            answer = Answer.say(400, f"the request's head is longer than {MAX_HEAD} bytes")
        except TimeoutError:
            return
        else:
            peer = writer.get_extra_info("peername")
            request = parse(head, local=bool(peer) and peer[0] in _LOCAL)
            answer = await self._answer(request) if request else Answer.say(400, "not HTTP/1.1")
        reason = _REASONS.get(answer.status, "Application")
        writer.write(
            f"HTTP/1.1 {answer.status} {reason}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n".encode()
        )
        writer.write(answer.body)
        await writer.drain()


def parse(head: bytes, *, local: bool) -> Request | None:
    """Return the request in `head`, or None when it is not HTTP/1.x."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        return None
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Request(words[0], words[1], headers, local)


def exposition(samples: Mapping[str, tuple[str, str, float]]) -> bytes:
    """Return Prometheus text for `name: (type, help, value)`."""
    return "".join(
        f"# HELP {name} {about}\n# TYPE {name} {kind}\n{name} {value!r}\n"
        for name, (kind, about, value) in samples.items()
    ).encode()
