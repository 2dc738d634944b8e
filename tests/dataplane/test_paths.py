"""Real TCP connections through the applied rules: which listener gets them, and what it is told."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.dataplane import traffic
from tests.dataplane.everyones import as_user
from tests.dataplane.traffic import Landed, dial
from tests.dataplane.world import CLIENT, CLIENT6, INJECTED, POD, POD6, World, iptables

pytestmark = pytest.mark.dataplane

ELSEWHERE = "203.0.113.9"
"""An address that nobody has: what reaches a listener was redirected."""
APP, ENVOY = 1000, 1337


@contextmanager
def mesh(world: World, *flags: str) -> Iterator[None]:
    """The pod as after injection: an application on 80, a metrics port, and Envoy's two ports."""
    world.pod.program(*(flags or INJECTED))
    in_pod = ["0.0.0.0,80", "0.0.0.0,9000", "0.0.0.0,15020", "0.0.0.0,15090"]
    in_pod += ["0.0.0.0,15001", "0.0.0.0,15006", "::,80", "::,15001", "::,15006"]
    outside = ["0.0.0.0,80", "0.0.0.0,3306", "0.0.0.0,15008", "::,80"]
    with (
        traffic.listening(world.pod.name, in_pod),
        traffic.listening(world.client.name, outside),
    ):
        yield


def out(
    world: World, host: str, port: int, uid: int = APP, gid: int | None = None, source: str = ""
) -> Landed | None:
    """Dial from the pod."""
    return dial(world.pod.name, host, port, uid=uid, gid=gid, source=source)


def inbound(world: World, port: int, host: str = POD) -> Landed | None:
    """Dial from the client."""
    return dial(world.client.name, host, port, uid=APP)


def test_without_rules_nothing_is_redirected(world: World) -> None:
    with mesh(world, "-n"):
        assert out(world, CLIENT, 80) == Landed(80, (CLIENT, 80), POD)
        assert inbound(world, 80) == Landed(80, (POD, 80), CLIENT)
        assert out(world, ELSEWHERE, 80) is None


def test_what_the_application_dials_lands_at_15001_with_its_destination(world: World) -> None:
    with mesh(world):
        assert out(world, CLIENT, 80) == Landed(15001, (CLIENT, 80), POD)
        assert out(world, ELSEWHERE, 443) == Landed(15001, (ELSEWHERE, 443), POD)


def test_root_is_redirected_like_any_user_but_envoys(world: World) -> None:
    with mesh(world):
        assert out(world, CLIENT, 80, uid=0) == Landed(15001, (CLIENT, 80), POD)


def test_what_comes_from_outside_lands_at_15006_with_its_destination(world: World) -> None:
    with mesh(world):
        assert inbound(world, 80) == Landed(15006, (POD, 80), CLIENT)
        # Also where nothing listens: Envoy decides, not the kernel.
        assert inbound(world, 4321) == Landed(15006, (POD, 4321), CLIENT)


@pytest.mark.parametrize("port", [15020, 15090])
def test_ports_left_alone_are_reached_directly(world: World, port: int) -> None:
    with mesh(world):
        assert inbound(world, port) == Landed(port, (POD, port), CLIENT)


def test_the_tunnel_port_is_never_captured(world: World) -> None:
    with mesh(world):
        assert inbound(world, 15008) is None  # nobody listens there, and nothing redirects it


def test_envoys_traffic_is_not_redirected_by_user_or_by_group(world: World) -> None:
    with mesh(world):
        assert out(world, CLIENT, 80, uid=ENVOY) == Landed(80, (CLIENT, 80), POD)
        assert out(world, CLIENT, 80, uid=APP, gid=ENVOY) == Landed(80, (CLIENT, 80), POD)
        assert out(world, ELSEWHERE, 80, uid=ENVOY) is None


def test_localhost_is_left_alone(world: World) -> None:
    with mesh(world):
        assert out(world, "127.0.0.1", 80) == Landed(80, ("127.0.0.1", 80), "127.0.0.1")
        assert out(world, "127.0.0.1", 80, uid=ENVOY) == Landed(80, ("127.0.0.1", 80), "127.0.0.1")


def test_the_application_reaches_its_own_address_directly(world: World) -> None:
    with mesh(world):
        assert out(world, POD, 80) == Landed(80, (POD, 80), POD)


def test_envoy_dialling_its_own_pod_is_taken_in_as_inbound(world: World) -> None:
    """The application calls its own service; Envoy picks its own pod as the endpoint."""
    with mesh(world):
        assert out(world, POD, 80, uid=ENVOY) == Landed(15006, (POD, 80), POD)


def test_envoys_inbound_passthrough_reaches_the_application(world: World) -> None:
    """From 127.0.0.6 to the pod's own address: not captured again, which would be a loop."""
    with mesh(world):
        assert out(world, POD, 80, uid=ENVOY, source="127.0.0.6") == Landed(
            80, (POD, 80), "127.0.0.6"
        )


def test_excluded_outbound_ports_and_ranges_bypass(world: World) -> None:
    with mesh(world, *INJECTED, "-o", "3306"):
        assert out(world, CLIENT, 3306) == Landed(3306, (CLIENT, 3306), POD)
        assert out(world, CLIENT, 80) == Landed(15001, (CLIENT, 80), POD)
    with mesh(world, "-i", "*", "-b", "*", "-x", f"{CLIENT}/32"):
        assert out(world, CLIENT, 80) == Landed(80, (CLIENT, 80), POD)
        assert out(world, ELSEWHERE, 80) == Landed(15001, (ELSEWHERE, 80), POD)


def test_only_included_ranges_and_ports_are_captured(world: World) -> None:
    with mesh(world, "-i", "203.0.113.0/24", "-q", "3306", "-b", "80"):
        assert out(world, ELSEWHERE, 80) == Landed(15001, (ELSEWHERE, 80), POD)
        assert out(world, CLIENT, 80) == Landed(80, (CLIENT, 80), POD)
        assert out(world, CLIENT, 3306) == Landed(15001, (CLIENT, 3306), POD)
        assert inbound(world, 80) == Landed(15006, (POD, 80), CLIENT)
        assert inbound(world, 9000) == Landed(9000, (POD, 9000), CLIENT)


def test_an_excluded_interface_is_left_alone_both_ways(world: World) -> None:
    with mesh(world, *INJECTED, "-c", "eth0"):
        assert out(world, CLIENT, 80) == Landed(80, (CLIENT, 80), POD)
        assert inbound(world, 80) == Landed(80, (POD, 80), CLIENT)


def test_owner_groups_choose_who_is_captured(world: World) -> None:
    world.pod.program("-i", "*", "-b", "*", env={"ISTIO_OUTBOUND_OWNER_GROUPS": "2000"})
    listeners = ["0.0.0.0,15001"]
    with (
        traffic.listening(world.pod.name, listeners),
        traffic.listening(world.client.name, ["0.0.0.0,80"]),
    ):
        assert out(world, CLIENT, 80, gid=2000) == Landed(15001, (CLIENT, 80), POD)
        assert out(world, CLIENT, 80, gid=2001) == Landed(80, (CLIENT, 80), POD)


def test_ipv6_takes_the_same_paths(world: World) -> None:
    with mesh(world, *INJECTED, "--dual-stack"):
        assert out(world, CLIENT6, 80) == Landed(15001, (CLIENT6, 80), POD6)
        assert out(world, CLIENT6, 80, uid=ENVOY) == Landed(80, (CLIENT6, 80), POD6)
        assert inbound(world, 80, host=POD6) == Landed(15006, (POD6, 80), CLIENT6)
        assert out(world, POD6, 80, uid=ENVOY, source="::6") == Landed(80, (POD6, 80), "::6")


def test_tproxy_keeps_both_addresses(world: World) -> None:
    world.pod.program("-m", "TPROXY", "-i", "*", "-b", "*", "-d", "15090")
    listeners = ["0.0.0.0,80", "0.0.0.0,15001", "0.0.0.0,15090", "0.0.0.0,t15006"]
    with traffic.listening(world.pod.name, listeners):
        landed = inbound(world, 80)
        assert landed is not None
        assert (landed.at, landed.original, landed.peer) == (15006, (POD, 80), CLIENT)
        assert inbound(world, 15090) == Landed(15090, (POD, 15090), CLIENT)
        assert out(world, CLIENT, 80) == Landed(15001, (CLIENT, 80), POD)
    world.pod.program("--cleanup-only")
    assert "fwmark" not in world.pod.run("ip", "rule").stdout
    shown = world.pod.run("ip", "route", "show", "table", "133", check=False).stdout
    assert shown == ""


def test_validation_dials_both_ways_and_passes(world: World) -> None:
    log = world.pod.program(*INJECTED, "--run-validation").stdout
    assert "inbound: 127.0.0.6:15002 landed at port 15006, as it should" in log
    assert "outbound: 192.0.2.1:15002 landed at port 15001, as it should" in log


def test_validation_under_the_init_containers_rights_still_dials_outbound(world: World) -> None:
    least = ("setpriv", "--inh-caps=-all", "--bounding-set=-all,+net_admin,+net_raw")
    log = world.pod.program(*INJECTED, "--run-validation", before=least).stdout
    assert "inbound: not dialled: this process may not become user 1337" in log
    assert "outbound: 192.0.2.1:15002 landed at port 15001, as it should" in log


@pytest.mark.parametrize(
    ("damage", "way"), [("ISTIO_IN_REDIRECT", "inbound"), ("ISTIO_REDIRECT", "outbound")]
)
def test_validation_without_rights_fails_by_dialling(world: World, damage: str, way: str) -> None:
    """As the validation container of Istio: Envoy's user, no capability, only connections."""
    world.pod.program()
    who = as_user(ENVOY if way == "inbound" else APP)
    flags = (*INJECTED, "--skip-rule-apply", "--run-validation", "--probe-timeout", "1s")
    argv = (*who, *iptables(), *flags)
    passed = world.pod.run(*argv, check=False)
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert f"{way}: " in passed.stdout
    assert "as it should" in passed.stdout
    world.pod.run("iptables", "-t", "nat", "-F", damage)
    failed = world.pod.run(*argv, check=False)
    assert failed.returncode == 126, failed.stdout + failed.stderr
    assert f"error: {way}: " in failed.stdout
