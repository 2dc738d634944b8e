"""A rolling restart under load loses nothing: injected beside a workload without a mesh.

The workload has a readiness probe and `preStop: sleep 5`, nothing else. SIDECAR_LAB_NAME names
another lab than the default one.
"""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.command import run
from lab.mesh import contract
from lab.scenario.lab_access import LabAccess
from tests.live.explained import Space, opened, space_of

pytestmark = pytest.mark.live
RATE, SECONDS = 50, 40
"""Requests a second, and for how long: two restarts fit into it."""

LOAD = """
import http.client, json, sys, threading, time
host, keep = sys.argv[1], sys.argv[4] == "keep"
rate, seconds = map(float, sys.argv[2:4])
lost, count, lock, workers = [], 0, threading.Lock(), 10

def ask(connection):
    global count
    why = ""
    try:
        connection = connection or http.client.HTTPConnection(host, 80, timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        why = "" if answer.status == 200 else str(answer.status)
    except Exception as error:
        why = repr(error)
    with lock:
        count += 1
        lost.extend([why] if why else [])
    if keep and not why:
        return connection
    connection.close()

def work(number):
    connection, due, end = None, time.monotonic() + number / rate, time.monotonic() + seconds
    while time.monotonic() < end:
        connection = ask(connection)
        due += workers / rate
        time.sleep(max(0, due - time.monotonic()))

threads = [threading.Thread(target=work, args=(n,)) for n in range(workers)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps([count, lost]))
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[LabAccess]:
    yield from opened()


@pytest.fixture
def mesh(lab: LabAccess) -> Iterator[Space]:
    for space in space_of(lab):
        space.kubectl("label", "namespace", space.name, f"{contract.INJECTION_LABEL}=enabled")
        yield space


@pytest.fixture
def plain(lab: LabAccess) -> Iterator[Space]:
    yield from space_of(lab)


def container() -> dict[str, Any]:
    return {
        "name": "web",
        "image": contract.NGINX_IMAGE,
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
    }


def serve(space: Space) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container()]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    meta = {"name": "web", "namespace": space.name}
    client = {"name": "client", "image": contract.NGINX_IMAGE}
    ports = [{"name": "http", "port": 80}]
    for each in (
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": {"app": "web"}, "ports": ports},
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client", "namespace": space.name},
            "spec": {"containers": [client]},
        },
    ):
        space.kubectl("apply", "-f", "-", stdin=each)
    restarted(space)
    space.kubectl("-n", space.name, "wait", "--for=condition=Ready", "pod/client", "--timeout=60s")


def restarted(space: Space) -> None:
    space.kubectl("-n", space.name, "rollout", "status", "deployment/web", "--timeout=55s")


@pytest.mark.parametrize("connections", ["new", "keep"])
@pytest.mark.parametrize("injected_client", [True, False], ids=["injected client", "plain client"])
def test_two_rolling_restarts_under_load_lose_no_request(
    mesh: Space, plain: Space, connections: str, injected_client: bool
) -> None:
    serve(mesh)
    serve(plain)
    client = mesh if injected_client else plain
    results: dict[str, tuple[int, list[str]]] = {}

    def load(server: Space) -> None:
        kubectl = [client.lab.kubectl or "kubectl", "--kubeconfig", client.lab.kubeconfig]
        argv = [*kubectl, "-n", client.name, "exec", "-i", "client", "--", "python3", "-"]
        argv += [f"web.{server.name}", str(RATE), str(SECONDS), connections]
        results[server.name] = json.loads(run(argv, stdin=LOAD, timeout=SECONDS + 60).stdout)

    threads = [threading.Thread(target=load, args=(each,)) for each in (mesh, plain)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        time.sleep(3)  # some load before, between and after
        for space in (mesh, plain):
            space.kubectl("-n", space.name, "rollout", "restart", "deployment/web")
        for space in (mesh, plain):
            restarted(space)
    for thread in threads:
        thread.join()
    for name, (count, lost) in results.items():
        print("mesh" if name == mesh.name else "no mesh", count, "requests, lost:", lost)
    without = results[plain.name]
    assert results[mesh.name][0] > RATE * SECONDS * 0.9
    assert len(results[mesh.name][1]) <= len(without[1]), results
