"""The program `pilot-agent`: PID 1 of the container istio-proxy.

It has the four duties that the walkthrough names: talk to discovery for Envoy, write Envoy's
start-up configuration, start Envoy, and supervise it.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lab.mesh import contract
from lab.mesh.agent import proxy_config, settings, start
from lab.mesh.agent.settings import Flags
from lab.mesh.errors import SidecarLabError

_EXAMPLES = """examples:
  pilot-agent proxy sidecar --domain default.svc.cluster.local
  pilot-agent request GET /healthz/ready
  pilot-agent wait --timeoutSeconds 10

from a checkout, without a pod:
  POD_NAME=demo POD_NAMESPACE=default INSTANCE_IP=127.0.0.1 \\
  python3 -m lab.mesh.agent proxy sidecar --configPath /tmp/demo --binaryPath "$(which envoy)" \\
    --discoveryAddress localhost:15012 --rootCert ca.pem

signals: TERM, INT, QUIT drain and end (twice: at once); HUP reads the configuration again;
USR1 and USR2 go to Envoy.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        "pilot-agent", description="Envoy's companion in a pod.", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    commands = top.add_subparsers(dest="command", required=True)
    proxy = commands.add_parser(
        "proxy", help="run Envoy and supervise it", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        description="Run Envoy. Each of these overrides the next: the pod's annotation "
        "proxy.istio.io/config, PROXY_CONFIG, --proxyConfig, the flags.",
    )  # fmt: skip
    proxy.add_argument("role", choices=["sidecar"], nargs="?", default="sidecar")
    default = Flags()
    for name, about in (
        ("domain", "DNS domain of the pod's namespace (<namespace>.svc.cluster.local)"),
        ("configPath", "folder for the bootstrap and the xDS socket"),
        ("binaryPath", "the Envoy to run"),
        ("discoveryAddress", "host:port of discovery; the connection uses TLS"),
        ("serviceCluster", "name of the service this proxy belongs to (<app>.<namespace>)"),
        ("proxyLogLevel", "Envoy's log level"),
        ("proxyComponentLogLevel", "Envoy's log levels of single components"),
        ("concurrency", "Envoy's worker threads; 0: one per CPU"),
        ("drainDuration", "how long Envoy drains a removed listener"),
        ("terminationDrainDuration", "shortest time that the proxy of a pod outlives SIGTERM"),
        ("podInfoDir", "folder of the downward API files `labels` and `annotations`"),
        ("rootCert", "PEM file of the CA that signed discovery's certificate"),
        ("proxyConfig", "file with a ProxyConfig, JSON or plain YAML"),
        ("xdsSocket", "unix socket for Envoy's xDS (<configPath>/XDS)"),
        ("agentPort", "port of health and metrics, on every address"),
        ("adminPort", "port of Envoy's admin interface, on loopback"),
        ("statsPort", "port of Envoy's Prometheus statistics"),
        ("readyHold", "how long a readiness answer waits while Envoy is starting"),
    ):
        value = getattr(default, _field(name))
        description = f"{about}; default {value}" if value != "" else about
        proxy.add_argument(
            f"--{name}", dest=_field(name), default=value, type=type(value),
            help=description,
            metavar="N" if isinstance(value, int) else "VALUE",
        )  # fmt: skip
    proxy.add_argument(
        "--log_output_level", default="default:info", metavar="VALUE",
        help="the agent's own log level, as LEVEL or default:LEVEL; default info",
    )  # fmt: skip
    request = commands.add_parser(
        "request", help="send one request to the agent, for people and hooks"
    )
    request.add_argument("method", choices=["GET", "POST"])
    request.add_argument("path")
    waiting = commands.add_parser("wait", help="wait until the proxy is ready")
    waiting.add_argument("--timeoutSeconds", type=float, default=60.0)
    waiting.add_argument("--periodMillis", type=float, default=200.0)
    for command in (request, waiting):
        command.add_argument("--agentPort", type=int, default=contract.AGENT_PORT)
    return top


def _field(flag: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in flag)


def proxy(arguments: argparse.Namespace, *, in_pod: bool) -> None:
    """Run the command `proxy sidecar` until the agent ends. Raises SidecarLabError.

    `in_pod`: whether this is a pod. There, each socket that belongs neither to the agent nor to
    Envoy is the application's.
    """
    flags = Flags(**{name: getattr(arguments, name) for name in Flags.__dataclass_fields__})
    _log_to_stderr(arguments.log_output_level)
    log = logging.getLogger("pilot-agent")
    file_signature = start.signature(settings.watched(flags))
    plan = settings.decide(settings.read(flags), starting=True)
    if plan.passed_over:
        log.warning("PROXY_CONFIG is used instead of the annotation: %s", plan.passed_over)
    hold = proxy_config.seconds(flags.ready_hold, "readyHold")
    config = start.write_revision(Path(flags.config_path), 0, plan.bootstrap)
    log.info("wrote %s", config)
    # The sockets are open before Envoy runs, so its first attempt succeeds.
    with start.listen_unix(plan.envoy.xds_socket) as xds:
        with start.listen_tcp(flags.agent_port) as http:
            # A signal waits until the handlers are installed; PID 1 would lose it. The launcher
            # blocks them earlier; this is for a start from a checkout.
            signal.pthread_sigmask(signal.SIG_BLOCK, start.HANDLED_SIGNALS)
            pid = start.spawn(plan.arguments(flags.binary_path, config))
            # Imported only now: asyncio and ssl take as long to load as Envoy takes to start.
            from lab.mesh.agent import runtime

            started = runtime.Started(flags, plan, file_signature, xds, http, pid, config, in_pod)
            runtime.serve(started, hold)
        Path(plan.envoy.xds_socket).unlink(missing_ok=True)
    log.info("ended")


def _log_to_stderr(level: str) -> None:
    name = level.rpartition(":")[2].upper()
    known = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
    name = {"WARN": "WARNING", "FATAL": "CRITICAL", "NONE": "CRITICAL"}.get(name, name)
    if name not in known:
        raise SidecarLabError(
            f"--log_output_level: {level!r} is not a log level", hint="for example info or debug"
        )
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ\t%(levelname)s\t%(name)s\t%(message)s")
    formatter.converter, formatter.default_time_format = time.gmtime, "%Y-%m-%dT%H:%M:%S"
    formatter.default_msec_format = ""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=name)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def main(argv: Sequence[str] | None = None, *, in_pod: bool = False) -> int:
    """Run the program; return its exit code: 0 success, 1 error, 2 wrong command line.

    `in_pod`: whether this is a pod. There, each socket that belongs neither to the agent nor to
    Envoy is the application's.
    """
    arguments = parser().parse_args(argv)
    try:
        if arguments.command == "proxy":
            proxy(arguments, in_pod=in_pod)
            return 0
        # The launcher blocks them for the long-running program alone.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, start.HANDLED_SIGNALS)
        from lab.mesh.agent import client

        if arguments.command == "wait":
            return client.wait(
                arguments.agentPort, arguments.timeoutSeconds, arguments.periodMillis / 1000
            )
        return client.request(arguments.agentPort, arguments.method, arguments.path)
    except SidecarLabError as error:
        sys.stderr.write(f"error: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        return error.exit_code


def launch() -> NoReturn:
    """Run as the image's entry point: set the process title, run `main`, and exit."""
    start.set_title([contract.PILOT_AGENT_PATH, *sys.argv[1:]])
    code = main(in_pod=True)
    # Nothing is left to clean up, and an orderly end of the interpreter costs the pod 20 ms.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
