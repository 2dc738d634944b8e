"""Services and EndpointSlices of anybody: what is read, what is left out, and why."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.discovery.api_objects import parse_address, service_from, slice_from
from lab.mesh.discovery.snapshot import Service, ServicePort, SliceEndpoint, SlicePort

META = {"name": "web", "namespace": "shop"}
OWNED = {"labels": {"kubernetes.io/service-name": "web"}}


def service(**spec: Any) -> dict[str, Any]:
    return {"metadata": META, "spec": spec}


def endpoint_slice(*addresses: Any, family: str = "IPv4", **more: Any) -> dict[str, Any]:
    return {
        "metadata": META | OWNED,
        "addressType": family,
        "ports": [{"port": 80}],
        "endpoints": [{"addresses": [address]} for address in addresses],
        **more,
    }


def test_objects_are_read_with_their_documented_defaults() -> None:
    ports = [{"port": 80, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    read = service_from(service(clusterIP="10.96.0.1", ports=ports))
    assert read == (Service("shop", "web", (ServicePort(80),), ("10.96.0.1",)), ())
    headless = service_from(service(clusterIP="None")).value
    external = service_from(service(type="ExternalName")).value
    assert headless is not None
    assert external is not None
    assert (headless.headless, external.headless, external.external_name) == (True, False, True)
    conditions = {"addresses": ["10.0.0.2"], "conditions": {"ready": False, "serving": True}}
    made = endpoint_slice("10.0.0.1")
    made["endpoints"].append(conditions)
    value = slice_from(made).value
    assert value is not None
    assert value.ports == (SlicePort("", 80),)
    assert value.endpoints == (
        SliceEndpoint("10.0.0.1"),
        SliceEndpoint("10.0.0.2", ready=False, serving=True),
    )
    assert slice_from({"metadata": META}) == (None, ())


def test_the_case_of_an_fqdn_slice_is_left_out_and_its_service_stays() -> None:
    metadata = {"namespace": "shop", "name": "ext"}
    assert service_from({"metadata": metadata, "spec": {"ports": [{"port": 80}]}}).value
    fqdn = endpoint_slice("db.example.com", family="FQDN")
    assert slice_from(fqdn) == (None, ("addressType 'FQDN' is not an IP's",))


@pytest.mark.parametrize(
    ("address", "family", "problem"),
    [
        ("db.example.com", "IPv4", "not an IPv4 address"),
        ("10.0.0.300", "IPv4", "not an IPv4 address"),
        ("fd00::1", "IPv4", "not an IPv4 address"),
        ("10.0.0.1", "IPv6", "not an IPv6 address"),
        ("fe80::1%eth0", "IPv6", "not an IPv6 address"),
        ("::ffff:127.0.0.1", "IPv6", "not an IPv6 address"),
        ("127.0.0.1", "IPv4", "means another machine to each sidecar"),
        ("::1", "IPv6", "means another machine to each sidecar"),
        ("0.0.0.0", "IPv4", "means another machine to each sidecar"),
        ("169.254.169.254", "IPv4", "means another machine to each sidecar"),
        ("224.0.0.1", "IPv4", "is no single machine's"),
        (17, "IPv4", "not an IPv4 address"),
        (None, "IPv4", "not an IPv4 address"),
        ({"ip": "10.0.0.1"}, "IPv4", "not an IPv4 address"),
    ],
)
def test_an_address_that_no_sidecar_could_dial_is_left_out_alone(
    address: Any, family: str, problem: str
) -> None:
    good = "10.0.0.9" if family == "IPv4" else "fd00::9"
    read = slice_from(endpoint_slice(good, address, family=family))
    assert read.value is not None
    assert read.value.endpoints == (SliceEndpoint(good),)
    (told,) = read.problems
    assert problem in told


@pytest.mark.parametrize(
    ("text", "meant"),
    [("010.001.0.09", "10.1.0.9"), ("10.0.0.10", "10.0.0.10"), ("0.0.0.0", "0.0.0.0")],
)
def test_leading_zeros_are_decimal_as_the_api_server_reads_them(text: str, meant: str) -> None:
    assert str(parse_address(text)) == meant


@pytest.mark.parametrize(
    ("port", "problem"),
    [
        ({"port": 0}, "not a port's number: 0"),
        ({"port": 65536}, "not a port's number: 65536"),
        ({"port": True}, "not a port's number: True"),
        ({"port": "80"}, "not a port's number: '80'"),
        ({"port": 80, "name": "a b"}, "not a port's name: 'a b'"),
        ({"port": 80, "name": "x" * 64}, "not a port's name"),
        (80, "not a port: 80"),
        ({"port": 80, "appProtocol": "\n"}, "appProtocol of port 80 is no protocol"),
    ],
)
def test_a_port_that_cannot_be_is_named(port: Any, problem: str) -> None:
    read = service_from(service(clusterIP="10.96.0.1", ports=[{"port": 81}, port]))
    assert read.value is not None
    assert ServicePort(81) in read.value.ports
    (told,) = read.problems
    assert problem in told


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [],
        {"name": "web"},
        {"namespace": "shop"},
        {"name": "web", "namespace": "a|b"},
        {"name": "*", "namespace": "shop"},
        {"name": "web.other", "namespace": "shop"},
        {"name": 5, "namespace": "shop"},
    ],
)
def test_a_name_that_would_be_another_name_in_a_configuration_makes_no_service(
    metadata: Any,
) -> None:
    read = service_from({"metadata": metadata, "spec": {"ports": [{"port": 80}]}})
    assert read.value is None
    assert read.problems


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = ("clusterIP", "clusterIPs", "ports", "type", "endpoints", "addressType", "conditions")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), JSON)
def test_whatever_the_fields_hold_nothing_is_raised_and_addresses_are_addresses(
    fields: dict[str, Any], metadata: Any
) -> None:
    service_from({"metadata": metadata, "spec": fields})
    service_from({"metadata": META, "spec": metadata})
    slice_from({"metadata": metadata, **fields})
    read = service_from({"metadata": META, "spec": fields})
    for text in read.value.cluster_ips if read.value else ():
        ipaddress.ip_address(text)
    found = slice_from({"addressType": "IPv4", **fields, "metadata": META | OWNED})
    for endpoint in found.value.endpoints if found.value else ():
        ipaddress.IPv4Address(endpoint.address)
