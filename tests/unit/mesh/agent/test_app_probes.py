"""The application's probes, asked of real servers, and the agent's own HTTP."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh import http_server
from lab.mesh.agent.probes import app_probes
from lab.mesh.grammar import probe_settings
from lab.mesh.grammar.probe_settings import Probe


class App(BaseHTTPRequestHandler):
    """/code/<n> answers n, /to redirects to /code/500, /away elsewhere, /ua echoes in status."""

    def do_GET(self) -> None:
        code, location = 404, ""
        if self.path.startswith("/code/"):
            code = int(self.path[6:])
        elif self.path == "/to":
            code, location = 302, "/code/500"
        elif self.path == "/loop":
            code, location = 302, "/loop"
        elif self.path == "/away":
            code, location = 302, "http://elsewhere.example/"
        elif self.path == "/ua":
            seen = (self.headers["User-Agent"], self.headers["X-A"], self.headers["Host"])
            code = 200 if seen == ("kube-probe/1.37", "b", "c") else 400
        self.send_response(code)
        if location:
            self.send_header("Location", location)
        self.end_headers()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def app() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def health() -> Iterator[int]:
    """A gRPC health service made by grpcio: "" serves, "sick" does not, "slow" never answers."""
    stopped = threading.Event()

    def check(request: bytes, context: Any) -> bytes:
        service = request[2:].decode()
        if service == "slow":
            stopped.wait(10)
        if service not in ("", "sick", "slow"):
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return b"\x08\x02" if service == "sick" else b"\x08\x01"

    method = grpc.unary_unary_rpc_method_handler(check)
    handler = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method})
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    stopped.set()
    server.stop(0).wait()


def ask(probe: Probe, **headers: str) -> tuple[int, str]:
    found = asyncio.run(app_probes.probe(probe, "127.0.0.1", headers))
    return found.status, found.sentence


@pytest.mark.parametrize(
    ("path", "status"),
    [("/code/200", 200), ("/code/404", 404), ("/to", 500), ("/away", 302), ("/loop", 503)],
)
def test_http_gives_the_applications_status(app: int, path: str, status: int) -> None:
    assert ask(Probe("http", app, path=path))[0] == status


def test_http_sends_kubelets_agent_and_the_probes_headers(app: int) -> None:
    probe = Probe("http", app, path="/ua", headers=(("X-A", "b"), ("host", "c")))
    assert ask(probe, **{"user-agent": "kube-probe/1.37"})[0] == 200


@pytest.mark.parametrize("kind", ["http", "tcp", "grpc"])
def test_nobody_there_is_503(kind: str) -> None:
    assert ask(Probe(kind, 1))[0] == 503


def test_tcp_is_open(app: int) -> None:
    assert ask(Probe("tcp", app)) == (200, "open")


@pytest.mark.parametrize(
    ("service", "status", "said"),
    [("", 200, "SERVING"), ("sick", 503, "NOT_SERVING"), ("unknown", 503, "no such service")],
)
def test_grpc_health_is_asked(health: int, service: str, status: int, said: str) -> None:
    found, sentence = ask(Probe("grpc", health, service=service))
    assert found == status
    assert said in sentence


def test_a_slow_application_is_503_in_time(health: int) -> None:
    assert ask(Probe("grpc", health, timeout=0.2, service="slow")) == (
        503,
        f"127.0.0.1:{health}: no answer within 0.2 s",
    )


def test_grpc_on_an_http_1_server_is_no_success(app: int) -> None:
    assert ask(Probe("grpc", app))[0] == 503


def test_the_agent_serves_the_probes_it_was_given(agent: Any, discovery: Any, app: int) -> None:
    probers = {
        "/app-health/web/readyz": {"httpGet": {"path": "/code/200", "port": app}},
        "/app-health/web/livez": {"httpGet": {"path": "/code/503", "port": app}},
    }
    env = {"ISTIO_KUBE_APP_PROBERS": json.dumps(probers)}
    running = agent(discovery.port, env=env)
    running.wait_ready()
    assert running.ask("/app-health/web/readyz")[0] == 200
    assert running.ask("/app-health/web/livez")[0] == 503
    assert running.ask("/app-health/web/startupz")[0] == 404


def test_probers_are_read_as_istio_writes_them() -> None:
    text = json.dumps(
        {
            "/app-health/a/livez": {
                "httpGet": {
                    "path": "/x?y=1", "port": 80, "scheme": "HTTPS",
                    "httpHeaders": [{"name": "A", "value": "b"}],
                },
                "timeoutSeconds": 3,
            },
            "/app-health/a/readyz": {"grpc": {"port": 5, "service": None}},
        }
    )  # fmt: skip
    assert probe_settings.probes(text) == {
        "/app-health/a/livez": Probe(
            "http", 80, 3.0, path="/x?y=1", scheme="https", headers=(("A", "b"),)
        ),
        "/app-health/a/readyz": Probe("grpc", 5),
    }


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_none(head: bytes) -> None:
    found = http_server.parse(head, local=False)
    assert found is None or found.path.startswith("/")
