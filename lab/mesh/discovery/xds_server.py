"""The xDS server: sends the latest Catalog to each sidecar over one gRPC stream with TLS."""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from lab.mesh.discovery.resources import SHORT, Catalog, Identity, identity_of
from lab.mesh.discovery.snapshot import Snapshot
from lab.mesh.discovery.subscriptions import Kind, Session
from lab.mesh.errors import DiscoveryError

log = logging.getLogger("lab.mesh.discovery")

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHOD: Final = "StreamAggregatedResources"
STOP_SECONDS: Final = 2.0
"""Seconds that open streams may take to end when the server stops."""
_OPTIONS: Final = (
    # A sidecar that vanished without closing its stream is detected within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)


@dataclass
class Counts:
    """The counters of the metrics page; times are in seconds."""

    streams: int = 0
    pushes: Counter[str] = field(default_factory=Counter)
    nacks: Counter[str] = field(default_factory=Counter)
    snapshots: int = 0
    build_seconds: float = 0.0
    push_seconds: float = 0.0


@dataclass(frozen=True)
class Proxy:
    """A sidecar with an open stream. `since`: seconds since the epoch."""

    identity: Identity
    session: Session
    since: float


class Hub:
    """Holds the latest Catalog, and serves it to the streams of all sidecars."""

    def __init__(self) -> None:
        self.catalog: Catalog | None = None
        self.counts = Counts()
        self.closing = False
        self.proxies: dict[int, Proxy] = {}
        self._wakes: set[asyncio.Event] = set()

    def publish(self, snapshot: Snapshot) -> None:
        """Make a Catalog of `snapshot` and wake every stream, which then sends what has changed."""
        started = time.monotonic()
        self.catalog = Catalog(snapshot)
        self.counts.build_seconds += time.monotonic() - started
        self.counts.snapshots += 1
        log.info("snapshot %s: %s", snapshot.version, self.catalog.sizes)
        self._wake_all()

    def close(self) -> None:
        """Make every stream end, so that sidecars reconnect elsewhere."""
        self.closing = True
        self._wake_all()

    async def stream(
        self,
        requests: AsyncIterator[DiscoveryRequest],
        context: "grpc.aio.ServicerContext[DiscoveryRequest, DiscoveryResponse]",
    ) -> None:
        """Serve one sidecar until its stream ends or the server stops."""
        first = await anext(aiter(requests), None)
        if first is None:
            return
        try:
            identity = identity_of(first.node)
        except DiscoveryError as unusable:
            log.warning("stream refused: %s", unusable.message)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, unusable.message)
        session, wake, ended = Session(), asyncio.Event(), asyncio.Event()

        def take(request: DiscoveryRequest) -> None:
            self._note(identity.pod, request, session.receive(request))
            wake.set()

        async def read() -> None:
            try:
                async for request in requests:
                    take(request)
            finally:
                ended.set()
                wake.set()

        take(first)
        log.info("stream of %s in %s opened", identity.pod, identity.namespace)
        self._wakes.add(wake)
        self.counts.streams += 1
        reader = asyncio.create_task(read())
        self.proxies[id(session)] = Proxy(identity, session, time.time())
        try:
            while not self.closing and not ended.is_set():
                await wake.wait()
                wake.clear()
                if self.catalog is not None and not self.closing:
                    started = time.monotonic()
                    for response in session.due(self.catalog.view(identity)):
                        await context.write(response)
                        self.counts.pushes[SHORT[response.type_url]] += 1
                    self.counts.push_seconds += time.monotonic() - started
        finally:
            self._wakes.discard(wake)
            del self.proxies[id(session)]
            self.counts.streams -= 1
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.RpcError):
                await reader
            log.info("stream of %s ended", identity.pod)

    def _note(self, pod: str, request: DiscoveryRequest, kind: Kind) -> None:
        name = SHORT.get(request.type_url, request.type_url)
        log.debug("%s: %s %s", pod, name, kind.value)
        if kind is Kind.NACK:
            self.counts.nacks[name] += 1
            log.error("%s refused %s: %s", pod, name, request.error_detail.message)

    def refused(self) -> Counter[str]:
        """Return short type name → how many sidecars now refuse resources of this type."""
        return Counter(
            SHORT[url]
            for proxy in self.proxies.values()
            for url, status in proxy.session.status().items()
            if status.refusal is not None
        )

    def status(self) -> list[dict[str, Any]]:
        """Return data for JSON: each connected sidecar, with versions and refusal of each type."""
        latest = self.catalog.snapshot.version if self.catalog else ""
        return [
            {
                "namespace": proxy.identity.namespace,
                "pod": proxy.identity.pod,
                "since": proxy.since,
                "snapshot": latest,
                "types": {
                    SHORT[url]: {
                        "sent": status.sent,
                        "accepted": status.accepted,
                        "in_step": not status.pending and status.sent == status.accepted,
                        "refused": None
                        if status.refusal is None
                        else {"names": status.refusal.names, "reason": status.refusal.reason},
                    }
                    for url, status in proxy.session.status().items()
                },
            }
            for proxy in sorted(
                self.proxies.values(), key=lambda each: (each.identity.namespace, each.identity.pod)
            )
        ]

    def _wake_all(self) -> None:
        for wake in self._wakes:
            wake.set()


class Certificates:
    """The serving certificate, which is read from its files at each handshake.

    If the files cannot be read, the last certificate stays in use.
    """

    def __init__(self, folder: Path) -> None:
        self._files = (folder / "tls.key", folder / "tls.crt")
        self._loaded: tuple[bytes, bytes] | None = None
        self.initial = self._configuration(self._read())

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that read the files at each handshake."""
        return grpc.dynamic_ssl_server_credentials(self.initial, self._fetch, False)

    def _fetch(self) -> Any:
        try:
            pair = self._read()
        except DiscoveryError as failure:
            log.warning("keeping the last certificate: %s", failure.message)
            return None
        if pair == self._loaded:
            return None  # grpc keeps the certificate
        log.info("serving certificate changed")
        return self._configuration(pair)

    def _read(self) -> tuple[bytes, bytes]:
        try:
            key, chain = (path.read_bytes() for path in self._files)
        except OSError as failure:
            raise DiscoveryError(
                f"no serving certificate: {failure}",
                hint="--cert-dir must hold tls.crt and tls.key",
            ) from failure
        return key, chain

    def _configuration(self, pair: tuple[bytes, bytes]) -> Any:
        self._loaded = pair
        return grpc.ssl_server_certificate_configuration([pair])


@dataclass(frozen=True)
class Bound:
    """A running server, and the port on which it listens."""

    server: grpc.aio.Server
    port: int


async def serve(hub: Hub, folder: Path, port: int, host: str = "0.0.0.0") -> Bound:  # noqa: S104
    """Start serving on `host`:`port` (0 picks one) with tls.crt and tls.key of `folder`.

    Raises DiscoveryError when the certificate is missing or the port is taken.
    """
    server = grpc.aio.server(options=_OPTIONS)
    handler = grpc.stream_stream_rpc_method_handler(
        hub.stream,
        request_deserializer=DiscoveryRequest.FromString,
        response_serializer=DiscoveryResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
    )
    try:
        bound = server.add_secure_port(f"{host}:{port}", Certificates(folder).credentials())
    except RuntimeError as failure:
        raise DiscoveryError(
            f"port {port} cannot be listened on: {failure}",
            hint="another process may have it; pass another --port",
        ) from failure
    await server.start()
    return Bound(server, bound)
