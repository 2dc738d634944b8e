"""Reads Services and EndpointSlices as the API server writes them. Pure.

Anyone who may write into a namespace can create such objects, and every sidecar gets the
configuration that is made of them. One address that Envoy cannot read makes it refuse the endpoints
of all Services. So this module parses each name, port and address. It leaves out the bad ones and
reports each of them.
Source: the validation in k8s.io/kubernetes/pkg/apis/core and pkg/apis/discovery.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from lab.mesh.discovery.snapshot import Service, ServicePort, Slice, SliceEndpoint, SlicePort

SERVICE_LABEL: Final = "kubernetes.io/service-name"
FAMILIES: Final = {"IPv4": 4, "IPv6": 6}
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9.-]{1,253}")
_PROTOCOL: Final = re.compile(r"[A-Za-z0-9./_-]{1,320}")
_LEADING_ZEROS: Final = re.compile(r"(?<![0-9a-f.])0+(?=[0-9])|(?<=\.)0+(?=[0-9])")
_SHOWN: Final = 60
"""How many characters of a bad value a problem's text shows at most."""
Report = Callable[[str], None]
"""A function that receives the reason why a part of an object is left out."""


T = TypeVar("T")


class Reading(NamedTuple, Generic[T]):
    """What was read of one object. `value`: None if the object cannot be used.

    `problems`: the reasons why the object or parts of it are left out.
    """

    value: T | None
    problems: tuple[str, ...] = ()


class _BadFieldError(Exception):
    """A field that makes the whole object unusable; the text names it."""


def service_from(manifest: Any) -> Reading[Service]:
    """Read a v1 Service. Its ports other than TCP are left out without a problem."""
    problems: list[str] = []
    try:
        namespace, name = _names(manifest, _LABEL)
        spec = _mapping(manifest.get("spec"), "spec")
        listed = spec.get("clusterIPs") or [spec.get("clusterIP") or "None"]
        ips = [ip for ip in _items(listed, "spec.clusterIPs", problems.append) if ip != "None"]
        service = Service(
            namespace=namespace,
            name=name,
            ports=tuple(sorted(_service_ports(spec.get("ports"), problems.append))),
            cluster_ips=tuple(_addresses(ips, "spec.clusterIPs", problems.append)),
            external_name=spec.get("type") == "ExternalName",
        )
    except _BadFieldError as bad:
        return Reading(None, (str(bad),))
    return Reading(service, tuple(problems))


def slice_from(manifest: Any) -> Reading[Slice]:
    """Read a discovery.k8s.io/v1 EndpointSlice.

    If no Service owns it, the value is None, and this is not reported as a problem.
    If the condition `ready` is not set, the endpoint counts as ready; if `serving` is not set, it
    has the value of `ready`. These are the documented defaults.
    """
    problems: list[str] = []
    try:
        namespace, name = _names(manifest, _SUBDOMAIN)
        labels = _mapping(_mapping(manifest.get("metadata"), "metadata").get("labels"), "labels")
        service = labels.get(SERVICE_LABEL)
        if not service:
            return Reading(None)
        if not _is(service, _LABEL):
            raise _BadFieldError(f"label {SERVICE_LABEL} is no Service's name: {_shown(service)}")
        family = FAMILIES.get(str(manifest.get("addressType")))
        if family is None:
            raise _BadFieldError(
                f"addressType {_shown(manifest.get('addressType'))} is not an IP's"
            )
        read = Slice(
            namespace=namespace,
            service=service,
            name=name,
            ports=tuple(sorted(_slice_ports(manifest.get("ports"), problems.append))),
            endpoints=tuple(sorted(_endpoints(manifest, family, problems.append))),
        )
    except _BadFieldError as bad:
        return Reading(None, (str(bad),))
    return Reading(read, tuple(problems))


def _names(manifest: Any, shape: "re.Pattern[str]") -> tuple[str, str]:
    metadata = _mapping(_mapping(manifest, "the object").get("metadata"), "metadata")
    namespace, name = metadata.get("namespace"), metadata.get("name")
    if not _is(namespace, _LABEL):
        raise _BadFieldError(f"metadata.namespace is no namespace's name: {_shown(namespace)}")
    if not _is(name, shape):
        raise _BadFieldError(f"metadata.name is no name of its kind: {_shown(name)}")
    return str(namespace), str(name)


def _service_ports(listed: Any, report: Report) -> Iterator[ServicePort]:
    for number, port in _ports(listed, "spec.ports", report):
        protocol = port.get("appProtocol") or ""
        if protocol and not _is(protocol, _PROTOCOL):
            report(f"spec.ports: appProtocol of port {number} is no protocol: {_shown(protocol)}")
            protocol = ""
        yield ServicePort(number, port.get("name") or "", protocol)


def _slice_ports(listed: Any, report: Report) -> Iterator[SlicePort]:
    # A slice's port without a number stands for all ports: no Service port is paired with it.
    numbered = [port for port in _items(listed, "ports", report) if _has_number(port)]
    for number, port in _ports(numbered, "ports", report):
        yield SlicePort(port.get("name") or "", number)


def _has_number(port: Any) -> bool:
    return not isinstance(port, dict) or port.get("port") is not None


def _ports(listed: Any, field: str, report: Report) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield (number, port) for each usable TCP port; report the others that are TCP."""
    for port in _items(listed, field, report):
        if not isinstance(port, dict):
            report(f"{field}: not a port: {_shown(port)}")
            continue
        if (port.get("protocol") or "TCP") != "TCP":
            continue
        number, name = port.get("port"), port.get("name") or ""
        if type(number) is not int or not 1 <= number <= 65535:
            report(f"{field}: not a port's number: {_shown(number)}")
        elif name and not _is(name, _LABEL):
            report(f"{field}: not a port's name: {_shown(name)}")
        else:
            yield number, port


def _endpoints(manifest: Any, family: int, report: Report) -> Iterator[SliceEndpoint]:
    for entry in _items(manifest.get("endpoints"), "endpoints", report):
        if not isinstance(entry, dict):
            report(f"endpoints: not an endpoint: {_shown(entry)}")
            continue
        conditions = entry.get("conditions")
        conditions = conditions if isinstance(conditions, dict) else {}
        ready = conditions.get("ready") is not False
        serving = conditions.get("serving")
        serving = ready if serving is None else serving is not False
        listed = _items(entry.get("addresses"), "addresses", report)
        for address in _addresses(listed, "endpoints", report, family):
            yield SliceEndpoint(address, ready, serving)


def _addresses(
    listed: Iterable[Any], field: str, report: Report, family: int | None = None
) -> Iterator[str]:
    """Yield the usable addresses of `listed` in their usual form; report the others.

    Loopback, link-local, unspecified and multicast addresses are not usable.
    """
    for text in listed:
        address = parse_address(text)
        if address is None or family not in (None, address.version):
            kind = "an address" if family is None else f"an IPv{family} address"
            report(f"{field}: not {kind}: {_shown(text)}")
        elif address.is_loopback or address.is_unspecified or address.is_link_local:
            report(f"{field}: {address} means another machine to each sidecar")
        elif address.is_multicast:
            report(f"{field}: {address} is no single machine's")
        else:
            yield str(address)


def parse_address(text: Any) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address in `text`, None if there is none or it is IPv4 mapped into IPv6.

    Numbers with leading zeros are decimal, as the API server reads them.
    """
    if not isinstance(text, str) or len(text) > 64 or "%" in text:
        return None
    try:
        address = ipaddress.ip_address(text if ":" in text else _LEADING_ZEROS.sub("", text))
    except ValueError:
        return None
    # An IPv4 address in IPv6's clothes would pass the checks of its own family.
    return None if address.version == 6 and address.ipv4_mapped else address


def _mapping(value: Any, field: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _BadFieldError(f"{field} is not an object: {_shown(value)}")
    return value


def _items(value: Any, field: str, report: Report) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    if value is not None:
        report(f"{field} is not a list: {_shown(value)}")
    return []


def _is(value: Any, shape: "re.Pattern[str]") -> bool:
    return isinstance(value, str) and shape.fullmatch(value) is not None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
