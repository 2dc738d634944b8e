"""`nox -s peers -- flows-real`: the matrix of flows with the real Envoy, agent and discovery.

Sockets that stand in for the proxy can do what the product does not. Here each setting's rules meet
the product's own parts, and an application answers who called it: a connection that Envoy carried
comes from another port, or from the address that inbound traffic has.
"""

import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from lab.cluster.images.istio_programs import IstioBinaries
from lab.progress import Progress
from tests.dataplane.world import Namespace
from tests.peers import flows, flows_http, flows_matrix, flows_parts, flows_traffic
from tests.peers.flows_matrix import V4, V6, Flow, Setting
from tests.peers.result import Accepted, Result
from tests.peers.rules_world import OURS

ISSUE: Final = "A proxy that loses nothing"
AGENTS: Final = (15020, 15090)
"""Ports on which agent and Envoy answer for themselves."""


@dataclass(frozen=True)
class ExpectedFailure:
    """Flows that the product does not carry yet, by the item of the issue that will.

    `flags` of the setting, `path` and `version` of the flow; `but`: rows that come by another way.
    """

    name: str
    item: str
    flags: tuple[str, ...] = ()
    path: str = ""
    version: int = 0
    ports: tuple[int, ...] = ()
    but: tuple[str, ...] = ()

    def covers(self, setting: Setting, flow: Flow) -> bool:
        """Whether this is the reason why the flow fails under the setting."""
        return (
            set(self.flags) <= set(setting.flags)
            and self.path in setting.expected(flow)
            and self.version in (0, flow.version)
            and flow.name not in self.but
            and (not self.ports or flow.dial.port in self.ports)
        )


EXPECTED_FAILURES: Final = (
    ExpectedFailure("DNS is sent to an agent that does not answer it", "5, DNS capture",
                    ("--redirect-dns",), "pod:15053"),
    ExpectedFailure("IPv6 is sent to sockets that nobody opens (outbound)",
                    "5, IPv6-only and dual-stack pods", ("--dual-stack",), "pod:15001", 6),
    ExpectedFailure("IPv6 is sent to sockets that nobody opens (inbound)",
                    "5, IPv6-only and dual-stack pods", ("--dual-stack",), "pod:15006", 6),
    ExpectedFailure("agent and statistics listen on IPv4 alone",
                    "5, IPv6-only and dual-stack pods", (), "", 6, AGENTS),
    ExpectedFailure("no listener is transparent", "5, TPROXY", ("-m", "TPROXY"), "pod:15006",
                    but=flows_matrix.HAIRPIN),
)  # fmt: skip


def compare(_: IstioBinaries, progress: Progress) -> Result:
    """Every flow under every setting. Needs root."""
    rows = flows_matrix.flows()
    unexplained: list[str] = []
    counts: Counter[str] = Counter()
    compared = 0
    with progress.task("flows with the real proxy") as task:
        program = flows_parts.envoy(task)
        for number, setting in enumerate(flows_matrix.SETTINGS):
            task.update(setting.name, done=number, total=len(flows_matrix.SETTINGS))
            for flow, seen in zip(rows, paths(setting, rows, program), strict=True):
                compared += 1
                known = next((k for k in EXPECTED_FAILURES if k.covers(setting, flow)), None)
                wanted = expected(setting, flow)
                if (seen == wanted) == (known is None):
                    counts.update([known.name] if known else [])
                    continue
                where = f"{setting.name}: {flow.name}: expected {wanted}, seen {seen}"
                if known:
                    where += f"; it was to fail ({known.name}): take it off the list"
                unexplained.append(where)
    accepted = tuple(
        Accepted(k.name, f"an expected failure, item {k.item} of {ISSUE!r}", counts[k.name])
        for k in EXPECTED_FAILURES
    )
    return Result("flows with the real proxy", compared, accepted, tuple(unexplained))


def expected(setting: Setting, flow: Flow) -> str:
    """How the flow must be seen: by which way, and at whose side it ends."""
    path = setting.expected(flow)
    if path.startswith("failed") or flow.dial.proto == "udp":
        return path
    if flow.dial.port in AGENTS:
        return "answered"
    way = "direct" if path == flow.direct else "captured"
    side = "pod" if flow.direct.startswith("pod:") else "far"
    return f"{way}, to {side}:{flow.dial.port}"


def paths(setting: Setting, rows: list[Flow], program: Path) -> list[str]:
    """How each flow went."""
    found: dict[str, str] = {}
    mode = "TPROXY" if "TPROXY" in setting.flags else "REDIRECT"
    far = [one for one in flows_matrix.sockets("far") if one.proto == "udp"]
    with TemporaryDirectory() as folder, flows.far_reaching(uuid.uuid4().hex[:8]) as world:
        application = [(at.anywhere, port) for at in (V4, V6) for port in (80, 9000, 15008, 15021)]
        beyond = [(at.anywhere, port) for at in (V4, V6) for port in (53, 80, 443, 8443, 9090)]
        with (
            flows_http.serving(world.pod.name, "pod", application),
            flows_http.serving(world.client.name, "far", beyond),
            flows_traffic.serving(world.client.name, "far", far),
        ):
            flows_http.settle(world.pod.name)
            flows.apply(world.pod, OURS, setting, Path(folder))
            with flows_parts.running(world, program, mode):
                for side, namespace in (("pod", world.pod), ("client", world.client)):
                    mine = [one for one in rows if one.side == side]
                    found |= dict(
                        zip((one.name for one in mine), _seen(namespace, mine), strict=True)
                    )
    return [found[one.name] for one in rows]


def _seen(namespace: Namespace, rows: list[Flow]) -> list[str]:
    return flows_http.dial(namespace.name, [one.dial for one in rows])
