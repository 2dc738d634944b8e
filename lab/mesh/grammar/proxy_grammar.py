"""Parses the settings of agent and Envoy: text → value. Pure; needs only the standard library.

The injector checks annotations with this module, and the agent parses its own and Envoy's settings
with it, so both accept the same texts. For any other text, a parser raises ValueError, which states
what was expected.
"""

import re
from typing import Final

from lab.mesh.grammar.traffic_grammar import shown

LOG_LEVELS: Final = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")
AGENT_LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal", "none")
_LOGGERS: Final = """
    a2a admin ai_protocol_manager alternate_protocols_cache aws assert backtrace basic_auth
    cache_filter client config connection conn_handler compression credential_injector decompression
    dns dubbo envoy_bug ext_authz ext_proc rocketmq file filter forward_proxy geolocation grpc
    happy_eyeballs hc health_checker http http2 hystrix init io jwt json_rpc kafka key_value_store
    lua local_rate_limit main matcher mcp misc mongo multi_connection notification oauth2 quic
    quic_stream pool rate_limit_quota rbac rds redis router runtime stats secret sse tap testing
    thrift tracing upstream udp wasm websocket golang stats_sinks dynamic_modules
    ip_tagging"""
LOGGERS: Final = frozenset(_LOGGERS.split())
"""Envoy's components that can have a log level. Envoy does not start if another is named."""
MAX_DRAIN: Final = 24 * 60 * 60
"""The longest drain time, in seconds: one day. Envoy's own limit, 2^32, is never needed."""
MAX_CONCURRENCY: Final = 128
_SCOPE: Final = r"(?:[A-Za-z][\w.-]*)?"
_DURATION: Final = r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+"
_DURATION_PART: Final = r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)"
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def log_level(text: str) -> str:
    """Returns the text if it is a log level of Envoy."""
    if text not in LOG_LEVELS:
        raise ValueError(f"expected one of {', '.join(LOG_LEVELS)}, found {shown(text)}")
    return text


def component_log_levels(text: str) -> dict[str, str]:
    """Parses log levels of Envoy's components, such as misc:error,http:debug, into a mapping."""
    levels = {}
    for entry in text.split(",") if text else ():
        component, _, level = entry.partition(":")
        if component not in LOGGERS or level not in LOG_LEVELS:
            raise ValueError(
                f"expected components of Envoy with their log levels, as in misc:error,http:debug, "
                f"found {shown(entry)}"
            )
        levels[component] = level
    return levels


def agent_log_level(text: str) -> str:
    """Parses comma-separated entries; returns the LEVEL of the last one, which the agent uses.

    An entry is LEVEL or SCOPE:LEVEL.
    """
    level = ""
    for entry in text.split(","):
        scope, _, level = entry.rpartition(":")
        # The agent would take a value that starts with a dash for a flag.
        if level not in AGENT_LOG_LEVELS or not re.fullmatch(_SCOPE, scope):
            levels = ", ".join(AGENT_LOG_LEVELS)
            raise ValueError(f"expected default:LEVEL, LEVEL one of {levels}, found {shown(entry)}")
    return level


def seconds(text: str) -> float:
    """Parses a duration of at most a day in Go's notation ("1m30s", "500ms") into seconds."""
    fits = len(text) <= 50 and re.fullmatch(_DURATION, text)
    total = (
        sum(float(count) * _UNITS[unit] for count, unit in re.findall(_DURATION_PART, text))
        if fits
        else MAX_DRAIN + 1
    )
    if total > MAX_DRAIN:
        raise ValueError(
            f"expected a duration of at most a day, for instance 5s or 500ms, found {shown(text)}"
        )
    return total


def host_port(text: str) -> tuple[str, int]:
    """Parses `host:port` into host and port; an IPv6 host must be in brackets."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    usable = bool(host and host.isascii()) and not re.search(r"[\s/@\[\]]", host)
    usable = usable and (":" in host) == bracketed and not host.startswith("-")
    if not usable or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536:
        raise ValueError(f"expected host:port, found {shown(text)}")
    return host, int(port)
