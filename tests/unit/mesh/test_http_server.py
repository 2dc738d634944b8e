"""The plain HTTP server: what it answers, and what a client that misbehaves costs."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from lab.mesh import http_server
from lab.mesh.http_server import HttpAnswer, HttpServer, serving_pages

BIG = b"x" * (64 * 2**20)
"""More than the kernel's buffers of one connection hold."""


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[int]:
    pages = {
        "/healthz": lambda: HttpAnswer.say(200, "ok"),
        "/big": lambda: HttpAnswer(200, BIG),
    }
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(listener, serving_pages(pages))
    await server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.close()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionResetError:
        return b""  # closed before it read the request
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /healthz HTTP/1.1", b"200 OK", b"ok\n"),
        (b"GET /healthz?verbose HTTP/1.0", b"200 OK", b"ok\n"),
        (b"POST /healthz HTTP/1.1", b"405 Method Not Allowed", b"only GET is answered\n"),
        (b"GET /nowhere HTTP/1.1", b"404 Not Found", b"pages: /healthz /big\n"),
        (b"GET healthz HTTP/1.1", b"400 Bad Request", b"not HTTP/1.1\n"),
        (b"GET /healthz SPDY/3", b"400 Bad Request", b"not HTTP/1.1\n"),
    ],
)
def test_pages_are_answered(request_line: bytes, status: bytes, body: bytes) -> None:
    async def go() -> bytes:
        async with serving() as port:
            return await ask(port, request_line + b"\r\n\r\n")

    head, _, text = asyncio.run(go()).partition(b"\r\n\r\n")
    assert (head.splitlines()[0], text) == (b"HTTP/1.1 " + status, body)


def test_a_head_without_end_is_refused() -> None:
    async def go() -> bytes:
        async with serving() as port:
            return await ask(port, b"GET /healthz HTTP/1.1\r\nx: " + b"y" * http_server.MAX_HEAD)

    assert b"400 Bad Request" in asyncio.run(go())


def test_a_client_that_never_asks_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT", 0.1)

    async def go() -> bytes:
        async with serving() as port:
            return await ask(port, b"GET /healthz")

    assert asyncio.run(go()) == b""


def test_a_client_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "SEND_TIMEOUT", 0.2)

    async def go() -> int:
        async with serving() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET /big HTTP/1.1\r\n\r\n")
            await asyncio.sleep(1)  # the client is slow: that is the case
            got = 0
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(2**20):
                    got += len(piece)
            writer.close()
            return got

    assert asyncio.run(go()) < len(BIG)


def test_connections_beyond_the_cap_are_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "MAX_CONNECTIONS", 2)

    async def go() -> tuple[bytes, bytes]:
        async with serving() as port:
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            beyond = await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")
            for _, writer in silent:
                writer.close()
                await writer.wait_closed()
            after = b""
            while not after:  # until the server has seen that they are gone
                after = await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")
            return beyond, after

    beyond, after = asyncio.run(go())
    assert beyond == b""
    assert b"200 OK" in after
