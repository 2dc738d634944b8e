"""Parses the application's probes and hooks that the injector passes to the agent. Pure."""

import json
from dataclasses import dataclass
from typing import Any, Final

from lab.mesh.contract import PROBES_VARIABLE
from lab.mesh.errors import BootstrapError

_KINDS: Final = {"httpGet": "http", "tcpSocket": "tcp", "grpc": "grpc"}


@dataclass(frozen=True)
class Probe:
    """One probe or lifecycle hook of the application, which the agent runs in kubelet's place.

    `kind` is http, tcp or grpc; `timeout` is in seconds. `path` and `headers` are those of the
    manifest, unchanged.
    """

    kind: str
    port: int
    timeout: float = 1.0
    path: str = "/"
    scheme: str = "http"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    service: str = ""


def probes(text: str) -> dict[str, Probe]:
    """Parses ISTIO_KUBE_APP_PROBERS; returns {} if `text` is empty.

    A key of the result is the path at which kubelet asks the agent; the value is the probe that the
    agent then sends. The format is Istio's:
    `{"/app-health/<container>/livez": {"httpGet"|"tcpSocket"|"grpc": {…}, "timeoutSeconds": 1}}`.
    Ports are numbers, since only the injector knows the names of ports. Raises BootstrapError.
    """
    if not text:
        return {}
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as bad:
        raise BootstrapError(f"{PROBES_VARIABLE}: not JSON: {bad}") from bad
    if not isinstance(entries, dict):
        raise BootstrapError(f"{PROBES_VARIABLE}: not a JSON object")
    return {path: _probe(value, f"{PROBES_VARIABLE} {path}") for path, value in entries.items()}


def _probe(value: object, where: str) -> Probe:
    if not isinstance(value, dict):
        raise BootstrapError(f"{where}: not an object")
    timeout = value.get("timeoutSeconds") or 1
    if not isinstance(timeout, (int, float)) or isinstance(timeout, bool) or timeout <= 0:
        raise BootstrapError(f"{where}: timeoutSeconds {timeout!r} is not a positive number")
    for key, kind in _KINDS.items():
        action = value.get(key)
        if action is None:
            continue
        if not isinstance(action, dict):
            raise BootstrapError(f"{where}: {key} is not an object")
        return _action(kind, action, float(timeout), f"{where}: {key}")
    raise BootstrapError(f"{where}: has none of httpGet, tcpSocket, grpc")


def _action(kind: str, action: dict[str, Any], timeout: float, where: str) -> Probe:
    port = str(action.get("port", ""))
    if not (port.isascii() and port.isdigit()) or not 0 < int(port[:6]) < 65536:
        raise BootstrapError(f"{where}.port {action.get('port')!r} is not a port number")
    scheme = str(action.get("scheme") or "HTTP").lower()
    if scheme not in ("http", "https"):
        raise BootstrapError(f"{where}.scheme {action['scheme']!r} is not HTTP or HTTPS")
    headers = tuple(_header(header, where) for header in action.get("httpHeaders") or ())
    path, host = str(action.get("path") or "/"), str(action.get("host") or "")
    if any(c.isspace() or not c.isprintable() for c in host):
        raise BootstrapError(f"{where}.host {host!r} is not a host")
    service = str(action.get("service") or "")
    return Probe(kind, int(port), timeout, path, scheme, host, headers, service)


def _header(value: object, where: str) -> tuple[str, str]:
    name = value.get("name") if isinstance(value, dict) else None
    text = (value.get("value") or "") if isinstance(value, dict) else None
    if not isinstance(name, str) or not isinstance(text, str) or not name:
        raise BootstrapError(f"{where}.httpHeaders: {value!r} must have a name and a value")
    return name, text
