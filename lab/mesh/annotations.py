"""The pod annotations that shape a sidecar: their names, what each may hold, what they mean.

Names and accepted values are Istio's. A value that cannot be honoured refuses the pod and
names the annotation; the annotations in USED are taken as they are.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lab.mesh import proxy_config, yaml_reader
from lab.mesh.errors import AnnotationError

SIDECAR: Final = "sidecar.istio.io/"
TRAFFIC: Final = "traffic.sidecar.istio.io/"
READINESS: Final = "readiness.status.sidecar.istio.io/"
INTERCEPTION_MODE: Final = SIDECAR + "interceptionMode"
PROXY_CPU: Final = SIDECAR + "proxyCPU"
PROXY_MEMORY: Final = SIDECAR + "proxyMemory"
PROXY_CPU_LIMIT: Final = SIDECAR + "proxyCPULimit"
PROXY_MEMORY_LIMIT: Final = SIDECAR + "proxyMemoryLimit"
STATUS_PORT: Final = "status.sidecar.istio.io/port"
INITIAL_DELAY: Final = READINESS + "initialDelaySeconds"
PERIOD: Final = READINESS + "periodSeconds"
FAILURE_THRESHOLD: Final = READINESS + "failureThreshold"
INCLUDE_OUTBOUND_CIDRS: Final = TRAFFIC + "includeOutboundIPRanges"
EXCLUDE_OUTBOUND_CIDRS: Final = TRAFFIC + "excludeOutboundIPRanges"
INCLUDE_INBOUND_PORTS: Final = TRAFFIC + "includeInboundPorts"
EXCLUDE_INBOUND_PORTS: Final = TRAFFIC + "excludeInboundPorts"
INCLUDE_OUTBOUND_PORTS: Final = TRAFFIC + "includeOutboundPorts"
EXCLUDE_OUTBOUND_PORTS: Final = TRAFFIC + "excludeOutboundPorts"
EXCLUDE_INTERFACES: Final = TRAFFIC + "excludeInterfaces"
KUBEVIRT_INTERFACES: Final = TRAFFIC + "kubevirtInterfaces"
REROUTE_INTERFACES: Final = "istio.io/reroute-virtual-interfaces"
PROXY_CONFIG: Final = "proxy.istio.io/config"
OVERRIDES: Final = "proxy.istio.io/overrides"
PROXY_IMAGE: Final = SIDECAR + "proxyImage"
LOG_LEVEL: Final = SIDECAR + "logLevel"
NATIVE_SIDECAR: Final = SIDECAR + "nativeSidecar"
REWRITE_PROBES: Final = SIDECAR + "rewriteAppHTTPProbers"
RESOURCES: Final = (PROXY_CPU, PROXY_MEMORY, PROXY_CPU_LIMIT, PROXY_MEMORY_LIMIT)
MODES: Final = ("REDIRECT", "TPROXY", "NONE")

_QUANTITY: Final = re.compile(r"\+?(?:\d+(?:\.\d*)?|\.\d+)(?:[KMGTPE]i|[numkMGTPE]|[eE][-+]?\d+)?")
_INTERFACE: Final = re.compile(r"[^\s/,]{1,15}")
_DURATION_FIELDS: Final = ("drainDuration", "terminationDrainDuration")


def check(annotations: Mapping[str, str]) -> Iterator[AnnotationError]:
    """Every annotation with a value that cannot be honoured, in the order given."""
    for name, value in annotations.items():
        if (rule := RULES.get(name)) and (problem := rule(value)):
            yield AnnotationError(name, value, problem)


def csv(value: str) -> list[str]:
    """The entries of a comma-separated value; blanks around them are no part of them."""
    return [entry.strip() for entry in value.split(",")] if value.strip() else []


def _mode(value: str) -> str:
    return "" if value in MODES else f"must be one of {', '.join(MODES)}"


def _quantity(value: str) -> str:
    if _QUANTITY.fullmatch(value):
        return ""
    return "must be a quantity of Kubernetes, for instance 100m or 128Mi"


def _number(least: int, most: int) -> Callable[[str], str]:
    def rule(value: str) -> str:
        digits = value.isascii() and value.isdigit() and len(value) <= 10
        fits = digits and least <= int(value) <= most
        return "" if fits else f"must be a whole number from {least} to {most}"

    return rule


def _ports(value: str) -> str:
    port = _number(0, 65535)
    bad = [entry for entry in csv(value) if port(entry)]
    return f"{bad[0]!r} is no port; expected ports as in 80,443" if bad else ""


def _ports_or_all(value: str) -> str:
    return "" if value.strip() == "*" else _ports(value).replace("80,443", "80,443, or *")


def _cidrs(value: str) -> str:
    for entry in csv(value):
        address, slash, _ = entry.partition("/")
        try:
            ipaddress.ip_network(entry, strict=False)
            usable = bool(slash) and "%" not in address
        except ValueError:
            usable = False
        if not usable:
            return f"{entry!r} is no CIDR; expected ranges as in 10.0.0.0/8,fd00::/8"
    return ""


def _cidrs_or_all(value: str) -> str:
    return "" if value.strip() == "*" else _cidrs(value).replace("fd00::/8", "fd00::/8, or *")


def _interfaces(value: str) -> str:
    bad = [entry for entry in csv(value) if not _INTERFACE.fullmatch(entry)]
    return f"{bad[0]!r} is no interface; expected names as in eth1,tap0" if bad else ""


def _config(value: str) -> str:
    return _read_config(value)[1]


RULES: Final[dict[str, Callable[[str], str]]] = {
    INTERCEPTION_MODE: _mode,
    **dict.fromkeys(RESOURCES, _quantity),
    STATUS_PORT: _number(0, 65535),
    INITIAL_DELAY: _number(0, 2**31 - 1),
    PERIOD: _number(1, 2**31 - 1),
    FAILURE_THRESHOLD: _number(1, 2**31 - 1),
    INCLUDE_OUTBOUND_CIDRS: _cidrs_or_all,
    EXCLUDE_OUTBOUND_CIDRS: _cidrs,
    INCLUDE_INBOUND_PORTS: _ports_or_all,
    EXCLUDE_INBOUND_PORTS: _ports,
    EXCLUDE_OUTBOUND_PORTS: _ports,
    EXCLUDE_INTERFACES: _interfaces,
    KUBEVIRT_INTERFACES: _interfaces,
    REROUTE_INTERFACES: _interfaces,
    PROXY_CONFIG: _config,
}
"""What an annotation may hold: from its value to what is wrong with it, "" if nothing is."""


@dataclass(frozen=True)
class ProxyConfig:
    """What proxy.istio.io/config says; `fields` is all of it, for the agent."""

    fields: Mapping[str, Any]

    @property
    def hold(self) -> bool | None:
        """holdApplicationUntilProxyStarts, None where it is not given."""
        value = self.fields.get("holdApplicationUntilProxyStarts")
        return value if isinstance(value, bool) else None

    @property
    def metadata(self) -> dict[str, str]:
        """proxyMetadata: more environment of the proxy, values as text."""
        return {
            key: _spoken(value) for key, value in (self.fields.get("proxyMetadata") or {}).items()
        }

    @property
    def environment(self) -> str:
        """The value of PROXY_CONFIG: JSON, keys sorted so that equal settings are equal text."""
        return json.dumps(self.fields, separators=(",", ":"), sort_keys=True)


def config(annotations: Mapping[str, str]) -> ProxyConfig:
    """Read proxy.istio.io/config (YAML or JSON). Raises AnnotationError."""
    value = annotations.get(PROXY_CONFIG, "")
    found, problem = _read_config(value)
    if problem:
        raise AnnotationError(PROXY_CONFIG, value, problem)
    return ProxyConfig(found)


def _read_config(value: str) -> tuple[dict[str, Any], str]:
    reading = yaml_reader.read(value)
    if reading.problems:
        first = reading.problems[0]
        return {}, f"line {first.line}: {first.text}"
    found = reading.value if reading.value is not None else {}
    if not isinstance(found, dict):
        return {}, "must be a mapping, as in holdApplicationUntilProxyStarts: true"
    for key, entry in found.items():
        if problem := _config_problem(key, entry):
            return {}, problem
    return found, ""


def _config_problem(key: str, entry: Any) -> str:
    if key not in proxy_config.KNOWN and key not in proxy_config.ELSEWHERE:
        return f"field {key!r} is not part of a ProxyConfig"
    expected = {**proxy_config.KNOWN, "holdApplicationUntilProxyStarts": bool}.get(key)
    if expected is not None and (
        not isinstance(entry, expected) or (expected is int and isinstance(entry, bool))
    ):
        wanted = {dict: "a mapping", bool: "true or false", int: "a whole number"}
        kind = wanted.get(expected, "text") if isinstance(expected, type) else "a plain value"
        return f"field {key!r} must be {kind}"
    if isinstance(entry, dict) and expected is dict:
        for name, inner in entry.items():
            if isinstance(inner, dict | list) or inner is None:
                return f"field {key}.{name} must be a plain value"
    if key == "concurrency" and not 0 <= entry <= 128:
        return "field 'concurrency' must be from 0 to 128"
    if key in _DURATION_FIELDS and not re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h))+", entry):
        return f"field {key!r} must be a duration, for instance 5s"
    try:
        json.dumps(entry, allow_nan=False)
    except ValueError:
        return f"field {key!r} holds a number that JSON cannot"
    return ""


def _spoken(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
