"""What one sidecar has asked for and been given: the state-of-the-world xDS protocol, no I/O.

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
    """What a request turned out to be."""

    SUBSCRIBE = "subscribe"
    ACK = "ack"
    NACK = "nack"
    STALE = "stale"
    UNKNOWN_TYPE = "unknown type"


@dataclass
class _Subscription:
    """`names` None means all of them; `sent` maps a name to the digest of what was sent."""

    names: frozenset[str] | None
    nonce: str = ""
    version: str = ""
    sent: dict[str, str] = field(default_factory=dict)
    answered: bool = False


class Session:
    """One stream. Feed it requests; ask it what is due."""

    def __init__(self) -> None:
        self._open: dict[str, _Subscription] = {}
        self._count = 0

    def receive(self, request: DiscoveryRequest) -> Kind:
        """Take in one request; a stale one (an older nonce) changes nothing."""
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
            # A name that is asked for again after a pause has to be sent again.
            known.sent = {name: seen for name, seen in known.sent.items() if name in names}
        if request.HasField("error_detail"):
            return Kind.NACK
        return Kind.SUBSCRIBE if changed else Kind.ACK

    def due(self, view: View) -> Iterator[DiscoveryResponse]:
        """Yield what this sidecar lacks of `view`, in push order; a refused answer is not repeated.

        Raises nothing; yields nothing when all is as Envoy has it.
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
                each
                for name, each in offered.by_name.items()
                if subscription.names is None or name in subscription.names
            ]
            version = offered.version if subscription.names is None else version_of(wanted)
            if subscription.answered and version == subscription.version:
                return None
            self._forget_what_warms_again(url, subscription, wanted)
            subscription.sent = {each.name: each.digest for each in wanted}
        else:
            # Named types may be sent in part: only what changed.
            named = [offered.by_name.get(n) or fallback(url, n) for n in _sorted(subscription)]
            wanted = [each for each in named if subscription.sent.get(each.name) != each.digest]
            if not wanted:
                return None
            version = offered.version
            subscription.sent.update((each.name, each.digest) for each in wanted)
        self._count += 1
        subscription.nonce, subscription.version = str(self._count), version
        subscription.answered = True
        return DiscoveryResponse(
            version_info=version,
            resources=[each.body for each in wanted],
            type_url=url,
            nonce=subscription.nonce,
        )

    def _forget_what_warms_again(
        self, url: str, subscription: _Subscription, wanted: list[Resource]
    ) -> None:
        """A changed cluster waits for its endpoints, though Envoy asks for no new name."""
        referred = self._open.get(_REFERS[url])
        if referred is None:
            return
        for each in wanted:
            if subscription.sent.get(each.name) != each.digest:
                for name in each.needs:
                    referred.sent.pop(name, None)


def _names(url: str, asked: Any) -> frozenset[str] | None:
    names = frozenset(asked)
    return None if url in _REFERS and (not names or "*" in names) else names - {"*"}


def _sorted(subscription: _Subscription) -> list[str]:
    return sorted(subscription.names or ())
