"""Discovery: watches the cluster and sends every sidecar its configuration.

`python3 -m lab.mesh.discovery --cert-dir DIR --root-cert FILE` serves xDS over TLS, keeps the
root certificate in every namespace, and answers health and metrics over plain HTTP. With
`--webhook-trust` it also creates, repairs and rotates the injector's certificate and caBundle.
"""

import argparse
import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lab.mesh.contract import (
    CONTROL_HEALTH_PORT,
    CONTROL_NAMESPACE,
    DISCOVERY_PORT,
    WEBHOOK_SERVICE,
)
from lab.mesh.discovery import xds_server
from lab.mesh.discovery.registry import Registry, stopped
from lab.mesh.discovery.resources import SHORT
from lab.mesh.discovery.xds_server import STOP_SECONDS, Hub
from lab.mesh.errors import DiscoveryError, SidecarLabError
from lab.mesh.http_server import METRICS, HttpAnswer, HttpServer, Pages, serving_pages
from lab.mesh.kubernetes_watch import connect
from lab.mesh.trust.root_certificate import Trust
from lab.mesh.trust.webhook_plan import Action
from lab.mesh.trust.webhook_trust import WebhookTrust

log = logging.getLogger("lab.mesh.discovery")

_EXAMPLES = """examples:
  in a pod:       python3 -m lab.mesh.discovery --cert-dir /etc/sidecar-lab/tls \\
                    --root-cert /etc/sidecar-lab/tls/ca.crt
  in a checkout:  python3 -m lab.mesh.discovery --kubeconfig .lab/sidecar-lab/kubeconfig \\
                    --cert-dir certificates --root-cert certificates/ca.crt --health-port 18080
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(
        prog="discovery",
        description="Serve Envoy's configuration (xDS) from Kubernetes Services.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = result.add_argument
    add("--port", type=int, default=DISCOVERY_PORT, help="xDS over TLS (default %(default)s)")
    add(
        "--health-port",
        type=int,
        default=CONTROL_HEALTH_PORT,
        help="/healthz /readyz /metrics; on loopback also /debug/snapshot and /debug/proxies "
        "(default %(default)s)",
    )
    add("--cert-dir", type=Path, required=True, help="holds tls.crt and tls.key; re-read")
    add("--root-cert", type=Path, required=True, help="PEM file of the CA that sidecars trust")
    add(
        "--webhook-trust",
        action="store_true",
        help="keep the webhook's certificate and caBundle (for one discovery only)",
    )
    add("--kubeconfig", type=Path, help="default: the pod's service account, else $KUBECONFIG")
    add("--verbose", action="store_true", help="log every request of every sidecar")
    return result


def pages(hub: Hub, registry: Registry, trust: Trust, webhook: WebhookTrust) -> Pages:
    """Return the pages of the health port."""

    def ready() -> HttpAnswer:
        if hub.closing:
            return HttpAnswer.say(503, "stopping")
        if hub.catalog is None:
            why = "; ".join(registry.problems) or "making the first snapshot"
            return HttpAnswer.say(503, f"not synced: {why}")
        return HttpAnswer.say(200, "ok")

    def snapshot() -> HttpAnswer:
        content = asdict(hub.catalog.snapshot) if hub.catalog else {}
        text = json.dumps(content, indent=1) + "\n"
        return HttpAnswer(200, text.encode(), "application/json")

    def proxies() -> HttpAnswer:
        text = json.dumps(hub.status(), indent=1) + "\n"
        return HttpAnswer(200, text.encode(), "application/json")

    return {
        "/healthz": lambda: HttpAnswer.say(200, "ok"),
        "/readyz": ready,
        "/metrics": lambda: HttpAnswer(
            200, metrics(hub, registry, trust, webhook).encode(), METRICS
        ),
        "/debug/snapshot": snapshot,
        "/debug/proxies": proxies,
    }


def metrics(hub: Hub, registry: Registry, trust: Trust, webhook: WebhookTrust) -> str:
    """Return the metrics as Prometheus text."""
    counts, prefix = hub.counts, "sidecar_lab_discovery_"
    lines = [f"{prefix}streams {counts.streams}", f"{prefix}snapshots_total {counts.snapshots}"]
    for name, counter in (("pushes", counts.pushes), ("nacks", counts.nacks)):
        lines += [
            f'{prefix}{name}_total{{type="{kind}"}} {counter[kind]}' for kind in SHORT.values()
        ]
    refused = hub.refused()
    lines += [f'{prefix}refused_now{{type="{kind}"}} {refused[kind]}' for kind in SHORT.values()]
    lines.append(f"{prefix}build_seconds_total {counts.build_seconds:.6f}")
    lines.append(f"{prefix}push_seconds_total {counts.push_seconds:.6f}")
    lines.append(f"{prefix}root_certificates_written_total {trust.written}")
    labels = [action.value for action in Action if action is not Action.NONE]
    for what in (*labels, "bundles"):
        lines.append(f'{prefix}webhook_trust_total{{what="{what}"}} {webhook.counts[what]}')
    for fold in (registry.services, registry.slices):
        lines.append(f'{prefix}objects_left_out{{kind="{fold.kind}"}} {len(fold.problems)}')
    if hub.catalog is not None:
        sizes = {
            "services": len(hub.catalog.snapshot.services),
            "slices": len(hub.catalog.snapshot.slices),
            **hub.catalog.sizes,
        }
        lines += [f'{prefix}size{{of="{name}"}} {size}' for name, size in sizes.items()]
    return "\n".join(lines) + "\n"


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT; then end the streams, so that sidecars reconnect."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    hub = Hub()
    client = connect(options.kubeconfig)
    trust = Trust(client, options.root_cert)
    registry = Registry(client, hub.publish, trust)
    webhook = WebhookTrust(client, lambda: registry.serving(CONTROL_NAMESPACE, WEBHOOK_SERVICE))
    bound = await xds_server.serve(hub, options.cert_dir, options.port)
    try:
        listener = socket.create_server(("", options.health_port))
    except OSError as failure:
        raise DiscoveryError(
            f"health port {options.health_port} cannot be listened on: {failure}",
            hint="another process may have it; pass another --health-port",
        ) from failure
    health = HttpServer(
        listener, serving_pages(pages(hub, registry, trust, webhook), local="/debug/")
    )
    await health.start()
    tasks = [asyncio.create_task(registry.run())]
    if options.webhook_trust:
        tasks.append(asyncio.create_task(webhook.run()))
    stopping = asyncio.create_task(stop.wait())
    log.info("serving xDS on %d, health on %d", options.port, options.health_port)
    await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    hub.close()
    await bound.server.stop(STOP_SECONDS)
    health.close()
    for task in tasks:
        if task.done():
            task.result()  # raises the error: without one a task never ends by itself
        await stopped(task)
    await client.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stdout,
    )
    for noisy in ("httpx2", "httpcore2", "asyncio", "grpc"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        asyncio.run(run(options))
    except SidecarLabError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0
