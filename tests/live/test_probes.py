"""Probes and hooks on the running lab: a pod with a sidecar is as ready as the same pod without.

Each pod runs plain, with a classic and with a native proxy. SIDECAR_LAB_NAME names another lab
than the default one; it must run our own mesh.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from lab.kube.client import KubeApi
from lab.kube.paths import Object, named
from lab.kube.watch import watch
from lab.mesh import contract
from lab.mesh.injector.settings import annotations as names
from lab.paths import lab_paths
from tests.live.chosen import NAME

pytestmark = pytest.mark.live

NAMESPACE: Final = "live-probes"
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods"
SECONDS: Final = 180.0
MODES: Final = ("plain", "classic", "native")
FINALIZER: Final = "sidecar-lab.dev/looked-at"
SERVE = """
import http.server, signal, sys, threading, time
def said(text):
    with open("/dev/termination-log", "a") as log: log.write(text + " ")
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(4)
            said("hook-done")
        code = 500 if self.path == "/bad" else 200
        if self.path == "/started": said("hook-started")
        if self.path == "/to-bad":
            self.send_response(302)
            self.send_header("Location", f"http://{self.headers['Host']}/bad")
        else:
            self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *words): pass
signal.signal(signal.SIGTERM, lambda *_: (said("told-to-stop"), sys.exit(0)))
server = http.server.ThreadingHTTPServer(("", PORT), App)
threading.Thread(target=server.serve_forever, daemon=True).start()
while True: signal.pause()
"""
LINE_FEEDS = """
import socket
s = socket.create_server(("", 8080))
while True:
    c, _ = s.accept()
    c.recv(4096)
    c.sendall(b"HTTP/1.1 200 OK\\nContent-Type: text/plain\\n\\nok\\n")
    c.close()
"""


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    opened = KubeApi.from_file(lab_paths(NAME).kubeconfig)
    metadata = {"name": NAMESPACE, "labels": {contract.INJECTION_LABEL: "enabled"}}
    opened.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield opened
    opened.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
    opened.close()


def container(name: str = "app", program: str = SERVE, port: int = 8080, **more: Any) -> Object:
    return {
        "name": name,
        "image": contract.PROXY_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", program.replace("PORT", str(port))],
        **more,
    }


def pod(name: str, mode: str, *containers: Object, **spec: Any) -> Object:
    labels = {"sidecar.istio.io/inject": "false"} if mode == "plain" else {}
    annotations = {names.NATIVE_SIDECAR: str(mode == "native").lower()}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-{mode}", "labels": labels, "annotations": annotations},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": list(containers), **spec},
    }


def wait(api: KubeApi, name: str, met: Callable[[Object], bool], what: str) -> Object:
    """The pod when it is so. Fails with what it was last."""
    found: Object = {}
    for pods in watch(api, PODS, SECONDS, named(name)):
        if pods and met(found := pods[0]):
            return found
    raise AssertionError(f"{name}: not {what}: {found.get('status')}")


def run(api: KubeApi, wanted: Object, met: Callable[[Object], bool], what: str) -> Object:
    name = wanted["metadata"]["name"]
    api.request("POST", PODS, wanted)
    try:
        return wait(api, name, met, what)
    finally:
        api.request("DELETE", f"{PODS}/{name}")


def is_ready(found: Object) -> bool:
    conditions = found.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def statuses(found: Object) -> dict[str, Object]:
    status = found.get("status", {})
    every = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return {one["name"]: one for one in every}


def restarts(found: Object) -> dict[str, int]:
    """Of the user's own containers."""
    return {
        name: one["restartCount"]
        for name, one in statuses(found).items()
        if name not in (contract.PROXY_CONTAINER, contract.INIT_CONTAINER)
    }


def get(path: str, port: int = 8080, **more: Any) -> Object:
    return {"httpGet": {"path": path, "port": port}, "periodSeconds": 1, **more}


@pytest.mark.parametrize("mode", MODES)
def test_a_native_sidecar_of_the_users_starts(api: KubeApi, mode: str) -> None:
    sidecar = container(
        "db-proxy",
        port=7000,
        restartPolicy="Always",
        startupProbe=get("/", 7000, failureThreshold=60),
        livenessProbe=get("/", 7000, failureThreshold=3),
        readinessProbe=get("/", 7000),
        lifecycle={"postStart": {"httpGet": {"path": "/started", "port": 7000}}},
    )
    # Its hook is asked the moment the container starts; a server that is not up yet is a failed
    # hook everywhere, so it is up first.
    sidecar["lifecycle"] = {"preStop": {"httpGet": {"path": "/", "port": 7000}}}
    found = run(api, pod("sidecar", mode, container(), initContainers=[sidecar]), is_ready, "ready")
    assert restarts(found) == {"db-proxy": 0, "app": 0}


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_with_bare_line_feeds_is_one(api: KubeApi, mode: str) -> None:
    app = container(program=LINE_FEEDS, readinessProbe=get("/healthz"))
    run(api, pod("line-feeds", mode, app), is_ready, "ready")


@pytest.mark.parametrize("mode", MODES)
def test_a_redirect_to_an_error_of_its_own_is_a_failure(api: KubeApi, mode: str) -> None:
    wanted = pod("redirect", mode, container(readinessProbe=get("/to-bad")))
    name = wanted["metadata"]["name"]
    events = f"/api/v1/namespaces/{NAMESPACE}/events?fieldSelector=involvedObject.name%3D{name}"

    def failed(_: Object) -> bool:
        told = api.request("GET", events)["items"]
        return any(
            "Readiness probe failed: HTTP probe failed with statuscode: 500" in one["message"]
            for one in told
        )

    api.request("POST", PODS, wanted)
    try:
        deadline = time.monotonic() + SECONDS
        while not failed(wanted):
            assert time.monotonic() < deadline, api.request("GET", events)["items"]
            time.sleep(0.2)  # between two looks at the events
        assert not is_ready(api.request("GET", f"{PODS}/{name}"))
    finally:
        api.request("DELETE", f"{PODS}/{name}")


@pytest.mark.parametrize("mode", MODES)
def test_a_hook_after_the_start_is_run(api: KubeApi, mode: str) -> None:
    # The server is up before the hook is: a first container of the pod has it.
    first = container("first", port=7100)
    hook = {"postStart": {"httpGet": {"path": "/started", "port": 7100}}}
    late = container("late", lifecycle=hook, readinessProbe=get("/"))
    found = run(api, pod("hook", mode, first, late), is_ready, "ready")
    assert restarts(found)["first"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_hook_that_nobody_answers_ends_its_container(api: KubeApi, mode: str) -> None:
    hook = {"postStart": {"httpGet": {"path": "/", "port": 7200}}}

    def ended(found: Object) -> bool:
        app = statuses(found).get("app", {})
        states = [*app.get("state", {}).values(), *app.get("lastState", {}).values()]
        return any("PostStartHookError" in str(one.get("reason")) for one in states) or (
            app.get("restartCount", 0) > 0
        )

    run(api, pod("no-hook", mode, container(lifecycle=hook)), ended, "ended by its hook")


@pytest.mark.parametrize("mode", MODES)
def test_a_hook_before_the_end_has_its_own_time(api: KubeApi, mode: str) -> None:
    hook = {"preStop": {"httpGet": {"path": "/slow", "port": 8080}}}
    app = container(lifecycle=hook, readinessProbe=get("/"))
    wanted = pod("end", mode, app, restartPolicy="Never")
    wanted["spec"]["terminationGracePeriodSeconds"] = 60
    wanted["metadata"]["finalizers"] = [FINALIZER]
    name = wanted["metadata"]["name"]
    api.request("POST", PODS, wanted)
    try:
        wait(api, name, is_ready, "ready")
    finally:
        api.request("DELETE", f"{PODS}/{name}")
    try:
        found = wait(
            api, name, lambda one: "terminated" in statuses(one)["app"]["state"], "terminated"
        )
    finally:
        api.request(
            "PATCH", f"{PODS}/{name}", {"metadata": {"finalizers": None}},
            "application/merge-patch+json",
        )  # fmt: skip
    said = statuses(found)["app"]["state"]["terminated"]["message"].split()
    assert said == ["hook-done", "told-to-stop"]
