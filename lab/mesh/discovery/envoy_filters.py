"""Makes the Envoy filters that listeners share: HTTP, TCP, inspection, access log.

Pure: plain arguments in, xds-protos messages out.
"""

from collections.abc import Iterable
from typing import Any, Final

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions
from envoy.config.listener.v3.listener_components_pb2 import (
    Filter,
    FilterChain,
    FilterChainMatch,
    ListenerFilter,
    ListenerFilterChainMatchPredicate,
)
from envoy.config.route.v3.route_components_pb2 import (
    RetryPolicy,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as hcm_pb2,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.type.v3.range_pb2 import Int32Range
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

SNIFFED_HTTP: Final = ("http/1.0", "http/1.1", "h2c")
"""Application protocols that Envoy's http_inspector reports."""
SNIFF_SECONDS: Final = 1
"""Seconds that Envoy waits for a client's first bytes; then it treats the connection as TCP."""
NO_TIMEOUT: Final = Duration()
"""0 s, which turns a timeout off: the application decides how long an answer may take."""

_ORIGIN: Final = (
    'authority="%REQ(:AUTHORITY)%" cluster="%UPSTREAM_CLUSTER_RAW%" upstream=%UPSTREAM_HOST% '
    "upstream_local=%UPSTREAM_LOCAL_ADDRESS% downstream=%DOWNSTREAM_REMOTE_ADDRESS% "
    "destination=%DOWNSTREAM_LOCAL_ADDRESS% received=%BYTES_RECEIVED% sent=%BYTES_SENT% "
    "ms=%DURATION% details=%RESPONSE_CODE_DETAILS%\n"
)
HTTP_LOG: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
    + _ORIGIN
)
"""Format of one log line per request, on the proxy's stdout."""
TCP_LOG: Final = '[%START_TIME%] "TCP" - %RESPONSE_FLAGS% ' + _ORIGIN.replace(
    "%REQ(:AUTHORITY)%", "-"
)
"""Format of one log line per connection, written when it closes."""


def packed(message: Any) -> AnyMessage:
    """Return a message as google.protobuf.Any; equal messages give equal bytes."""
    wrapper = AnyMessage()
    wrapper.Pack(message, deterministic=True)
    return wrapper


def ads() -> ConfigSource:
    """Return the source of a resource that comes over the same stream as all others (ADS).

    Envoy waits for the resource without a time limit. If it stopped waiting, it would become ready
    without its endpoints or routes, and answer 503. The wait ends, because discovery answers a
    request for any name, even if it does not know the name or Envoy refuses the resource.
    """
    return ConfigSource(
        ads=AggregatedConfigSource(),
        resource_api_version=ApiVersion.V3,
        initial_fetch_timeout=Duration(seconds=0),
    )


def address(ip: str, port: int) -> Address:
    """Return a TCP address; `ip` "0.0.0.0" means every IPv4 address."""
    return Address(socket_address=SocketAddress(address=ip, port_value=port))


def route_to(cluster: str, *, name: str) -> Route:
    """Return a route of all requests to `cluster`; Envoy retries those that no server processed."""
    action = RouteAction(cluster=cluster, timeout=NO_TIMEOUT, max_grpc_timeout=NO_TIMEOUT)
    action.retry_policy.CopyFrom(
        RetryPolicy(retry_on="connect-failure,refused-stream", num_retries=UInt32Value(value=2))
    )
    return Route(name=name, match=RouteMatch(prefix="/"), route=action)


def virtual_host(name: str, domains: Iterable[str], cluster: str) -> VirtualHost:
    """Return a virtual host that routes every path of `domains` to `cluster`."""
    routes = [route_to(cluster, name=name)]
    return VirtualHost(
        name=name, domains=list(domains), routes=routes, include_request_attempt_count=False
    )


def routes(name: str, hosts: Iterable[VirtualHost]) -> RouteConfiguration:
    """Return a route table of `hosts`; it ignores the port in a request's Host header."""
    return RouteConfiguration(
        name=name,
        virtual_hosts=list(hosts),
        ignore_port_in_host_matching=True,
        validate_clusters=BoolValue(value=False),
    )


def http_filter(
    stat_prefix: str, *, rds: str = "", inline: RouteConfiguration | None = None
) -> Filter:
    """Return the filter that handles HTTP/1 and HTTP/2.

    It uses the route table `inline`, or else the one named `rds`, which Envoy gets from discovery.
    It adds `server: envoy` to answers, logs every request and passes WebSocket upgrades.
    """
    manager = hcm_pb2.HttpConnectionManager(
        stat_prefix=stat_prefix,
        codec_type=hcm_pb2.HttpConnectionManager.AUTO,
        server_name="envoy",
        stream_idle_timeout=NO_TIMEOUT,
        http_protocol_options=Http1ProtocolOptions(accept_http_10=True),
        upgrade_configs=[hcm_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        access_log=[access_log(HTTP_LOG)],
        http_filters=[
            hcm_pb2.HttpFilter(name="envoy.filters.http.router", typed_config=packed(Router()))
        ],
    )
    if inline is not None:
        manager.route_config.CopyFrom(inline)
    else:
        manager.rds.CopyFrom(hcm_pb2.Rds(config_source=ads(), route_config_name=rds))
    return Filter(
        name="envoy.filters.network.http_connection_manager", typed_config=packed(manager)
    )


def tcp_filter(cluster: str, *, stat_prefix: str = "") -> Filter:
    """Return the filter that passes bytes to `cluster` and logs a connection when it closes."""
    proxy = TcpProxy(
        stat_prefix=stat_prefix or cluster, cluster=cluster, access_log=[access_log(TCP_LOG)]
    )
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=packed(proxy))


def access_log(line: str) -> AccessLog:
    """Return an access log that writes `line` to the proxy container's stdout."""
    log = FileAccessLog(path="/dev/stdout")
    log.log_format.text_format_source.inline_string = line
    return AccessLog(name="envoy.access_loggers.file", typed_config=packed(log))


def chain(
    name: str, network_filter: Filter, *, port: int | None = None, sniffed_http: bool = False
) -> FilterChain:
    """Return a filter chain.

    With `port`, it is only for this destination port. With `sniffed_http`, it is only for
    connections in which HTTP was detected. With neither, it is for all other connections.
    """
    match = FilterChainMatch(application_protocols=SNIFFED_HTTP if sniffed_http else ())
    if port is not None:
        match.destination_port.value = port
    return FilterChain(name=name, filter_chain_match=match, filters=[network_filter])


def sniffing(*, except_ports: Iterable[int] = ()) -> ListenerFilter:
    """Return the filter that detects HTTP in the first bytes, except on `except_ports`."""
    inspector = ListenerFilter(
        name="envoy.filters.listener.http_inspector", typed_config=packed(HttpInspector())
    )
    rules = [
        ListenerFilterChainMatchPredicate(
            destination_port_range=Int32Range(start=port, end=port + 1)
        )
        for port in sorted(set(except_ports))
    ]
    if len(rules) == 1:
        inspector.filter_disabled.CopyFrom(rules[0])
    elif rules:
        inspector.filter_disabled.or_match.rules.extend(rules)
    return inspector


def original_destination() -> ListenerFilter:
    """Return the filter that restores the address which the client of a connection dialled."""
    return ListenerFilter(
        name="envoy.filters.listener.original_dst", typed_config=packed(OriginalDst())
    )
