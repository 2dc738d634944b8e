"""Random worlds: Services and EndpointSlices, legal and odd, as an API server could write them."""

import random
from typing import Any, Final

from lab.mesh.discovery.api_objects import service_from, slice_from
from lab.mesh.discovery.snapshot import Snapshot

NAMESPACES: Final = ("shop", "b", "kube-system")
NAMES: Final = ("web", "db", "api", "ext", "svc", "a")
NUMBERS: Final = (80, 8080, 443, 3306, 9000, 15001, 15006, 15020, 15021, 15090, 53, 65535)
PORT_NAMES: Final = ("", "http", "tcp", "grpc-x", "https", "mysql", "x", "http2-a")
PROTOCOLS: Final = ("", "http", "kubernetes.io/h2c", "kubernetes.io/ws", "example.com/own", "tcp")
ADDRESSES: Final = {
    "IPv4": ("10.244.0.9", "10.244.0.8", "10.96.0.1", "10.96.0.2", "172.16.0.9", "010.1.2.3"),
    "IPv6": ("fd00::9", "fd00:0:0::8", "2001:db8::1"),
    "FQDN": ("db.example.com", "x"),
}
ODD_ADDRESSES: Final = (
    "127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "::1", "fe80::1", "::ffff:10.0.0.1",
    "10.0.0.256", "", "db.example.com", "fd00::1%eth0", None, 7, ["10.0.0.1"],
)  # fmt: skip
ODD_PORTS: Final = (0, -1, 65536, "80", None, True, 1.5)


def world(chance: random.Random) -> tuple[list[Any], list[Any]]:
    """Return Services and EndpointSlices; each namespace and name comes once."""
    services = {_key(one): one for one in (_service(chance) for _ in range(chance.randint(0, 8)))}
    slices = {_key(one): one for one in (_slice(chance) for _ in range(chance.randint(0, 8)))}
    return list(services.values()), list(slices.values())


def snapshot(services: list[Any], slices: list[Any]) -> Snapshot:
    """Return what discovery makes of the objects."""
    return Snapshot(
        tuple(filter(None, (service_from(item).value for item in services))),
        tuple(filter(None, (slice_from(item).value for item in slices))),
    )


def _key(item: Any) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _service(chance: random.Random) -> dict[str, Any]:
    ips = [f"10.96.0.{chance.randint(1, 6)}", f"fd00::{chance.randint(1, 6)}"]
    chance.shuffle(ips)
    kind = chance.choice(("ips", "ips", "ips", "headless", "external", "odd"))
    spec: dict[str, Any] = {"ports": [_port(chance) for _ in range(chance.randint(0, 4))]}
    if kind == "ips":
        chosen = ips[: chance.randint(1, 2)]
        spec |= {"clusterIP": chosen[0], "clusterIPs": chosen}
    elif kind == "headless":
        spec |= {"clusterIP": "None", "clusterIPs": ["None"]}
    elif kind == "external":
        spec |= {"type": "ExternalName", "externalName": "db.example.com"}
    else:
        spec |= {"clusterIP": chance.choice(ODD_ADDRESSES)}
    return {"metadata": _metadata(chance), "spec": spec}


def _port(chance: random.Random) -> Any:
    number: Any = chance.choice(NUMBERS)
    if chance.random() < 0.05:
        number = chance.choice(ODD_PORTS)
    port: dict[str, Any] = {"port": number, "name": chance.choice(PORT_NAMES)}
    if chance.random() < 0.3:
        port["appProtocol"] = chance.choice(PROTOCOLS)
    if chance.random() < 0.1:
        port["protocol"] = chance.choice(("UDP", "SCTP", "TCP"))
    return port


def _slice(chance: random.Random) -> dict[str, Any]:
    family = chance.choice(("IPv4", "IPv4", "IPv4", "IPv6", "FQDN"))
    listed = [
        chance.choice(ODD_ADDRESSES if chance.random() < 0.1 else ADDRESSES[family])
        for _ in range(chance.randint(0, 5))
    ]
    metadata = _metadata(chance)
    metadata["labels"] = {"kubernetes.io/service-name": chance.choice((*NAMES, "A_b", ""))}
    metadata["name"] += f"-{chance.randint(0, 99)}"
    return {
        "metadata": metadata,
        "addressType": family,
        "ports": [_port(chance) for _ in range(chance.randint(0, 3))],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": chance.choice((True, False, None))}}
            for address in listed
        ],
    }


def _metadata(chance: random.Random) -> dict[str, Any]:
    return {"namespace": chance.choice(NAMESPACES), "name": chance.choice(NAMES)}
