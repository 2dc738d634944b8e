"""Defines the pod's identity and Envoy's settings, and checks their values without any I/O."""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lab.mesh import contract
from lab.mesh.errors import BootstrapError
from lab.mesh.grammar import proxy_grammar

_UNIX_PATH_LIMIT: Final = 107
"""Most bytes of a unix socket's path: the size of `sockaddr_un.sun_path` without its final NUL."""
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class PodIdentity:
    """The pod that this proxy belongs to.

    `ips`: the pod's addresses; the first one is part of the xDS node's id. `labels`: the pod's
    labels. `metadata`: further metadata of the xDS node, from the variables ISTIO_META_*; the keys
    are the variables' names without that prefix.
    """

    name: str
    namespace: str
    ips: tuple[str, ...]
    service_account: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    app_containers: str = ""
    workload: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EnvoySettings:
    """The settings of Envoy other than the pod's identity.

    `concurrency`: number of worker threads; 0 means one per CPU, Envoy's default.
    `drain_seconds`: how long Envoy drains a listener that was removed. `max_connections`: limit of
    downstream connections of the whole process; without a limit Envoy logs a warning.
    """

    domain: str = ""
    service_cluster: str = ""
    concurrency: int = 2
    drain_seconds: int = 45
    log_level: str = "warning"
    component_log_level: str = "misc:error"
    xds_socket: str = contract.XDS_SOCKET
    admin_port: int = contract.ENVOY_ADMIN_PORT
    stats_port: int = contract.ENVOY_STATS_PORT
    max_connections: int = 20_000
    runtime: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    override: str = ""
    """YAML or JSON that Envoy merges over its bootstrap; "" for none."""


def check(pod: PodIdentity, settings: EnvoySettings) -> None:
    """Raise BootstrapError for the first field that Envoy or discovery cannot use."""
    for name, text in (("POD_NAME", pod.name), ("POD_NAMESPACE", pod.namespace)):
        if not text or len(text) > 253 or not all(map(_DNS_LABEL.fullmatch, text.split("."))):
            raise BootstrapError(f"{name}: {text!r} is not a Kubernetes name")
    if not pod.ips:
        raise BootstrapError("INSTANCE_IP: the pod has no address")
    for address in pod.ips:
        if not _is_ip(address):
            raise BootstrapError(f"INSTANCE_IP: {address!r} is not an IP address")
    for name, port in (("adminPort", settings.admin_port), ("statsPort", settings.stats_port)):
        if not 1 <= port <= 65535:
            raise BootstrapError(f"{name}: {port} is not a TCP port (1 to 65535)")
    if settings.admin_port == settings.stats_port:
        raise BootstrapError(f"statsPort: {settings.stats_port} is also the admin port")
    most = proxy_grammar.MAX_CONCURRENCY
    if not 0 <= settings.concurrency <= most:
        raise BootstrapError(f"concurrency: {settings.concurrency} is not between 0 and {most}")
    if settings.drain_seconds < 0:
        raise BootstrapError(f"drainDuration: {settings.drain_seconds} s is negative")
    if settings.max_connections < 1:
        raise BootstrapError(f"maxConnections: {settings.max_connections} is less than 1")
    if not settings.xds_socket.startswith("/"):
        raise BootstrapError(f"xdsSocket: {settings.xds_socket!r} is not an absolute path")
    if len(settings.xds_socket.encode(errors="surrogateescape")) > _UNIX_PATH_LIMIT:
        raise BootstrapError(
            f"xdsSocket: {settings.xds_socket!r} is longer than {_UNIX_PATH_LIMIT} bytes",
            hint="a unix socket's path has that limit; choose a shorter --configPath",
        )
    for flag, read, text in (
        ("proxyLogLevel", proxy_grammar.log_level, settings.log_level),
        (
            "proxyComponentLogLevel",
            proxy_grammar.component_log_levels,
            settings.component_log_level,
        ),
    ):
        try:
            read(text)
        except ValueError as bad:
            raise BootstrapError(f"{flag}: {bad}") from bad


def _is_ip(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):  # ValueError: a NUL, or no ASCII
            continue
        return True
    return False
