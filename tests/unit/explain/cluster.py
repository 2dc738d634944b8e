"""An API server of plain answers, on loopback: enough of one for `lab explain`."""

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from lab.mesh import contract
from lab.paths import manifests
from tests.unit.explain.sample import ROOT

CONTROL = contract.CONTROL_NAMESPACE
WEBHOOK = contract.WEBHOOK_SERVICE
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
SERVICE = f"/api/v1/namespaces/{CONTROL}/services/{WEBHOOK}"
SLICES = f"/apis/discovery.k8s.io/v1/namespaces/{CONTROL}/endpointslices"


def sound() -> dict[str, Any]:
    """A mesh that works and an unlabelled namespace shop: answers by path."""
    injector = yaml.safe_load((manifests() / "lab" / "injector.yaml").read_text())
    injector["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    for hook in injector["webhooks"]:
        hook["clientConfig"]["caBundle"] = base64.b64encode(ROOT.encode()).decode()
    service = {
        "metadata": {"namespace": CONTROL, "name": WEBHOOK},
        "spec": {"selector": {"app": WEBHOOK}, "ports": [{"port": 443, "name": "https"}]},
    }
    endpoints = {"ports": [{"name": "https"}], "endpoints": [{"addresses": ["10.0.0.1"]}]}
    return {
        CONFIGURATIONS: {"items": [injector]},
        SERVICE: service,
        SLICES: {"items": [endpoints]},
        f"/apis/apps/v1/namespaces/{CONTROL}/deployments": {"items": []},
        "/api/v1/namespaces/shop": {"metadata": {"name": "shop", "labels": {}}},
        "/api/v1/namespaces/shop/events": {"items": []},
    }


@dataclass(frozen=True)
class Text:
    """An answer that is no JSON; `endless`: sent again and again until the client leaves."""

    text: str
    endless: bool = False


@dataclass
class Cluster:
    """`answers` by path (an int: an error of that status); `trial` answers POST, with `status`.

    `asked` collects method, path and query of every request.
    """

    answers: dict[str, Any] = field(default_factory=sound)
    status: int = 201
    trial: dict[str, Any] = field(default_factory=lambda: {"spec": {"containers": []}})
    asked: list[tuple[str, str, Mapping[str, list[str]]]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    server: str = ""

    def kubeconfig(self, file: Path, **user: str) -> Path:
        """Write a kubeconfig for it."""
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": self.server}}],
            "users": [{"name": "u", "user": user}],
        }
        file.write_text(yaml.safe_dump(config))
        return file


@contextmanager
def serving(cluster: Cluster) -> Iterator[Cluster]:
    """Serve it until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            url = urlsplit(self.path)
            self.rfile.read(int(self.headers.get("content-length") or 0))
            cluster.asked.append((method, url.path, parse_qs(url.query)))
            cluster.headers.append(dict(self.headers))
            if method == "POST":
                status, body = cluster.status, cluster.trial
            else:
                found = cluster.answers.get(url.path, 404)
                status, body = (
                    (found, {"message": f"refused with {found}"})
                    if isinstance(found, int)
                    else (200, found)
                )
            data = body.text.encode() if isinstance(body, Text) else json.dumps(body).encode()
            endless = isinstance(body, Text) and body.endless
            self.send_response(status)
            if not endless:
                self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            with suppress(OSError):
                while endless:
                    self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        cluster.server = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield cluster
        finally:
            server.shutdown()
            thread.join()
