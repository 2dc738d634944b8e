"""Parses and checks the annotation proxy.istio.io/config: a pod's own ProxyConfig. Pure."""

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from lab.mesh import contract
from lab.mesh.grammar import proxy_grammar, traffic_grammar
from lab.mesh.grammar.proxy_config_fields import ELSEWHERE, KNOWN
from lab.mesh.manifest import yaml_reader

_TYPES: Final = {
    **KNOWN,
    "holdApplicationUntilProxyStarts": bool,
    "interceptionMode": str,
    "statusPort": int,
}
_SHORT: Final = 4096
"""Only texts with fewer characters are cached."""
_VARIABLE: Final = r"[!-<>-~][ -<>-~]*"
_READERS: Final[Mapping[str, Callable[[str], object]]] = {
    "discoveryAddress": proxy_grammar.host_port,
    "drainDuration": proxy_grammar.seconds,
    "terminationDrainDuration": proxy_grammar.seconds,
}
_OURS: Final = frozenset({"INSTANCE_IPS", contract.PROBES_VARIABLE, "PROXY_CONFIG"})
"""Variables of the agent that users must not set: it might not start with their values."""
_KINDS: Final = {dict: "a mapping", bool: "true or false", int: "a whole number"}


class ProxyConfig(NamedTuple):
    """The content of proxy.istio.io/config; `fields` holds every field, as the agent gets them."""

    fields: Mapping[str, Any]

    @property
    def hold(self) -> bool | None:
        """The field holdApplicationUntilProxyStarts; None if the pod does not set it."""
        value = self.fields.get("holdApplicationUntilProxyStarts")
        return value if isinstance(value, bool) else None

    @property
    def mode(self) -> str:
        """The field interceptionMode; REDIRECT if the pod does not set it."""
        return str(self.fields.get("interceptionMode") or traffic_grammar.MODES[0])

    @property
    def status_port(self) -> int | None:
        """The field statusPort; None if the pod does not set it, or sets it to 0."""
        return self.fields.get("statusPort") or None

    @property
    def metadata(self) -> dict[str, str]:
        """The field proxyMetadata: more environment variables of the proxy, with values as text."""
        return {
            key: _as_text(value) for key, value in (self.fields.get("proxyMetadata") or {}).items()
        }

    @property
    def environment(self) -> str:
        """The value of PROXY_CONFIG: JSON with sorted keys, so equal settings give equal text."""
        return json.dumps(self.fields, separators=(",", ":"), sort_keys=True)


def read(value: str) -> tuple[ProxyConfig, str]:
    """Parses YAML or JSON; returns the ProxyConfig and its first mistake ("" if it has none)."""
    return _remembered(value) if len(value) < _SHORT else _understood(value)


def _understood(value: str) -> tuple[ProxyConfig, str]:
    fields, problem = _read(value) if value else ({}, "")
    return ProxyConfig(fields), problem


_remembered = lru_cache(maxsize=256)(_understood)
"""Does what `_understood` does, and caches its results.

All pods of a workload have the same text, and each injection reads it twice.
"""


def _read(value: str) -> tuple[dict[str, Any], str]:
    reading = yaml_reader.read(value)
    if reading.problems:
        first = reading.problems[0]
        return {}, f"line {first.line}: {first.text}"
    fields = reading.value if reading.value is not None else {}
    if not isinstance(fields, dict):
        return {}, "must be a mapping, as in holdApplicationUntilProxyStarts: true"
    for key, entry in fields.items():
        if problem := _problem(key, entry):
            return {}, problem
    return fields, ""


def _problem(key: str, entry: Any) -> str:
    if key not in KNOWN and key not in ELSEWHERE:
        return f"field {key!r} is not part of a ProxyConfig"
    expected = _TYPES.get(key)
    if expected is not None and (
        not isinstance(entry, expected) or (expected is int and isinstance(entry, bool))
    ):
        kind = _KINDS.get(expected, "text") if isinstance(expected, type) else "a plain value"
        return f"field {key!r} must be {kind}"
    if isinstance(entry, dict) and expected is dict:
        for name, inner in entry.items():
            if isinstance(inner, dict | list) or inner is None:
                return f"field {key}.{name} must be a plain value"
            if key == "proxyMetadata" and not re.fullmatch(_VARIABLE, name):
                return f"field {key}: {name!r} is not the name of a variable"
            if key == "proxyMetadata" and name in _OURS:
                return f"field {key}: a pod cannot set {name}"
            if key == "proxyMetadata" and "\0" in str(inner):
                return f"field {key}.{name}: holds a NUL character, which no variable can"
    if key == "interceptionMode" and entry not in traffic_grammar.MODES:
        return f"field 'interceptionMode' must be one of {', '.join(traffic_grammar.MODES)}"
    if key == "statusPort" and (not 0 <= entry <= 65535 or entry in contract.ENVOY_PORTS):
        return "field 'statusPort' must be a port on which Envoy does not listen"
    if key == "concurrency" and not 0 <= entry <= proxy_grammar.MAX_CONCURRENCY:
        return f"field 'concurrency' must be from 0 to {proxy_grammar.MAX_CONCURRENCY}"
    if reader := _READERS.get(key):
        try:
            reader(entry)
        except ValueError as bad:
            return f"field {key!r}: {bad}"
    try:
        json.dumps(entry, allow_nan=False)
    except ValueError:
        return f"field {key!r} has a number that JSON cannot hold"
    return ""


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
