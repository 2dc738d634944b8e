"""The webhook's log, and its plain HTTP port: /healthz, /readyz and /metrics."""

import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from lab.mesh.injector.settings.pod_settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass
class State:
    """The webhook's state, which /readyz and /metrics report.

    `reviews`: number of reviews by verdict. `seconds`: time spent on reviews. `reloads`: how often
    the certificate was reloaded.
    """

    settings: Settings = field(default_factory=Settings)
    phase: str = "no certificate yet"
    reviews: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    reloads: int = 0

    @property
    def ready(self) -> bool:
        """Whether the webhook accepts reviews."""
        return self.phase == "ok"

    def certificate_event(self, event: str, why: str) -> None:
        """Log a reload of the certificate, and count it if it succeeded.

        `why`: why it failed, "" if it succeeded.
        """
        if not why:
            self.reloads += 1
        say(event, **({"why": why} if why else {}))


def say(event: str, **fields: object) -> None:
    """Print one event as a line of JSON to stdout, which is the pod's log."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    print(json.dumps({"time": now, "event": event, **fields}), flush=True)


class Warnings(logging.Handler):
    """Logs the warnings of libraries and of the Kubernetes watch as events."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        say("warning", why=record.getMessage())


class Health:
    """The ASGI application of the plain HTTP port."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["path"] == "/healthz":
            await send_text(send, 200, "ok\n")
        elif scope["path"] == "/readyz":
            ready = self.state.ready
            await send_text(send, 200 if ready else 503, f"{self.state.phase}\n")
        elif scope["path"] == "/metrics":
            await send_text(send, 200, metrics(self.state))
        else:
            await send_text(send, 404, "/healthz, /readyz, /metrics\n")


def metrics(state: State) -> str:
    """Return the counters in Prometheus' text format."""
    lines = ["# TYPE sidecar_lab_reviews_total counter"]
    for verdict in ("injected", "not injected", "refused", "bad request"):
        label = f'{{verdict="{verdict}"}}'
        lines.append(f"sidecar_lab_reviews_total{label} {state.reviews[verdict]}")
    lines.append("# TYPE sidecar_lab_review_seconds_total counter")
    lines.append(f"sidecar_lab_review_seconds_total {state.seconds:.6f}")
    lines.append("# TYPE sidecar_lab_certificate_reloads_total counter")
    lines.append(f"sidecar_lab_certificate_reloads_total {state.reloads}")
    return "\n".join(lines) + "\n"


async def send_text(
    send: Send,
    status: int,
    text: str,
    *more: tuple[bytes, bytes],
    kind: bytes = b"text/plain; charset=utf-8",
) -> None:
    """Send one complete ASGI answer; `more`: further headers; `kind`: the content type."""
    body = text.encode()
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
