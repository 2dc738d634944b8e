"""Parts of pods to change pods with: probes, hooks, security contexts, whole containers. Pure."""

import copy
from collections.abc import Callable
from random import Random
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.injector import sidecar_volumes as made
from tests.fuzz import odd

Pod = dict[str, Any]
PORTS: Final = (80, 8080, 15000, 15001, 15006, 15020, 15021, 15090, 65535)
PORT_NAMES: Final = ("web", "http", "http-envoy-prom", "grpc", "nowhere")
VOLUMES: Final = (*made.VOLUMES, made.VOLUME_BOOTSTRAP, "data", "mine")
PATHS: Final = (
    "/data", contract.CONFIG_DIR, contract.POD_INFO_DIR, contract.ROOT_CERT_DIR,
    made.BOOTSTRAP_DIR, "/var/lib/istio/data", "/",
)  # fmt: skip
OURS: Final = (contract.PROXY_CONTAINER, contract.INIT_CONTAINER)
SOURCES: Final[tuple[Pod, ...]] = (
    {"emptyDir": {}}, {"emptyDir": {"medium": "Memory", "sizeLimit": "5Mi"}},
    {"configMap": {"name": "c", "optional": True}}, {"hostPath": {"path": "/x"}},
    {"secret": {"secretName": "s"}},
)  # fmt: skip


def source(rng: Random) -> Pod:
    """Where a volume's content is; a copy, for what is made of it is mutated in place."""
    made_of: Pod = copy.deepcopy(rng.choice(SOURCES))
    return made_of


def probe(rng: Random) -> Pod:
    """A probe of any sort; now and then one that no API server takes."""
    port = rng.choice((*PORTS, *PORT_NAMES, "8080"))
    action: Pod = rng.choice((
        {"httpGet": {"port": port}}, {"httpGet": {"port": port, "path": "/p", "scheme": "HTTPS"}},
        {"httpGet": {"port": port, "path": "/app-health/app/livez"}},
        {"httpGet": {"port": port, "host": "10.1.2.3"}},
        {"httpGet": {"port": port, "path": "/p", "httpHeaders": [{"name": "Host", "value": "h"}]}},
        {"tcpSocket": {"port": port}}, {"tcpSocket": {"port": port, "host": "localhost"}},
        {"grpc": {"port": rng.choice(PORTS)}}, {"grpc": {"port": 9000, "service": "s"}},
        {"exec": {"command": ["true"]}},
    ))  # fmt: skip
    made_of = {**action}
    for key in ("periodSeconds", "timeoutSeconds", "failureThreshold", "initialDelaySeconds"):
        if rng.random() < 0.3:
            made_of[key] = rng.choice((1, 2, 10, 3600))
    if rng.random() < 0.1:
        made_of["terminationGracePeriodSeconds"] = 5
    if rng.random() < 0.05:
        made_of[rng.choice(("httpGet", "tcpSocket", "grpc"))] = odd.value(rng)
    return made_of


def hook(rng: Random) -> Pod:
    """A lifecycle handler."""
    port = rng.choice((*PORTS, *PORT_NAMES))
    chosen: Pod = rng.choice((
        {"httpGet": {"port": port, "path": "/h"}}, {"tcpSocket": {"port": port}},
        {"exec": {"command": ["true"]}}, {"sleep": {"seconds": 1}},
    ))  # fmt: skip
    return chosen


def own_container(rng: Random) -> Pod:
    """A container named as one of ours, with settings of its user's."""
    own: Pod = {"name": rng.choice((*OURS, OURS[0])), "image": rng.choice(("auto", "auto", "i"))}
    some: dict[str, Callable[[], Any]] = {
        "startupProbe": lambda: probe(rng),
        "readinessProbe": lambda: probe(rng),
        "livenessProbe": lambda: probe(rng),
        "lifecycle": lambda: {rng.choice(("preStop", "postStart")): hook(rng)},
        "securityContext": lambda: security(rng),
        "restartPolicy": lambda: "Always",
        "resources": lambda: rng.choice((
            {"limits": {"cpu": "5m"}}, {"requests": {"cpu": "3"}}, {"limits": {"memory": "1Mi"}},
            {"limits": {"cpu": "9", "memory": "9Gi"}}, {"requests": {"memory": "1"}}, {},
        )),
        "env": lambda: [rng.choice((
            {"name": "TRUST_DOMAIN", "value": "td"}, {"name": "POD_NAME", "value": "x"},
            {"name": "ISTIO_KUBE_APP_PROBERS", "value": rng.choice(("{}", "[]", "x", '{"a":1}'))},
            {"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ))],
        "ports": lambda: [{"name": rng.choice(PORT_NAMES), "containerPort": rng.choice(PORTS)}],
        "volumeMounts": lambda: [{"name": rng.choice(VOLUMES), "mountPath": rng.choice(PATHS)}],
        "args": lambda: ["proxy", "sidecar"],
        "command": lambda: ["x", "-u"],
        "tty": lambda: True,
        "workingDir": lambda: "/",
    }  # fmt: skip
    for key in rng.sample(tuple(some), rng.randrange(4)):
        own[key] = some[key]()
    return own


def security(rng: Random) -> Pod:
    """A container's security context."""
    every: Pod = {
        "runAsUser": rng.choice((0, 1, 1337, 4711)), "runAsGroup": rng.choice((0, 1337, 9)),
        "runAsNonRoot": rng.random() < 0.5, "privileged": rng.random() < 0.6,
        "allowPrivilegeEscalation": rng.random() < 0.5,
        "capabilities": {"add": [rng.choice(("CAP_SYS_ADMIN", "SYS_ADMIN", "NET_RAW"))]},
        "seccompProfile": rng.choice(
            ({"type": "Unconfined"}, {"type": "Localhost", "localhostProfile": "p"})
        ),
        "procMount": "Default", "readOnlyRootFilesystem": False,
    }  # fmt: skip
    return {key: every[key] for key in rng.sample(tuple(every), rng.randrange(1, 4))}
