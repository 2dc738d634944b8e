"""Real Envoy, real certificates, a real xDS server, and agents in processes of their own."""

import contextlib
import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2,
)
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import json_format

from tests.unit.waiting import wait_for

REPOSITORY = Path(__file__).resolve().parents[4]
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
NEEDED = (router_pb2.Router, http_connection_manager_pb2.HttpConnectionManager)
"""Message types inside the listener's Any fields: known to protobuf because imported."""


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def get(url: str, method: str = "GET") -> tuple[int, str]:
    """Status and body; status 0 when nobody answers."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
    except OSError as silent:
        return 0, str(silent)


class Authority:
    """A CA with one certificate for `localhost`, as PEM files in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "tls.crt", folder / "tls.key"
        ca_key, key = (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP256R1()),
        )
        ca = self._sign("test CA", ca_key, "test CA", ca_key, ca=True)
        own = self._sign("localhost", key, "test CA", ca_key, ca=False)
        for path, certificate in ((self.ca, ca), (self.cert, own)):
            path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    @staticmethod
    def _sign(
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        issuer_key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]

        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        return (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


class Discovery:
    """An ADS server over TLS that gives every Envoy no clusters and one inbound listener.

    It answers that listener's requests by itself: 200, "hello".
    """

    def __init__(self, authority: Authority) -> None:
        self.inbound = free_port()
        self.nodes: list[Any] = []
        handler = grpc.method_handlers_generic_handler(
            "envoy.service.discovery.v3.AggregatedDiscoveryService",
            {
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._stream,
                    request_deserializer=discovery_pb2.DiscoveryRequest.FromString,
                    response_serializer=discovery_pb2.DiscoveryResponse.SerializeToString,
                )
            },
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[handler])
        credentials = grpc.ssl_server_credentials(
            [(authority.key.read_bytes(), authority.cert.read_bytes())]
        )
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(0).wait()

    def _stream(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for request in requests:
            if request.node.id:
                self.nodes.append(request.node)
            if request.response_nonce:
                continue
            answer = discovery_pb2.DiscoveryResponse(
                version_info="1", nonce="1", type_url=request.type_url
            )
            if request.type_url == LISTENER:
                answer.resources.add().Pack(self._listener())
            yield answer

    def _listener(self) -> Any:
        network = "type.googleapis.com/envoy.extensions.filters.network"
        manager = {
            "@type": f"{network}.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "inbound",
            "http_filters": [
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": {
                        "@type": "type.googleapis.com/"
                        "envoy.extensions.filters.http.router.v3.Router"
                    },
                }
            ],
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [
                            {
                                "match": {"prefix": "/"},
                                "direct_response": {
                                    "status": 200,
                                    "body": {"inline_string": "hello"},
                                },
                            }
                        ],
                    }
                ]
            },
        }
        document = {
            "name": "inbound",
            "traffic_direction": "INBOUND",
            "enable_reuse_port": False,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.inbound}},
            "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
        }
        return json_format.ParseDict(document, listener_pb2.Listener())


@pytest.fixture
def discovery(authority: Authority) -> Iterator[Discovery]:
    server = Discovery(authority)
    yield server
    server.stop()


@dataclass
class Running:
    """One agent. `log` is what agent and Envoy wrote."""

    process: subprocess.Popen[bytes]
    folder: Path
    agent_port: int
    admin_port: int
    stats_port: int
    logfile: Path
    info: Path
    argv: list[str] = field(default_factory=list)

    until = staticmethod(wait_for)

    @property
    def log(self) -> str:
        return self.logfile.read_text(errors="replace")

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        return get(f"http://127.0.0.1:{self.agent_port}{path}", method)

    def ready(self) -> bool:
        return self.ask("/healthz/ready")[0] == 200

    def wait_ready(self) -> None:
        wait_for(f"ready; log:\n{self.log}", self.ready)

    def metric(self, name: str) -> float:
        lines = self.ask("/metrics")[1].splitlines()
        return next(
            (float(x.split()[1]) for x in lines if x.startswith(f"sidecar_agent_{name} ")), -1
        )

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def envoy(self) -> int:
        """Pid of the Envoy that runs."""
        return wait_for("an Envoy", lambda: next(iter(self.children()), None))

    def end(self, within: float = 10) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)


@pytest.fixture
def agent(
    envoy_program: Path, authority: Authority, tmp_path: Path
) -> Iterator[Callable[..., Running]]:
    """Start an agent: `agent(discovery_port, *flags, env=…, before=[…])`; ended after the test."""
    with contextlib.ExitStack() as stack:

        def start(
            port: int, *flags: str, env: dict[str, str] | None = None, before: tuple[str, ...] = ()
        ) -> Running:
            folder, info = tmp_path / "proxy", tmp_path / "podinfo"
            info.mkdir(exist_ok=True)
            ports = free_port(), free_port(), free_port()
            argv = [*before, sys.executable, "-m", "lab.mesh.agent", "proxy", "sidecar"]
            argv += ["--configPath", str(folder), "--binaryPath", str(envoy_program)]
            argv += ["--discoveryAddress", f"localhost:{port}", "--rootCert", str(authority.ca)]
            argv += ["--podInfoDir", str(info), "--concurrency", "1"]
            for flag, number in zip(("agentPort", "adminPort", "statsPort"), ports, strict=True):
                argv += [f"--{flag}", str(number)]
            who = {"POD_NAME": "demo", "POD_NAMESPACE": "default", "INSTANCE_IP": "127.0.0.1"}
            logfile = tmp_path / "log"
            with logfile.open("ab") as log:
                process = subprocess.Popen(
                    [*argv, *flags],
                    stdout=log,
                    stderr=log,
                    cwd=REPOSITORY,
                    env={**os.environ, **who, **(env or {})},
                )
            stack.callback(_end, process)
            return Running(process, folder, *ports, logfile, info, argv)

        yield start


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
