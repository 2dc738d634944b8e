"""A real Envoy subscribed over TLS to the real xDS server; only the Snapshots are chosen."""

import asyncio
import datetime
import functools
import json
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab import paths
from lab.mesh.discovery import xds_server
from lab.mesh.discovery.snapshot import Snapshot
from lab.mesh.discovery.xds_server import Hub
from tests.unit import waiting

wait_for = functools.partial(waiting.wait_for, within=10.0)


class Server:
    """The xDS server on a thread of its own."""

    def __init__(self, certificates: Path) -> None:
        self.hub = Hub()
        self.certificates = certificates
        self.port = 0
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._serve()))
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        bound = await xds_server.serve(self.hub, self.certificates, 0, "127.0.0.1")
        self.port = bound.port
        self._ready.set()
        await self._stop.wait()
        self.hub.close()
        await bound.server.stop(1)

    def publish(self, snapshot: Snapshot) -> None:
        done = threading.Event()

        def publish() -> None:
            self.hub.publish(snapshot)
            done.set()

        self.loop.call_soon_threadsafe(publish)
        assert done.wait(10)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self.loop.close()


class Envoy:
    """One Envoy process; `admin` is its address."""

    def __init__(self, program: Path, folder: Path, xds_port: int, ca: Path) -> None:
        self.folder = folder
        bootstrap, where = folder / "bootstrap.json", folder / "admin"
        bootstrap.write_text(json.dumps(_bootstrap(folder, xds_port, ca)))
        self._out = (folder / "out.log").open("wb")
        self.process = subprocess.Popen(
            [
                *(program, "-c", bootstrap, "--admin-address-path", where),
                *("-l", "warning", "--concurrency", "1", "--disable-hot-restart"),
            ],
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )
        wait_for("Envoy's admin address", lambda: where.exists() and where.read_text())
        self.admin = f"http://{where.read_text()}"

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.admin + path, timeout=5) as answer:
            return str(answer.read().decode())

    def dump(self) -> dict[str, Any]:
        return dict(json.loads(self.get("/config_dump?include_eds")))

    def log(self) -> str:
        return (self.folder / "out.log").read_text()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self._out.close()


def _bootstrap(folder: Path, xds_port: int, ca: Path) -> dict[str, Any]:
    options = "type.googleapis.com/envoy.extensions"
    endpoint = {"socket_address": {"address": "127.0.0.1", "port_value": xds_port}}
    xds = {
        "name": "xds",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": endpoint}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{options}.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{options}.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "localhost",
                "common_tls_context": {
                    "alpn_protocols": ["h2"],
                    "validation_context": {"trusted_ca": {"filename": str(ca)}},
                },
            },
        },
    }
    ads = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {
            "id": "sidecar~10.244.0.9~client.shop~shop.svc.cluster.local",
            "cluster": "client.shop",
            "metadata": {"NAMESPACE": "shop", "NAME": "client", "INSTANCE_IPS": "10.244.0.9"},
        },
        "admin": {
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        },
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
        },
        "static_resources": {"clusters": [xds]},
    }


def issue(folder: Path) -> Path:
    """Write a self-signed certificate for `localhost`; returns tls.crt, beside it is tls.key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "tls.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return folder / "tls.crt"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The real server with a certificate of its own."""
    issue(tmp_path)
    running = Server(tmp_path)
    yield running
    running.close()


@pytest.fixture
def start_envoy(
    envoy_program: Path, server: Server, tmp_path: Path
) -> Iterator[Callable[[], Envoy]]:
    """Start Envoys, one after another: the capture ports are fixed, so one test run at a time."""
    started: list[Envoy] = []

    def start() -> Envoy:
        folder = tmp_path / f"envoy{len(started)}"
        folder.mkdir()
        started.append(Envoy(envoy_program, folder, server.port, tmp_path / "tls.crt"))
        return started[-1]

    # Not in the folder for all users' temporary files: there the name could be another's link.
    cache = paths.cache_root()
    cache.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(cache / "capture-ports.lock", timeout=120):
        yield start
        for each in started:
            each.close()


@pytest.fixture(name="wait_for")
def _wait_for() -> Callable[..., Any]:
    return wait_for


@pytest.fixture(name="issue")
def _issue() -> Callable[[Path], Path]:
    return issue
