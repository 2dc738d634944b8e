"""What discovery knows of the cluster at one moment: frozen plain data, no Kubernetes types.

Only what the generated Envoy configuration depends on is kept, so two equal snapshots always
mean the same configuration.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar


@dataclass(frozen=True, order=True)
class ServicePort:
    """One port of a Service. `name` is "" when unnamed; `app_protocol` is "" when unset."""

    port: int
    name: str = ""
    app_protocol: str = ""


@dataclass(frozen=True, order=True)
class Service:
    """A Service and its TCP ports.

    `cluster_ips` is empty for a headless Service and for an ExternalName. A repeated address or
    port number is kept once: Envoy refuses a route table that names a domain twice.
    """

    namespace: str
    name: str
    ports: tuple[ServicePort, ...] = ()
    cluster_ips: tuple[str, ...] = ()
    external_name: bool = False

    def __post_init__(self) -> None:
        """Keep the first of repeated ports and addresses."""
        ports: dict[int, ServicePort] = {}
        for port in self.ports:
            ports.setdefault(port.port, port)
        object.__setattr__(self, "ports", tuple(ports.values()))
        object.__setattr__(self, "cluster_ips", tuple(dict.fromkeys(self.cluster_ips)))

    @property
    def headless(self) -> bool:
        """Whether the Service's name resolves to the addresses of its pods."""
        return not self.cluster_ips and not self.external_name


@dataclass(frozen=True, order=True)
class SlicePort:
    """One TCP port of an EndpointSlice. `name`: the name of the Service's port, "" if unnamed."""

    name: str
    port: int


@dataclass(frozen=True, order=True)
class SliceEndpoint:
    """One backend. `ready`: it takes new requests. `serving`: it answers, but may be ending."""

    address: str
    ready: bool = True
    serving: bool = True


@dataclass(frozen=True, order=True)
class Slice:
    """One EndpointSlice of the Service `namespace`/`service`."""

    namespace: str
    service: str
    name: str
    ports: tuple[SlicePort, ...] = ()
    endpoints: tuple[SliceEndpoint, ...] = ()


_Object = TypeVar("_Object", Service, Slice)


@dataclass(frozen=True)
class Snapshot:
    """All Services and EndpointSlices, sorted; equal content means an equal `version`.

    Of objects of one kind with the same namespace and name, only the first in order is kept.
    """

    services: tuple[Service, ...] = ()
    slices: tuple[Slice, ...] = ()
    version: str = field(init=False, default="")

    def __post_init__(self) -> None:
        """Sort the content, and set `version` to its hash (16 hex digits)."""
        object.__setattr__(self, "services", _once(self.services))
        object.__setattr__(self, "slices", _once(self.slices))
        content = repr((self.services, self.slices)).encode()
        object.__setattr__(self, "version", hashlib.sha256(content).hexdigest()[:16])


def _once(objects: Iterable[_Object]) -> tuple[_Object, ...]:
    """Return the objects sorted, one for each namespace and name."""
    first: dict[tuple[str, str], _Object] = {}
    for item in sorted(objects):
        first.setdefault((item.namespace, item.name), item)
    return tuple(first.values())
