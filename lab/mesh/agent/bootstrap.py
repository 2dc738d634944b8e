"""Builds Envoy's bootstrap and command line from the pod's identity and settings. Pure.

Sources: Envoy's v3 API (`envoy.config.bootstrap.v3.Bootstrap`); node id and metadata as
Istio's agent sends them. The same input gives the same bytes, so a changed bootstrap always
means a changed configuration.
"""

import json
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.errors import BootstrapError
from lab.mesh.grammar import proxy_grammar

XDS_CLUSTER: Final = "xds-grpc"
STATS_CLUSTER: Final = "prometheus_stats"
LOG_FORMAT: Final = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"
_UNIX_PATH_LIMIT: Final = 107
"""Bytes of `sockaddr_un.sun_path` without its final NUL."""
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class PodIdentity:
    """The pod that this proxy belongs to.

    `ips`: the pod's addresses; the first one is part of the node's id. `labels`: the pod's.
    `metadata`: further node metadata (from ISTIO_META_*), keys without that prefix.
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

    `concurrency`: number of worker threads; 0 leaves it to Envoy (one per CPU). `drain_seconds`:
    how long Envoy drains a listener that was removed. `max_connections`: limit of downstream
    connections of the whole process; Envoy warns without a limit, and a sidecar of this lab needs
    few.
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


def bootstrap(pod: PodIdentity, settings: EnvoySettings) -> dict[str, Any]:
    """Return Envoy's bootstrap as plain data. Raises BootstrapError naming a bad field."""
    check(pod, settings)
    return {
        "node": node(pod, settings),
        "admin": {
            "address": _address("127.0.0.1", settings.admin_port),
            # The connection limit below must not apply to the agent's own requests.
            "ignore_global_conn_limit": True,
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {
                            "cluster_name": XDS_CLUSTER,
                            # Envoy's default backs off up to 30 s, but a change has to arrive
                            # within 5 s even right after discovery came back.
                            "retry_policy": {
                                "retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}
                            },
                        }
                    }
                ],
            },
            "lds_config": _ads(),
            "cds_config": _ads(),
        },
        "static_resources": {
            "listeners": [_stats_listener(settings.stats_port)],
            "clusters": [_xds_cluster(settings.xds_socket), _stats_cluster(settings.admin_port)],
        },
        "layered_runtime": {
            "layers": [
                {"name": "static", "static_layer": dict(settings.runtime)},
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors."
                        "downstream_connections.v3.DownstreamConnectionsConfig",
                        "max_active_downstream_connections": settings.max_connections,
                    },
                }
            ]
        },
        "stats_config": {"use_all_default_tags": True},
    }


def render(document: Mapping[str, Any]) -> str:
    """Return the bootstrap as text: indented for people, keys sorted so that it is stable."""
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def node(pod: PodIdentity, settings: EnvoySettings) -> dict[str, Any]:
    """Return the xDS node: the id and metadata by which discovery identifies the pod."""
    domain = settings.domain or f"{pod.namespace}.svc.{contract.CLUSTER_DOMAIN}"
    metadata: dict[str, Any] = dict(pod.metadata)
    metadata |= {
        "NAME": pod.name,
        "NAMESPACE": pod.namespace,
        "LABELS": dict(pod.labels),
        "INSTANCE_IPS": ",".join(pod.ips),
        "SERVICE_ACCOUNT": pod.service_account,
        "APP_CONTAINERS": pod.app_containers,
        "WORKLOAD_NAME": pod.workload or pod.name,
    }
    return {
        "id": f"sidecar~{pod.ips[0]}~{pod.name}.{pod.namespace}~{domain}",
        "cluster": settings.service_cluster or default_cluster(pod),
        "metadata": metadata,
    }


def default_cluster(pod: PodIdentity) -> str:
    """Return `<app>.<namespace>`; the workload's or pod's name replaces a missing label `app`."""
    return f"{pod.labels.get('app') or pod.workload or pod.name}.{pod.namespace}"


def envoy_arguments(binary: str, config: str, settings: EnvoySettings) -> list[str]:
    """Return Envoy's argv for the bootstrap file `config`."""
    argv = [
        binary,
        *("-c", config),
        *("--drain-time-s", str(settings.drain_seconds)),
        *("--drain-strategy", "immediate"),
        "--disable-hot-restart",
        *("--local-address-ip-version", "v4"),
        *("--file-flush-interval-msec", "1000"),
        *("--log-format", LOG_FORMAT),
        *("-l", settings.log_level),
    ]
    if settings.component_log_level:
        argv += ["--component-log-level", settings.component_log_level]
    if settings.concurrency:
        argv += ["--concurrency", str(settings.concurrency)]
    if settings.override:
        argv += ["--config-yaml", settings.override]
    return argv


def check(pod: PodIdentity, settings: EnvoySettings) -> None:
    """Raise BootstrapError for the first field that Envoy or discovery cannot use."""
    for name, text in (("POD_NAME", pod.name), ("POD_NAMESPACE", pod.namespace)):
        if not text or len(text) > 253 or not all(map(_DNS_LABEL.fullmatch, text.split("."))):
            raise BootstrapError(f"{name}: {text!r} is no Kubernetes name")
    if not pod.ips:
        raise BootstrapError("INSTANCE_IP: the pod has no address")
    for address in pod.ips:
        if not _is_ip(address):
            raise BootstrapError(f"INSTANCE_IP: {address!r} is no IP address")
    for name, port in (("adminPort", settings.admin_port), ("statsPort", settings.stats_port)):
        if not 1 <= port <= 65535:
            raise BootstrapError(f"{name}: {port} is no TCP port (1 to 65535)")
    if settings.admin_port == settings.stats_port:
        raise BootstrapError(f"statsPort: {settings.stats_port} is the admin port already")
    most = proxy_grammar.MAX_CONCURRENCY
    if not 0 <= settings.concurrency <= most:
        raise BootstrapError(f"concurrency: {settings.concurrency} is not between 0 and {most}")
    if settings.drain_seconds < 0:
        raise BootstrapError(f"drainDuration: {settings.drain_seconds} s is negative")
    if settings.max_connections < 1:
        raise BootstrapError(f"maxConnections: {settings.max_connections} is less than 1")
    if not settings.xds_socket.startswith("/"):
        raise BootstrapError(f"xdsSocket: {settings.xds_socket!r} is no absolute path")
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


def _ads() -> dict[str, Any]:
    # 0 s: wait for discovery without limit. A proxy without its configuration would pass traffic
    # that the mesh routes elsewhere; the readiness probe reports that it is still waiting.
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def _address(ip: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": ip, "port_value": port}}


def _endpoints(cluster: str, addresses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "cluster_name": cluster,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": dict(a)}} for a in addresses]}],
    }


def _xds_cluster(path: str) -> dict[str, Any]:
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                # No HTTP/2 keepalive: a gRPC server answers frequent pings with GOAWAY. The agent
                # watches its TCP connection instead.
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": _endpoints(XDS_CLUSTER, [{"pipe": {"path": path}}]),
    }


def _stats_cluster(admin_port: int) -> dict[str, Any]:
    return {
        "name": STATS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": _endpoints(STATS_CLUSTER, [_address("127.0.0.1", admin_port)]),
    }


def _stats_listener(port: int) -> dict[str, Any]:
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network."
        "http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "stats",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
                },
            }
        ],
        "route_config": {
            "name": "stats",
            "virtual_hosts": [
                {
                    "name": "stats",
                    "domains": ["*"],
                    # Nothing else of the admin interface may be reached from outside the pod.
                    "routes": [
                        {
                            "match": {"path": "/stats/prometheus"},
                            "route": {"cluster": STATS_CLUSTER},
                        }
                    ],
                }
            ],
        },
    }
    return {
        "name": "stats",
        "address": _address("0.0.0.0", port),  # noqa: S104  scrapers come from outside the pod
        # One socket, not one for each worker: `netstat` shows the port once.
        "enable_reuse_port": False,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
