"""Whatever the objects of a cluster are, the real Envoy accepts what is made of them.

`nox -s fuzz -- --worlds N` tries thousands of worlds, of a seed of its own.
"""

import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from lab.mesh.discovery.resources import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, Catalog, Identity
from tests.unit.mesh.discovery import worlds

ME = Identity("shop", "client", ("10.244.0.9",))
WORLDS = int(os.environ.get("SIDECAR_LAB_WORLDS", "100"))
SEED = os.environ.get("SIDECAR_LAB_WORLDS_SEED", "steady")


def test_envoy_accepts_every_world(
    server: Any, start_envoy: Callable[[], Any], wait_for: Callable[..., Any]
) -> None:
    chance = random.Random(SEED)
    envoy = None
    for number in range(WORLDS):
        services, slices = worlds.world(chance)
        snapshot = worlds.snapshot(services, slices)
        view = Catalog(snapshot).view(ME)
        server.publish(snapshot)
        envoy = envoy or start_envoy()

        def in_step(view: Any = view) -> bool:
            types: dict[str, Any] = next((proxy["types"] for proxy in server.hub.status()), {})
            return (
                all(types.get(kind, {}).get("in_step") for kind in ("CDS", "LDS", "RDS"))
                and types["CDS"]["accepted"] == view[CLUSTERS].version
                and types["LDS"]["accepted"] == view[LISTENERS].version
                and ("EDS" not in types or types["EDS"]["in_step"])
            )

        wait_for(f"world {number} of seed {SEED!r}", lambda: in_step() or server.hub.counts.nacks)
        told = f"world {number} of seed {SEED!r}: {server.hub.status()}\n{services}\n{slices}"
        assert not server.hub.counts.nacks, told


@pytest.mark.parametrize("number", range(200))
def test_an_object_of_another_namespace_changes_only_what_it_should(number: int) -> None:
    chance = random.Random(f"{SEED} {number}")
    services, slices = worlds.world(chance)
    foreign = worlds.world(chance)
    for item in (*foreign[0], *foreign[1]):
        item["metadata"]["namespace"] = "foreign"
    before = worlds.snapshot(services, slices)
    after = worlds.snapshot([*services, *foreign[0]], [*slices, *foreign[1]])
    old, new = Catalog(before).view(ME), Catalog(after).view(ME)
    theirs = {service.name for service in after.services if service.namespace == "foreign"}
    suffixes = tuple(f"{name}.foreign.svc.cluster.local" for name in theirs)
    for url in (CLUSTERS, ENDPOINTS):
        for name in old[url].by_name.keys() | new[url].by_name.keys():
            if not name.endswith(suffixes):
                assert old[url].by_name.get(name) == new[url].by_name.get(name), name
    inbound = "virtualInbound"
    assert old[LISTENERS].by_name[inbound] == new[LISTENERS].by_name[inbound]
    taken = {ip for service in before.services for ip in service.cluster_ips}
    for name, listener in old[LISTENERS].by_name.items():
        if name.rpartition("_")[0] in taken and name in new[LISTENERS].by_name:
            if any(name.startswith(f"{ip}_") for ip in _their_ips(after)):
                continue  # an API server gives one address to one Service
            assert new[LISTENERS].by_name[name] == listener, name
    for name, table in old[ROUTES].by_name.items():
        if "." in name:
            assert new[ROUTES].by_name[name] == table, name


def _their_ips(snapshot: Any) -> set[str]:
    return {ip for s in snapshot.services if s.namespace == "foreign" for ip in s.cluster_ips}
