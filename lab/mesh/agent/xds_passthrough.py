"""Forwards the bytes of Envoy's xDS stream between a unix socket and discovery's TLS port.

Nothing is decoded, so the agent needs neither gRPC nor protobuf and stays small. When
discovery cannot be reached, the agent closes Envoy's connection, and Envoy retries.
"""

import asyncio
import logging
import socket
import ssl
import time

from lab.mesh.agent.settings import Upstream

log = logging.getLogger("pilot-agent")

CHUNK = 64 * 1024
"""Bytes read at once; also the buffer size above which reading pauses (back-pressure)."""


class XdsPassthrough:
    """Accepts connections on `listener` and forwards each of them to `upstream`.

    `limit`: how many connections may be open at the same time (Envoy needs one). `grace`: seconds
    that one direction may continue after the other has ended. asyncio cannot half-close a TLS
    connection, so discovery learns of the end of Envoy's stream only when the grace is over. That
    does no harm, because HTTP/2 never half-closes.
    """

    def __init__(
        self,
        listener: socket.socket,
        upstream: Upstream,
        *,
        limit: int = 16,
        connect_timeout: float = 5.0,
        grace: float = 1.0,
    ) -> None:
        self._listener = listener
        self._upstream = upstream
        self._limit, self._connect_timeout, self._grace = limit, connect_timeout, grace
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_failure = ("", 0.0)
        self.connections = self.failures = self.refused = 0
        self.to_discovery = self.to_envoy = 0

    @property
    def active(self) -> int:
        """How many connections are open now."""
        return len(self._tasks)

    async def start(self) -> None:
        """Begin to accept connections."""
        self._server = await asyncio.start_unix_server(
            self._accept, sock=self._listener, limit=CHUNK
        )

    async def close(self) -> None:
        """Stop accepting and close every connection."""
        if self._server is not None:
            self._server.close()
        await self._drop()

    async def reset(self, upstream: Upstream) -> None:
        """Connect to `upstream` from now on; close open connections so that Envoy reconnects.

        This is also called when only the CA changed, because a connection that was
        verified by the old CA must be verified again.
        """
        self._upstream = upstream
        await self._drop()

    async def _drop(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= self._limit:
            self.refused += 1
            log.warning("xDS: %d connections are open already; one more refused", self._limit)
            writer.close()
            return
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        where = f"{self._upstream.host}:{self._upstream.port}"
        try:
            async with asyncio.timeout(self._connect_timeout):
                far_reader, far_writer = await connect(self._upstream)
        except TimeoutError:
            self._failed(f"xDS: {where}: no connection within {self._connect_timeout:g} s")
            writer.close()
            return
        except OSError as bad:
            self._failed(f"xDS: {where}: {bad}")
            writer.close()
            return
        except asyncio.CancelledError:
            writer.close()
            raise
        log.info("xDS: connected to %s", where)
        self._last_failure = ("", 0.0)
        try:
            await self._both_ways(reader, writer, far_reader, far_writer)
        except OSError as bad:
            log.warning("xDS: the connection to %s broke: %s", where, bad)
        finally:
            for end in (writer, far_writer):
                end.transport.abort()
            log.info("xDS: connection to %s closed", where)

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        up = asyncio.ensure_future(self._pump(reader, far_writer, up=True))
        down = asyncio.ensure_future(self._pump(far_reader, writer, up=False))
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            _, late = await asyncio.wait({up, down}, timeout=self._grace)
            for task in {up, down} - late:
                task.result()
        finally:
            for task in (up, down):
                task.cancel()
            await asyncio.wait({up, down})

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool
    ) -> None:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
            if up:
                self.to_discovery += len(data)
            else:
                self.to_envoy += len(data)
        if writer.can_write_eof():
            writer.write_eof()

    def _failed(self, message: str) -> None:
        """Count a failure and log it; log the same message again only after 30 s.

        Envoy retries often, so one failure would otherwise fill the log.
        """
        self.failures += 1
        last, when = self._last_failure
        now = time.monotonic()
        if message != last or now - when > 30:
            self._last_failure = (message, now)
            log.warning("%s; Envoy will try again", message)


async def connect(upstream: Upstream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to discovery with TLS and HTTP/2; return reader and writer.

    The server's certificate must be signed by the CA and must name `upstream.host`. The CA file is
    read at each call, so a changed CA is used at once. Raises OSError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cafile=upstream.root_cert)
    except OSError as bad:  # ssl.SSLError is one too
        raise OSError(f"CA file {upstream.root_cert} cannot be used: {bad}") from bad
    reader, writer = await asyncio.open_connection(
        upstream.host, upstream.port, ssl=context, server_hostname=upstream.host, limit=CHUNK
    )
    tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
    if tls.selected_alpn_protocol() != "h2":
        writer.transport.abort()
        raise OSError("the server does not speak HTTP/2 (ALPN h2)")
    # A discovery that vanished without closing the connection is detected in about a minute.
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return reader, writer
