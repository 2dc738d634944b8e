"""Queries Envoy's admin interface and judges the answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lab.mesh.agent.http_client import FetchError, Response, Target, fetch

READY_FILTER = (
    r"^(cluster_manager\.cds|listener_manager\.lds)\.update_success$"
    r"|^server\.state$|^listener_manager\.workers_started$"
)
_COUNTER = re.compile(r"([\w.]+): (\d+)")
_ACTIVE = re.compile(r"listener\.(.+)\.downstream_cx_active: (\d+)")
LIVE = 0
"""The value of Envoy's statistic `server.state` while Envoy serves traffic."""


@dataclass(frozen=True)
class Verdict:
    """Whether Envoy can take traffic. `reason`: why it cannot, in one sentence, "" if it can."""

    ready: bool
    reason: str = ""


def judge(statistics: Mapping[str, int]) -> Verdict:
    """Return whether Envoy is ready, judged by its statistics.

    Envoy is ready when it has accepted clusters (CDS) and listeners (LDS) at least once, its
    workers have started and its state is LIVE.
    """
    for key, name in (
        ("cluster_manager.cds.update_success", "clusters"),
        ("listener_manager.lds.update_success", "listeners"),
    ):
        if not statistics.get(key):
            return Verdict(False, f"Envoy has not received its {name} from discovery yet")
    if not statistics.get("listener_manager.workers_started"):
        return Verdict(False, "Envoy's workers have not started yet")
    state = statistics.get("server.state")
    if state != LIVE:
        return Verdict(False, f"Envoy is not live: server.state is {state}, not {LIVE}")
    return Verdict(True)


def counters(text: str) -> dict[str, int]:
    """Parse the text of a `/stats` answer; return its counters and gauges by name."""
    return {m[1]: int(m[2]) for line in text.splitlines() if (m := _COUNTER.fullmatch(line))}


def active_connections(text: str, stats_port: int) -> int:
    """Parse a `/stats` answer; return the number of active connections that carry traffic.

    Connections of the admin interface and of the statistics listener do not count, nor do the
    per-worker rows, which repeat the totals.
    """
    total = 0
    for line in text.splitlines():
        match = _ACTIVE.fullmatch(line)
        if match is None or ".worker_" in match[1] or match[1].startswith("admin"):
            continue
        if not match[1].endswith(f"_{stats_port}"):
            total += int(match[2])
    return total


class EnvoyAdmin:
    """A client of Envoy's admin interface on loopback."""

    def __init__(self, port: int, stats_port: int) -> None:
        self._target = Target("127.0.0.1", port)
        self._stats_port = stats_port

    async def verdict(self) -> Verdict:
        """Return whether Envoy is ready. Without an answer from Envoy, it is not ready."""
        try:
            answer = await self._get(f"/stats?filter={_quote(READY_FILTER)}")
        except FetchError as silent:
            return Verdict(False, f"Envoy's admin interface does not answer: {silent.message}")
        return judge(counters(answer.text))

    async def live(self) -> Verdict:
        """Return whether Envoy's state is LIVE.

        This check is cheaper than `verdict`, and is enough for an Envoy that was ready before.
        """
        try:
            answer = await self._get(f"/stats?filter={_quote('^server[.]state$')}")
        except FetchError as silent:
            return Verdict(False, f"Envoy's admin interface does not answer: {silent.message}")
        state = counters(answer.text).get("server.state")
        return Verdict(state == LIVE, "" if state == LIVE else f"server.state is {state}, not 0")

    async def connections(self) -> int:
        """Return the number of active downstream connections. Raises FetchError."""
        answer = await self._get(f"/stats?filter={_quote('downstream_cx_active$')}")
        return active_connections(answer.text, self._stats_port)

    async def drain(self) -> None:
        """Tell Envoy to drain its inbound listeners gracefully. Raises FetchError."""
        await self._get("/drain_listeners?inboundonly&graceful", "POST")

    async def prometheus(self) -> bytes:
        """Return Envoy's statistics in Prometheus' text format. Raises FetchError."""
        return (await self._get("/stats/prometheus")).body

    async def _get(self, path: str, method: str = "GET") -> Response:
        answer = await fetch(self._target, path, method=method, timeout=1.0)
        if answer.status != 200:
            raise FetchError(f"{method} {path} on Envoy's admin interface: {answer.status}")
        return answer


def _quote(text: str) -> str:
    # urllib.parse could do this, but importing it costs 10 ms of start-up.
    return "".join(c if c.isalnum() or c in "._-" else f"%{ord(c):02X}" for c in text)
