"""The pod annotations that shape a sidecar: their names, what each may hold, what they mean.

Names and accepted values are Istio's. A value that cannot be honoured refuses the pod and
names the annotation, the value and what is expected.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lab.mesh import config_annotation
from lab.mesh.config_annotation import ProxyConfig
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
COMPONENT_LOG_LEVEL: Final = SIDECAR + "componentLogLevel"
AGENT_LOG_LEVEL: Final = SIDECAR + "agentLogLevel"
BOOTSTRAP_OVERRIDE: Final = SIDECAR + "bootstrapOverride"
USER_VOLUME: Final = SIDECAR + "userVolume"
USER_VOLUME_MOUNT: Final = SIDECAR + "userVolumeMount"
TEMPLATES: Final = "inject.istio.io/templates"
MERGE_METRICS: Final = "prometheus.istio.io/merge-metrics"
NATIVE_SIDECAR: Final = SIDECAR + "nativeSidecar"
REWRITE_PROBES: Final = SIDECAR + "rewriteAppHTTPProbers"
RESOURCES: Final = (PROXY_CPU, PROXY_MEMORY, PROXY_CPU_LIMIT, PROXY_MEMORY_LIMIT)
MODES: Final = (*config_annotation.MODES, "NONE")

TEMPLATE: Final = "sidecar"
"""The one injection template of this mesh."""

# Patterns are compiled when they are first wanted, which for most manifests is never.
_QUANTITY: Final = r"\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?"
_INTERFACE: Final = r"[A-Za-z][A-Za-z0-9_.-]{0,14}"
_BITS: Final = r"0|[1-9][0-9]{0,2}"
_LOG_LEVELS: Final = ("trace", "debug", "info", "warning", "error", "critical", "off")
_AGENT_LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal", "none")
_NAME: Final = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


def check(annotations: Mapping[str, str]) -> Iterator[AnnotationError]:
    """Every annotation with a value that cannot be honoured, in the order given."""
    for name, value in annotations.items():
        if (rule := RULES.get(name)) and (problem := rule(value)):
            yield AnnotationError(name, value, problem)


def csv(value: str) -> list[str]:
    """The entries of a comma-separated value; blanks around them are no part of them."""
    return [entry.strip() for entry in value.split(",")] if value.strip() else []


def flag(value: str | None, default: bool) -> bool:
    """A truth value as Go reads it (1, t, true, ...); `default` for anything else."""
    return True if value in _TRUE else False if value in _FALSE else default


def mappings(value: str) -> dict[str, dict[str, Any]]:
    """userVolume and userVolumeMount: a JSON object of objects. Raises ValueError."""
    found = _json(value)
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ValueError("no object of objects")
    return found


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except RecursionError as deep:
        raise ValueError("nested too deep") from deep


def _mode(value: str) -> str:
    return "" if value in MODES else f"must be one of {', '.join(MODES)}"


def _quantity(value: str) -> str:
    if re.fullmatch(_QUANTITY, value):
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
    return "" if value == "*" else _ports(value).replace("80,443", "80,443, or *")


def _cidrs(value: str) -> str:
    import ipaddress  # 2 ms that few pods need

    for entry in value.split(",") if value else ():
        address, _, bits = entry.partition("/")
        try:
            most = ipaddress.ip_address(address).max_prefixlen
            usable = "%" not in address and bool(re.fullmatch(_BITS, bits)) and int(bits) <= most
        except ValueError:
            usable = False
        if not usable:
            return f"{entry!r} is no CIDR; expected ranges as in 10.0.0.0/8,fd00::/8"
    return ""


def _cidrs_or_all(value: str) -> str:
    return "" if value == "*" else _cidrs(value).replace("fd00::/8", "fd00::/8, or *")


def _interfaces(value: str) -> str:
    bad = [entry for entry in csv(value) if not re.fullmatch(_INTERFACE, entry)]
    return f"{bad[0]!r} is no interface; expected names as in eth1,tap0" if bad else ""


def _boolean(value: str) -> str:
    return "" if value in _TRUE or value in _FALSE else "must be true or false"


def _one_of(known: tuple[str, ...]) -> Callable[[str], str]:
    def rule(value: str) -> str:
        return "" if value in known else f"must be one of {', '.join(known)}"

    return rule


def _agent_log_level(value: str) -> str:
    """LEVEL, or SCOPE:LEVEL, several with commas between them."""
    for entry in value.split(","):
        level = entry.rpartition(":")[2]
        if level not in _AGENT_LOG_LEVELS:
            levels = ", ".join(_AGENT_LOG_LEVELS)
            return f"{level!r} is no log level; expected default:LEVEL, LEVEL one of {levels}"
    return ""


def _component_log_level(value: str) -> str:
    for entry in value.split(",") if value else ():
        component, _, level = entry.partition(":")
        if not component or level not in _LOG_LEVELS:
            return f"{entry!r} is no component with its log level, as in misc:error,http:debug"
    return ""


def _image(value: str) -> str:
    return "must be an image, without blanks" if not value or re.search(r"\s", value) else ""


def _object_name(value: str) -> str:
    usable = re.fullmatch(_NAME, value) and len(value) <= 253
    return "" if usable else "must be the name of a ConfigMap"


def _templates(value: str) -> str:
    unknown = [name for name in map(str.strip, value.split(",")) if name != TEMPLATE]
    return f"there is no template {unknown[0]!r}; expected {TEMPLATE}" if unknown else ""


def _volumes(value: str) -> str:
    try:
        usable = all(re.fullmatch(_LABEL, name) for name in mappings(value))
    except ValueError:
        usable = False
    return "" if usable else 'must be JSON, volumes by name, as in {"data": {"emptyDir": {}}}'


def _mounts(value: str) -> str:
    try:
        given = mappings(value)
    except ValueError:
        given = {"": {}}
    usable = all(
        isinstance(mount.get("mountPath"), str) and mount["mountPath"] for mount in given.values()
    )
    return "" if usable else 'must be JSON, mounts by volume, as in {"data": {"mountPath": "/d"}}'


def _config(value: str) -> str:
    return config_annotation.read(value)[1]


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
    MERGE_METRICS: _boolean,
    INCLUDE_OUTBOUND_PORTS: _ports_or_all,
    PROXY_IMAGE: _image,
    LOG_LEVEL: _one_of(_LOG_LEVELS),
    COMPONENT_LOG_LEVEL: _component_log_level,
    AGENT_LOG_LEVEL: _agent_log_level,
    BOOTSTRAP_OVERRIDE: _object_name,
    TEMPLATES: _templates,
    USER_VOLUME: _volumes,
    USER_VOLUME_MOUNT: _mounts,
}
"""What an annotation may hold: from its value to what is wrong with it, "" if nothing is."""


def config(annotations: Mapping[str, str]) -> ProxyConfig:
    """Read proxy.istio.io/config (YAML or JSON). Raises AnnotationError."""
    value = annotations.get(PROXY_CONFIG, "")
    found, problem = config_annotation.read(value)
    if problem:
        raise AnnotationError(PROXY_CONFIG, value, problem)
    return found
