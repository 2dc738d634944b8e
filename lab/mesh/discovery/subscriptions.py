"""Tracks what one sidecar subscribed to, what it was sent and what it accepted. Does no I/O.

The protocol is the state-of-the-world variant of xDS.
"Sent" is not "accepted": each response is pending under its nonce until Envoy answers it. When
Envoy refuses a response with several endpoints or routes, it may have skipped the good ones after
the bad one. So all of them are sent again in halves, until the bad one is alone. Then Envoy gets a
harmless resource in its place (`fallback`), because it would wait for the resource for ever.
Source: Envoy's xDS protocol documentation (ACK, NACK, nonces, wildcard, resource warming).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

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
MOST_PENDING: Final = 4
"""How many responses of one type may wait for Envoy's answer. Further changes are then held back,
and sent together later."""
MOST_REASON: Final = 500
"""How many characters of Envoy's reason for a refusal are kept at most."""


class Kind(Enum):
    """Says what a sidecar's request does, such as subscribe, or refuse a response (NACK)."""

    SUBSCRIBE = "subscribe"
    ACK = "ack"
    NACK = "nack"
    STALE = "stale"
    UNKNOWN_TYPE = "unknown type"


class Refusal(NamedTuple):
    """A refused response: its type, the names of its resources, and Envoy's reason."""

    type_url: str
    names: tuple[str, ...]
    reason: str


@dataclass
class _Response:
    """A response that Envoy has not answered yet. `digests`: name of a resource → its digest."""

    version: str
    digests: dict[str, str]


@dataclass
class _Subscription:
    """The subscription of a sidecar to one type of resources.

    `names`: the names that Envoy wants, None if it wants all. `sent`: name → digest of the resource
    that was sent last. `pending`: nonce → response. `suspects`: batches of names, of which each is
    to be sent again in a response of its own. `refused`: name → digest of the resource that Envoy
    refused when it was the only one in a response.
    """

    names: frozenset[str] | None
    nonce: str = ""
    version: str = ""
    accepted: str = ""
    sent: dict[str, str] = field(default_factory=dict)
    pending: dict[str, _Response] = field(default_factory=dict)
    suspects: list[list[str]] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    refusal: Refusal | None = None
    answered: bool = False

    def keep(self, names: frozenset[str] | None) -> None:
        """Subscribe to `names` only (None: to all); forget what was sent of other names."""
        self.names = names
        if names is not None:
            self.sent = {name: digest for name, digest in self.sent.items() if name in names}
            self.refused = {name: digest for name, digest in self.refused.items() if name in names}


class TypeStatus(NamedTuple):
    """The state of one type of resources in one sidecar.

    `sent`, `accepted`: the versions sent and accepted last, "" if there is none. `pending`: whether
    Envoy still has to answer a response. `refusal`: None if Envoy refuses nothing.
    """

    sent: str
    accepted: str
    pending: bool
    refusal: Refusal | None


class Session:
    """The state of one stream: `receive` takes its requests, `due` yields the responses."""

    def __init__(self) -> None:
        self._open: dict[str, _Subscription] = {}
        self._count = 0

    def receive(self, request: DiscoveryRequest) -> Kind:
        """Apply one request and return its kind.

        A request with an older nonce only answers the response that had this nonce. It does not
        change the subscription.
        """
        url = request.type_url
        if url not in PUSH_ORDER:
            return Kind.UNKNOWN_TYPE
        names = _names(url, request.resource_names)
        known = self._open.get(url)
        if known is None:
            self._open[url] = _Subscription(names)
            return Kind.SUBSCRIBE
        refused = request.HasField("error_detail")
        response = known.pending.pop(request.response_nonce, None)
        if response is not None:
            if refused:
                _refuse(url, known, response, request.error_detail.message)
            else:
                _accept(known, response)
        if request.response_nonce != known.nonce:
            return Kind.NACK if refused and response is not None else Kind.STALE
        changed = names != known.names
        known.keep(names)
        if refused:
            return Kind.NACK
        return Kind.SUBSCRIBE if changed else Kind.ACK

    def due(self, view: View) -> Iterator[DiscoveryResponse]:
        """Yield the responses that bring this sidecar up to date with `view`, in push order.

        It yields nothing if Envoy is up to date. It does not repeat a resource that Envoy is known
        to refuse.
        """
        for url in PUSH_ORDER:
            subscription = self._open.get(url)
            if subscription is None or len(subscription.pending) >= MOST_PENDING:
                continue
            response = self._response(url, subscription, view[url])
            if response is not None:
                yield response

    def status(self) -> dict[str, TypeStatus]:
        """Return type URL → its state, for each type to which Envoy has subscribed."""
        return {
            url: TypeStatus(known.version, known.accepted, bool(known.pending), known.refusal)
            for url, known in self._open.items()
        }

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
            wanted = _changed(url, subscription, offered)
            if not wanted:
                return None
            version = offered.version
            subscription.sent.update((resource.name, resource.digest) for resource in wanted)
        self._count += 1
        subscription.nonce, subscription.version = str(self._count), version
        subscription.answered = True
        digests = {resource.name: resource.digest for resource in wanted}
        subscription.pending[subscription.nonce] = _Response(version, digests)
        return DiscoveryResponse(
            version_info=version,
            resources=[resource.body for resource in wanted],
            type_url=url,
            nonce=subscription.nonce,
        )

    def _forget_what_warms_again(
        self, url: str, subscription: _Subscription, wanted: list[Resource]
    ) -> None:
        """Forget that the `needs` of changed resources were sent, so that they are sent again.

        Envoy uses a changed cluster or listener only after it has received these `needs` once more.
        """
        referred = self._open.get(_REFERS[url])
        if referred is None:
            return
        for resource in wanted:
            if subscription.sent.get(resource.name) != resource.digest:
                for name in resource.needs:
                    referred.sent.pop(name, None)


def _changed(url: str, subscription: _Subscription, offered: ResourceSet) -> list[Resource]:
    """Return the resources that have changed since they were sent to Envoy.

    This is only for types whose resources Envoy requests by name. If there are suspects, return the
    resources of one batch of them, [] while another response is pending.
    """
    names = subscription.names or frozenset()
    if subscription.suspects and subscription.pending:
        return []
    while subscription.suspects:
        # A batch may have nothing left to send; then no answer of Envoy's would lead to the next.
        batch = names.intersection(subscription.suspects.pop(0))
        if wanted := _unsent(url, subscription, offered, batch):
            return wanted
    return _unsent(url, subscription, offered, names)


def _unsent(
    url: str, subscription: _Subscription, offered: ResourceSet, names: frozenset[str]
) -> list[Resource]:
    resources = (_offered(url, subscription, offered, name) for name in sorted(names))
    return [each for each in resources if subscription.sent.get(each.name) != each.digest]


def _offered(url: str, subscription: _Subscription, offered: ResourceSet, name: str) -> Resource:
    resource = offered.by_name.get(name) or fallback(url, name)
    if subscription.refused.get(name) == resource.digest:
        return fallback(url, name)
    subscription.refused.pop(name, None)
    return resource


def _accept(subscription: _Subscription, response: _Response) -> None:
    subscription.accepted = response.version
    refusal = subscription.refusal
    if refusal is not None and subscription.refused.keys().isdisjoint(refusal.names):
        subscription.refusal = None


def _refuse(url: str, subscription: _Subscription, response: _Response, reason: str) -> None:
    names = sorted(response.digests)
    subscription.refusal = Refusal(url, tuple(names), reason[:MOST_REASON])
    if url in _REFERS:
        return  # Envoy takes the good ones of these, and keeps what it had of the bad ones
    for name in names:
        subscription.sent.pop(name, None)
    if len(names) == 1:
        subscription.refused.update(response.digests)
    else:
        middle = len(names) // 2
        subscription.suspects += [names[:middle], names[middle:]]


def _names(url: str, requested: Iterable[Any]) -> frozenset[str] | None:
    names = frozenset(requested)
    return None if url in _REFERS and (not names or "*" in names) else names - {"*"}
