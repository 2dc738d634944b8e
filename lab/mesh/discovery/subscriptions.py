"""Keeps what one sidecar subscribed to and was sent: state-of-the-world xDS, without I/O.

Source: Envoy's xDS protocol documentation (ACK, NACK, nonces, wildcard, resource warming).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from lab.mesh.discovery.resources import (
    CLUSTERS,
    ENDPOINTS,
    LISTENERS,
    PUSH_ORDER,
    ROUTES,
    Resource,
    ResourceSet,
    View,
    fallback,
    version_of,
)

_REFERS: Final = {CLUSTERS: ENDPOINTS, LISTENERS: ROUTES}


class Kind(Enum):
    """The kind of a sidecar's request."""

    SUBSCRIBE = "subscribe"
    ACK = "ack"
    NACK = "nack"
    STALE = "stale"
    UNKNOWN_TYPE = "unknown type"


@dataclass
class _Subscription:
    """The subscription to one type.

    `names`: None means all of them. `sent` maps a name to the digest of the resource sent last.
    """

    names: frozenset[str] | None
    nonce: str = ""
    version: str = ""
    sent: dict[str, str] = field(default_factory=dict)
    answered: bool = False


class Session:
    """The state of one stream: `receive` takes its requests, `due` yields the responses."""

    def __init__(self) -> None:
        self._open: dict[str, _Subscription] = {}
        self._count = 0

    def receive(self, request: DiscoveryRequest) -> Kind:
        """Apply one request and return its kind; a stale one (an older nonce) changes nothing."""
        url = request.type_url
        if url not in PUSH_ORDER:
            return Kind.UNKNOWN_TYPE
        known = self._open.get(url)
        if known is not None and request.response_nonce != known.nonce:
            return Kind.STALE
        names = _names(url, request.resource_names)
        if known is None:
            self._open[url] = _Subscription(names)
            return Kind.SUBSCRIBE
        changed = names != known.names
        known.names = names
        if names is not None:
            # A name that is requested again after a pause has to be sent again.
            known.sent = {name: digest for name, digest in known.sent.items() if name in names}
        if request.HasField("error_detail"):
            return Kind.NACK
        return Kind.SUBSCRIBE if changed else Kind.ACK

    def due(self, view: View) -> Iterator[DiscoveryResponse]:
        """Yield the responses that this sidecar lacks of `view`, in push order.

        It yields nothing when Envoy is up to date, and does not repeat a response that Envoy
        refused.
        """
        for url in PUSH_ORDER:
            subscription = self._open.get(url)
            if subscription is not None:
                response = self._response(url, subscription, view[url])
                if response is not None:
                    yield response

    def _response(
        self, url: str, subscription: _Subscription, offered: ResourceSet
    ) -> DiscoveryResponse | None:
        if url in _REFERS:
            wanted = [
                resource
                for name, resource in offered.by_name.items()
                if subscription.names is None or name in subscription.names
            ]
            version = offered.version if subscription.names is None else version_of(wanted)
            if subscription.answered and version == subscription.version:
                return None
            self._forget_what_warms_again(url, subscription, wanted)
            subscription.sent = {resource.name: resource.digest for resource in wanted}
        else:
            # Named types may be sent in part: only what changed.
            named = [offered.by_name.get(n) or fallback(url, n) for n in _sorted(subscription)]
            wanted = [
                resource
                for resource in named
                if subscription.sent.get(resource.name) != resource.digest
            ]
            if not wanted:
                return None
            version = offered.version
            subscription.sent.update((resource.name, resource.digest) for resource in wanted)
        self._count += 1
        subscription.nonce, subscription.version = str(self._count), version
        subscription.answered = True
        return DiscoveryResponse(
            version_info=version,
            resources=[resource.body for resource in wanted],
            type_url=url,
            nonce=subscription.nonce,
        )

    def _forget_what_warms_again(
        self, url: str, subscription: _Subscription, wanted: list[Resource]
    ) -> None:
        """Forget that the needs of changed resources were sent: Envoy waits for them again."""
        referred = self._open.get(_REFERS[url])
        if referred is None:
            return
        for resource in wanted:
            if subscription.sent.get(resource.name) != resource.digest:
                for name in resource.needs:
                    referred.sent.pop(name, None)


def _names(url: str, requested: Any) -> frozenset[str] | None:
    names = frozenset(requested)
    return None if url in _REFERS and (not names or "*" in names) else names - {"*"}


def _sorted(subscription: _Subscription) -> list[str]:
    return sorted(subscription.names or ())
