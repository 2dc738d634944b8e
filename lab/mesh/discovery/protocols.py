"""Decides which protocol a Service port speaks, from what its owner declared; pure.

The port's appProtocol decides; if it does not, the port's name or its first word decides, and then
the port number. If none of them does, Envoy detects the protocol of each connection (`SNIFF`).
Source: Istio's documentation on explicit protocol selection.
"""

from enum import Enum
from typing import Final

from lab.mesh.discovery.snapshot import ServicePort


class Protocol(Enum):
    """How Envoy treats a port's connections."""

    HTTP = "http"
    TCP = "tcp"
    SNIFF = "sniff"


HTTP_PORTS: Final = frozenset({80, 8080})
"""Ports that are HTTP when nothing is declared; they have listeners even without a Service."""
SERVER_FIRST_PORTS: Final = frozenset({25, 53, 3306, 27017})
"""SMTP, DNS, MySQL, MongoDB: the server may speak first, so waiting for the client would stall."""
_HTTP_WORDS: Final = frozenset(
    {"http", "http2", "h2c", "grpc", "grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws"}
)
_TCP_WORDS: Final = frozenset(
    {"tcp", "tls", "https", "mysql", "mongo", "redis", "postgres", "kubernetes.io/wss"}
)


def protocol_of(port: ServicePort) -> Protocol:
    """Return how connections to `port` are treated."""
    for word in (port.app_protocol.lower(), port.name.lower(), _first_word(port.name)):
        if word in _HTTP_WORDS:
            return Protocol.HTTP
        if word in _TCP_WORDS:
            return Protocol.TCP
    if port.port in HTTP_PORTS:
        return Protocol.HTTP
    return Protocol.TCP if port.port in SERVER_FIRST_PORTS else Protocol.SNIFF


def merged(first: Protocol, second: Protocol) -> Protocol:
    """Return the protocol of a port that two Services describe; SNIFF if the two disagree."""
    return first if first is second else Protocol.SNIFF


def _first_word(name: str) -> str:
    return name.lower().partition("-")[0]
