"""The matrix of flows through our rules alone: every path as expected, every rule needed by one.

Beside real Istio's program the same matrix runs in `nox -s peers`.
"""

import uuid
from collections.abc import Iterator

import pytest

from tests.dataplane.world import World
from tests.peers import flows, flows_matrix, flows_traffic
from tests.peers.flows_matrix import SETTINGS, Setting
from tests.peers.rules_world import OURS

pytestmark = pytest.mark.dataplane

ROWS = flows_matrix.flows()
V4_ROWS = [one for one in ROWS if one.version == 4]
SHADOWED = {
    "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN": "over lo the rules for users have already let it "
    "go; it holds only where those are left out",
    "-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN": "the same rule for users comes "
    "first and lets all go but Envoy's own user",
    "-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -p tcp -m tcp ! --dport 15008 -m owner "
    "--gid-owner 1337 -j ISTIO_IN_REDIRECT": "what group 1337 sends over lo was let go for its "
    "user, or redirected for its user",
}
"""Rules of Istio's whose loss no packet notices while the rules for users stand before them."""


@pytest.mark.parametrize("setting", [one for one in SETTINGS if one.dual], ids=lambda one: one.name)
def test_every_flow_takes_the_path_that_the_setting_asks_for(tools: None, setting: Setting) -> None:
    found = flows.paths(OURS, setting, ROWS)
    wrong = {
        row.name: (setting.expected(row), path)
        for row, path in zip(ROWS, found, strict=True)
        if path != setting.expected(row)
    }
    assert wrong == {}


@pytest.fixture
def injected(tools: None) -> Iterator[World]:
    with (
        flows.far_reaching(uuid.uuid4().hex[:8]) as world,
        flows_traffic.serving(world.pod.name, "pod", flows_matrix.sockets("pod")),
        flows_traffic.serving(world.client.name, "far", flows_matrix.sockets("far")),
    ):
        world.pod.program()
        yield world


def test_the_loss_of_any_rule_is_noticed_by_a_flow(injected: World) -> None:
    whole = _paths(injected)
    unnoticed = set()
    for rule in injected.pod.saved():
        chain = rule.split()[1]
        place = [one for one in injected.pod.saved() if one.split()[1] == chain].index(rule) + 1
        spec = rule.split()[2:]
        injected.pod.run("iptables", "-t", "nat", "-D", chain, *spec)
        if _paths(injected) == whole:
            unnoticed.add(rule)
        injected.pod.run("iptables", "-t", "nat", "-I", chain, str(place), *spec)
    assert unnoticed == set(SHADOWED)


def _paths(world: World) -> dict[str, str]:
    found: dict[str, str] = {}
    for side, namespace in (("pod", world.pod), ("client", world.client)):
        mine = [one for one in V4_ROWS if one.side == side]
        ended = flows_traffic.dial(namespace.name, [one.dial for one in mine])
        found |= {one.name: path for one, path in zip(mine, ended, strict=True)}
    return found
