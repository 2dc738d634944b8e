"""The pass-through between a unix socket and a real TLS server."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.mesh.agent import start as agent_start
from lab.mesh.agent.settings import Upstream
from lab.mesh.agent.xds_passthrough import XdsPassthrough
from lab.mesh.errors import BootstrapError

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def carried(
    authority: Any,
    folder: Path,
    handler: Handler,
    *,
    alpn: str = "h2",
    ca: Path | None = None,
    limit: int = 16,
) -> AsyncIterator[tuple[XdsPassthrough, str]]:
    """A TLS server with `handler` and a pass-through to it, and the latter's socket path."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.cert, authority.key)
    context.set_alpn_protocols([alpn])

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except OSError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    path = str(folder / "XDS")
    with agent_start.listen_unix(path) as listener:
        upstream = Upstream("localhost", port, str(ca or authority.ca))
        passthrough = XdsPassthrough(listener, upstream, limit=limit, grace=0.2)
        await passthrough.start()
        try:
            yield passthrough, path
        finally:
            await passthrough.close()
            server.close()
            await asyncio.sleep(0)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def until(probe: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not probe():
            await asyncio.sleep(0.01)


def test_megabytes_go_both_ways_unchanged(authority: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with carried(authority, tmp_path, echo) as (passthrough, path):
            reader, writer = await asyncio.open_unix_connection(path)
            sent = bytes(range(256)) * 16384

            async def send() -> None:
                for start in range(0, len(sent), 10_000):
                    writer.write(sent[start : start + 10_000])
                    await writer.drain()

            sending = asyncio.ensure_future(send())
            assert await asyncio.wait_for(reader.readexactly(len(sent)), 20) == sent
            await sending
            assert passthrough.to_discovery == passthrough.to_envoy == len(sent)
            writer.close()
            await until(lambda: passthrough.active == 0)

    asyncio.run(main())


def test_a_reader_that_stops_stops_the_sender(authority: Any, tmp_path: Path) -> None:
    """What is on its way stays bounded by buffers: nothing piles up in the agent."""
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async def main() -> None:
        async with carried(authority, tmp_path, flood) as (_, path):
            reader, writer = await asyncio.open_unix_connection(path, limit=1024)
            before = -1
            while sent != before:  # until nothing has moved for a while
                before = sent
                await asyncio.sleep(0.3)
            assert 0 < sent < 64 * 2**20
            held = sent
            await asyncio.wait_for(reader.readexactly(4 * 2**20), 20)
            await until(lambda: sent > held)
            writer.close()

    asyncio.run(main())


def test_end_of_stream_from_discovery_reaches_envoy(authority: Any, tmp_path: Path) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with carried(authority, tmp_path, once) as (passthrough, path):
            reader, writer = await asyncio.open_unix_connection(path)
            assert await asyncio.wait_for(reader.read(), 5) == b"bye"
            await until(lambda: passthrough.active == 0)
            writer.close()

    asyncio.run(main())


def test_what_comes_after_envoys_end_of_stream_is_still_delivered(
    authority: Any, tmp_path: Path
) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        await asyncio.sleep(0.05)
        writer.write(b"late")
        await writer.drain()
        await reader.read()

    async def main() -> None:
        async with carried(authority, tmp_path, late) as (_, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"last")
            writer.write_eof()
            assert await asyncio.wait_for(reader.readexactly(4), 5) == b"late"
            writer.close()

    asyncio.run(main())


@pytest.mark.parametrize("fault", ["another CA", "no CA file", "no HTTP/2", "nobody there"])
def test_discovery_that_cannot_be_trusted_or_reached_is_closed_and_said(
    authority: Any, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    ca: Path | None = None
    if fault == "another CA":
        ca = type(authority)(tmp_path / "other").ca
    elif fault == "no CA file":
        ca = tmp_path / "missing.pem"
    alpn = "http/1.1" if fault == "no HTTP/2" else "h2"
    said = {
        "another CA": "certificate verify failed",
        "no CA file": "cannot be used",
        "no HTTP/2": "does not speak HTTP/2",
        "nobody there": "Connect call failed",
    }[fault]

    async def main() -> None:
        async with carried(authority, tmp_path, echo, ca=ca, alpn=alpn) as (passthrough, path):
            if fault == "nobody there":
                await passthrough.reset(Upstream("127.0.0.1", 1, str(authority.ca)))
            for attempt in (1, 2):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"x")
                assert await _closed(reader)
                assert passthrough.failures == attempt
                writer.close()

    asyncio.run(main())
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert len(warnings) == 1, "said once, not at every retry"
    assert said in warnings[0]


async def _closed(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 5) == b""
    except ConnectionResetError:
        return True


def test_a_rotated_ca_counts_from_the_next_connection(authority: Any, tmp_path: Path) -> None:
    ca = tmp_path / "rotating.pem"
    ca.write_bytes(type(authority)(tmp_path / "other").ca.read_bytes())

    async def main() -> None:
        async with carried(authority, tmp_path, echo, ca=ca) as (_, path):
            reader, writer = await asyncio.open_unix_connection(path)
            assert await _closed(reader)
            writer.close()
            ca.write_bytes(authority.ca.read_bytes())
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"ping")
            assert await asyncio.wait_for(reader.readexactly(4), 5) == b"ping"
            writer.close()

    asyncio.run(main())


def test_reset_closes_what_is_open(authority: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with carried(authority, tmp_path, echo) as (passthrough, path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"ping")
            await asyncio.wait_for(reader.readexactly(4), 5)
            await passthrough.reset(Upstream("127.0.0.1", 1, str(authority.ca)))
            assert passthrough.active == 0
            assert await _closed(reader)
            writer.close()

    asyncio.run(main())


def test_connections_are_bounded(authority: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with carried(authority, tmp_path, echo, limit=2) as (passthrough, path):
            ends = [await asyncio.open_unix_connection(path) for _ in range(2)]
            await until(lambda: passthrough.active == 2)
            reader, writer = await asyncio.open_unix_connection(path)
            assert await _closed(reader)
            assert passthrough.refused == 1
            for end in (writer, *(w for _, w in ends)):
                end.close()

    asyncio.run(main())


def test_a_stale_socket_is_taken_over_a_live_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "XDS")
    with agent_start.listen_unix(path), pytest.raises(BootstrapError, match="another agent"):
        agent_start.listen_unix(path)
    agent_start.listen_unix(path).close()
