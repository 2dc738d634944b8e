"""Defines the pod annotations that configure a sidecar: their names, values and meanings.

Names and accepted values are Istio's. If the injector cannot use a value, it refuses the pod and
names the annotation, the value and what it expected. Only nativeSidecar and rewriteAppHTTPProbers
are different: instead of an unusable value, the injector uses the mesh's own, and warns.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.errors import AnnotationError
from lab.mesh.grammar import proxy_grammar, traffic_grammar
from lab.mesh.injector.settings import proxy_config
from lab.mesh.injector.settings.proxy_config import ProxyConfig

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
MODES: Final = (*traffic_grammar.MODES, "NONE")

TEMPLATE: Final = "sidecar"
"""The one injection template of this mesh."""

# A pattern is compiled at its first use, which for most manifests never comes.
_QUANTITY: Final = r"\+?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?"
_PATH: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE: Final = (
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]+)?/|\[[0-9a-fA-F:]+\](?::[0-9]+)?/)?"
    rf"{_PATH}(?:/{_PATH})*(?::[\w][\w.-]{{0,127}})?(?:@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*"
    r":[0-9a-fA-F]{32,})?"
)
_NAME: Final = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"


def check(annotations: Mapping[str, str]) -> Iterator[AnnotationError]:
    """Yields an error for each annotation that has an unusable value, in the annotations' order."""
    for name, value in annotations.items():
        if (rule := RULES.get(name)) and (problem := rule(value)):
            yield AnnotationError(name, value, problem)


def flag(value: str | None, default: bool) -> bool:
    """Parses a truth value as Go does (1, t, true, ...); returns `default` for anything else."""
    try:
        return traffic_grammar.boolean(value or "")
    except ValueError:
        return default


def named(value: str) -> list[dict[str, Any]]:
    """Parses userVolume or userVolumeMount: JSON, either objects by name or a list of objects.

    Returns the objects, each with its `name`. As in Istio, an object without a `name` field gets
    its key as its name, or its position in the list. Raises ValueError.
    """
    decoded = _json(value)
    if isinstance(decoded, dict):
        entries = decoded.items()
    elif isinstance(decoded, list) or decoded is None:
        entries = {str(index): entry for index, entry in enumerate(decoded or ())}.items()
    else:
        raise ValueError("neither an object nor a list")
    if not all(isinstance(entry, dict) for _, entry in entries):
        raise ValueError("an entry is not an object")
    return [{"name": key, **entry} for key, entry in entries]


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


def status_port(value: str) -> int:
    """Parses the agent's port; 0 means that no probes go to the agent. Raises ValueError."""
    port = traffic_grammar.any_port(value)
    if port in contract.ENVOY_PORTS:
        raise ValueError(f"Envoy listens on {port} already")
    return port


def _read_by(reader: Callable[[str], Any]) -> Callable[[str], str]:
    def rule(value: str) -> str:
        try:
            reader(value)
        except ValueError as problem:
            return str(problem)
        return ""

    return rule


def _image(value: str) -> str:
    if re.fullmatch(_IMAGE, value):
        return ""
    return "must be an image, as in registry.example:5000/proxy:1.2 or proxy@sha256:..."


def _object_name(value: str) -> str:
    usable = re.fullmatch(_NAME, value) and len(value) <= 253
    return "" if usable else "must be the name of a ConfigMap"


def _templates(value: str) -> str:
    unknown = [name for name in map(str.strip, value.split(",")) if name != TEMPLATE]
    return f"there is no template {unknown[0]!r}; expected {TEMPLATE}" if unknown else ""


def _all_are(kind: str, example: str) -> Callable[[str], str]:
    """Returns a rule for RULES, which checks the value of userVolume or userVolumeMount.

    The value is accepted if each object in it is valid as the API type `kind`. `example`: a
    correct value, for the rule's message.
    """

    def rule(value: str) -> str:
        from lab.mesh.manifest import field_types, pod_rules  # a table that few pods need

        try:
            entries = named(value)
        except ValueError:
            return f"must be JSON, by name or as a list, as in {example}"
        for entry in entries:
            for fault in pod_rules.faults(entry, kind):
                return f"{entry['name']!r}: {field_types.show(fault.path)} {fault.text}".replace(
                    ":  ", ": "
                )
        return ""

    return rule


def _config(value: str) -> str:
    return proxy_config.read(value)[1]


RULES: Final[dict[str, Callable[[str], str]]] = {
    INTERCEPTION_MODE: _mode,
    **dict.fromkeys(RESOURCES, _quantity),
    STATUS_PORT: _read_by(status_port),
    INITIAL_DELAY: _number(0, 2**31 - 1),
    PERIOD: _number(1, 2**31 - 1),
    FAILURE_THRESHOLD: _number(1, 2**31 - 1),
    INCLUDE_OUTBOUND_CIDRS: _read_by(traffic_grammar.ranges_or_all),
    EXCLUDE_OUTBOUND_CIDRS: _read_by(traffic_grammar.ranges),
    INCLUDE_INBOUND_PORTS: _read_by(traffic_grammar.ports_or_all),
    EXCLUDE_INBOUND_PORTS: _read_by(traffic_grammar.ports),
    EXCLUDE_OUTBOUND_PORTS: _read_by(traffic_grammar.ports),
    EXCLUDE_INTERFACES: _read_by(traffic_grammar.interfaces),
    KUBEVIRT_INTERFACES: _read_by(traffic_grammar.interfaces),
    REROUTE_INTERFACES: _read_by(traffic_grammar.interfaces),
    PROXY_CONFIG: _config,
    MERGE_METRICS: _read_by(traffic_grammar.boolean),
    INCLUDE_OUTBOUND_PORTS: _read_by(traffic_grammar.ports_with_gaps),
    PROXY_IMAGE: _image,
    LOG_LEVEL: _read_by(proxy_grammar.log_level),
    COMPONENT_LOG_LEVEL: _read_by(proxy_grammar.component_log_levels),
    AGENT_LOG_LEVEL: _read_by(proxy_grammar.agent_log_level),
    BOOTSTRAP_OVERRIDE: _object_name,
    TEMPLATES: _templates,
    USER_VOLUME: _all_are("Volume", '{"data": {"emptyDir": {}}}'),
    USER_VOLUME_MOUNT: _all_are("VolumeMount", '{"data": {"mountPath": "/d"}}'),
}
"""A function for each annotation that `check` checks.

It returns what is wrong with the annotation's value, and "" if nothing is wrong.
"""


def config(annotations: Mapping[str, str]) -> ProxyConfig:
    """Returns the ProxyConfig in proxy.istio.io/config (YAML or JSON). Raises AnnotationError."""
    value = annotations.get(PROXY_CONFIG, "")
    settings, problem = proxy_config.read(value)
    if problem:
        raise AnnotationError(PROXY_CONFIG, value, problem)
    return settings
