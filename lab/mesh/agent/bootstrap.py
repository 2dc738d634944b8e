"""Builds Envoy's bootstrap and command line from the pod's identity and settings.

Does no I/O. Sources: Envoy's v3 API (`envoy.config.bootstrap.v3.Bootstrap`); Istio's agent, for the
id and metadata of the xDS node (the pod's identity towards discovery). The same input gives the
same bytes, so a changed bootstrap always means a changed configuration.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.agent.envoy_settings import EnvoySettings, PodIdentity, check

XDS_CLUSTER: Final = "xds-grpc"
STATS_CLUSTER: Final = "prometheus_stats"
LOG_FORMAT: Final = "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t"


def bootstrap(pod: PodIdentity, settings: EnvoySettings) -> dict[str, Any]:
    """Return Envoy's bootstrap as a dict. Raises BootstrapError naming an invalid setting."""
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
    """Return the bootstrap as indented JSON; sorted keys give equal bootstraps equal text."""
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
    """Return the default of the xDS node's field `cluster`: `<app>.<namespace>`.

    `<app>` is the value of the pod's label `app`; without that label it is the workload's name, or
    else the pod's name.
    """
    return f"{pod.labels.get('app') or pod.workload or pod.name}.{pod.namespace}"


def envoy_arguments(binary: str, config: str, settings: EnvoySettings) -> list[str]:
    """Return the command line that starts `binary`, Envoy, with the bootstrap file `config`."""
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
