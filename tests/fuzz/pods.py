"""Changes to a pod that mean something: what people, other injectors and forgers write.

In place; most keep the pod acceptable to an API server, so that the injector's work on it shows.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.injector import containers as made
from lab.mesh.injector.settings import annotations as names
from tests.fuzz import odd
from tests.fuzz.parts import (
    OURS,
    PATHS,
    PORT_NAMES,
    PORTS,
    VOLUMES,
    Pod,
    hook,
    own_container,
    probe,
    security,
    source,
)
from tests.peers.values import VALUES

STATUS_KEYS: Final = (
    "initContainers", "containers", "volumes", "labels", "annotations", "imagePullSecrets",
    "revision", "probePorts", "places", "replacedVolumes",
)  # fmt: skip


def metadata(pod: Pod, key: str) -> Pod:
    """Labels or annotations, made where there are none that can be added to."""
    holder = pod.get("metadata")
    if not isinstance(holder, dict):
        holder = pod["metadata"] = {"name": "made"}
    if not isinstance(holder.get(key), dict):
        holder[key] = {}
    entries: Pod = holder[key]
    return entries


def group(pod: Pod, key: str) -> list[Any]:
    """A list of the pod's spec, made where there is none."""
    spec = pod.get("spec")
    if not isinstance(spec, dict):
        spec = pod["spec"] = {}
    if not isinstance(spec.get(key), list):
        spec[key] = []
    entries: list[Any] = spec[key]
    return entries


def container(rng: Random, pod: Pod) -> Pod:
    """One of the pod's containers, or a new one."""
    known = [c for key in ("containers", "initContainers") for c in group(pod, key)]
    usable = [c for c in known if isinstance(c, dict)]
    if not pod["spec"]["initContainers"]:
        del pod["spec"]["initContainers"]
    if usable:
        return rng.choice(usable)
    new = {"name": "new", "image": "nginx"}
    group(pod, "containers").append(new)
    return new


def annotate(rng: Random, pod: Pod) -> None:
    """An annotation that the injector reads, with a value of the corpus, one changed, or junk."""
    entries = metadata(pod, "annotations")
    for _ in range(rng.choice((1, 1, 2, 4))):
        name = rng.choice(tuple(VALUES))
        text = rng.choice(VALUES[name])
        how = rng.random()
        if how < 0.15:
            text = rng.choice(odd.TEXTS)
        elif how < 0.3:
            text = rng.choice(rng.choice(tuple(VALUES.values())))
        elif how < 0.4 and text:
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(odd.TEXTS[:30]) + text[at + rng.randrange(2) :]
        entries[name] = text


def resources(rng: Random, pod: Pod) -> None:
    """Requests and limits by annotation that may not fit each other."""
    entries = metadata(pod, "annotations")
    for name in rng.sample(names.RESOURCES, rng.randrange(1, 5)):
        cpu = name in (names.PROXY_CPU, names.PROXY_CPU_LIMIT)
        entries[name] = rng.choice(
            ("10m", "1", "0", "1.5", "0.0001", "3e1", "1k", "+2")
            if cpu
            else ("1Mi", "1Gi", "0", "10", "1e9", "128M", "100m", "9E", "99999Ei")
        )


def brought(rng: Random, pod: Pod) -> None:
    """Volumes, mounts and overrides that come as JSON in annotations."""
    entries = metadata(pod, "annotations")
    which = rng.randrange(3)
    if which == 0:
        volumes = {rng.choice(VOLUMES): source(rng) for _ in range(rng.choice((1, 2)))}
        entries[names.USER_VOLUME] = json.dumps(volumes)
        if rng.random() < 0.7:
            mounts = {name: {"mountPath": rng.choice((*PATHS, f"/{name}"))} for name in volumes}
            entries[names.USER_VOLUME_MOUNT] = json.dumps(mounts)
    elif which == 1:
        mounts = {rng.choice((*VOLUMES, "absent")): {"mountPath": rng.choice(PATHS)}}
        entries[names.USER_VOLUME_MOUNT] = json.dumps(mounts)
    else:
        where = rng.choice(("containers", "initContainers"))
        entries[names.OVERRIDES] = json.dumps({where: [own_container(rng)]})


def label(rng: Random, pod: Pod) -> None:
    """A label that names the workload or decides."""
    key = rng.choice((
        "app", "version", "app.kubernetes.io/name", "app.kubernetes.io/version", "istio.io/rev",
        "service.istio.io/canonical-name", "service.istio.io/canonical-revision",
        made.WORKLOAD_LABEL, made.NETWORK_LABEL, contract.INJECT_POD_LABEL, "pod-template-hash",
    ))  # fmt: skip
    text = rng.choice(("", "a", "true", "false", "x" * 63, "A.b_c-d", "5d59f98"))
    metadata(pod, "labels")[key] = text


def name(rng: Random, pod: Pod) -> None:
    """The pod's name, or the workload that made it."""
    metadata(pod, "labels")
    holder = pod["metadata"]
    text = rng.choice(("a", "a" * 63, "a." * 100 + "a", "web-5d59f98-x2k4j", "0", "x" * 62 + "-b"))
    which = rng.randrange(3)
    if which == 0:
        holder["name"] = text
    elif which == 1:
        holder.pop("name", None)
        holder["generateName"] = f"{text}-"
    else:
        kind, version = rng.choice(
            (("ReplicaSet", "apps/v1"), ("Job", "batch/v1"), ("Thing", "example.com/v1"))
        )
        owner = {"apiVersion": version, "kind": kind, "name": text, "uid": "u"}
        holder["ownerReferences"] = [{**owner, "controller": rng.random() < 0.8}]


def probes(rng: Random, pod: Pod) -> None:
    """Probes and hooks on a container."""
    target = container(rng, pod)
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        if rng.random() < 0.5:
            target[key] = probe(rng)
    if rng.random() < 0.4:
        hooks = {key: hook(rng) for key in ("postStart", "preStop") if rng.random() < 0.7}
        target["lifecycle"] = hooks


def ports(rng: Random, pod: Pod) -> None:
    """Ports, ours and clashing ones among them."""
    target = container(rng, pod)
    for _ in range(rng.choice((1, 2, 5))):
        port: Pod = {"containerPort": rng.choice(PORTS)}
        if rng.random() < 0.6:
            port["name"] = rng.choice(PORT_NAMES)
        if rng.random() < 0.4:
            port["protocol"] = rng.choice(("TCP", "UDP", "SCTP"))
        if rng.random() < 0.2:
            port["hostPort"] = port["containerPort"]
        known = target.setdefault("ports", [])
        if isinstance(known, list):
            known.append(port)


def volumes(rng: Random, pod: Pod) -> None:
    """A volume, often named as one of ours, and mounts of it."""
    chosen = rng.choice(VOLUMES)
    group(pod, "volumes").append({"name": chosen, **source(rng)})
    if rng.random() < 0.7:
        mounts = container(rng, pod).setdefault("volumeMounts", [])
        if isinstance(mounts, list):
            mounts.append({"name": chosen, "mountPath": rng.choice(PATHS)})


def own_proxy(rng: Random, pod: Pod) -> None:
    """A user's own istio-proxy or istio-init, in either list."""
    new = own_container(rng)
    for key in ("containers", "initContainers"):
        known = group(pod, key)
        known[:] = [c for c in known if not isinstance(c, dict) or c.get("name") != new["name"]]
    where = group(pod, rng.choice(("containers", "initContainers")))
    where.insert(rng.randrange(len(where) + 1), new)


def init(rng: Random, pod: Pod) -> None:
    """Init containers, some of which keep running."""
    for number in range(rng.choice((1, 2))):
        new: Pod = {"name": f"init-{rng.randrange(99)}-{number}", "image": "busybox"}
        if rng.random() < 0.4:
            new["restartPolicy"] = "Always"
            if rng.random() < 0.5:
                new["startupProbe"] = probe(rng)
        group(pod, "initContainers").append(new)


def forge(rng: Random, pod: Pod) -> None:
    """A status annotation that someone wrote or damaged."""
    entries = metadata(pod, "annotations")
    old = entries.get(contract.STATUS_ANNOTATION)
    try:
        status = json.loads(old) if isinstance(old, str) else {}
    except ValueError:
        status = {}
    status = status if isinstance(status, dict) else {}
    app = container(rng, pod).get("name")
    for _ in range(rng.choice((1, 2, 3))):
        key = rng.choice(STATUS_KEYS)
        every: tuple[Any, ...] = (
            [rng.choice((*OURS, *VOLUMES, "app", "version", app))], [], None, odd.value(rng),
            [["containers", rng.choice((0, 9, -3, 10**9)), own_container(rng)]],
            [["initContainers", 0, own_container(rng)]],
            [{"name": rng.choice(VOLUMES), **source(rng)}],
            {f"/app-health/{app}/livez": rng.choice(PORT_NAMES)},
        )  # fmt: skip
        status[key] = rng.choice(every)
    text = json.dumps(status)
    entries[contract.STATUS_ANNOTATION] = text[: rng.choice((len(text), len(text), 9))]


def of_the_pod(rng: Random, pod: Pod) -> None:
    """A setting of the whole pod that a sidecar has to live with."""
    group(pod, "containers")
    every: Pod = {
        "hostNetwork": True, "dnsPolicy": rng.choice(("Default", "None", "ClusterFirst")),
        "securityContext": rng.choice((
            {"runAsUser": 1337}, {"runAsNonRoot": True}, {"fsGroup": 5, "supplementalGroups": [7]},
            {"windowsOptions": {"runAsUserName": "u"}}, {"seccompProfile": {"type": "Unconfined"}},
            {"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]}, {},
        )),
        "os": {"name": rng.choice(("linux", "windows"))},
        "resources": rng.choice((
            {"limits": {"cpu": "100m"}}, {"requests": {"cpu": "1m"}}, {"limits": {"cpu": "8"}},
            {"limits": {"memory": "64Mi"}, "requests": {"memory": "64Mi"}}, {},
        )),
        "shareProcessNamespace": True, "hostUsers": False, "hostPID": True, "hostIPC": True,
        "restartPolicy": rng.choice(("Always", "OnFailure", "Never")),
        "activeDeadlineSeconds": 60, "terminationGracePeriodSeconds": rng.choice((0, 1, 9999)),
        "serviceAccountName": "default", "automountServiceAccountToken": False,
        "schedulingGates": [{"name": "example.com/gate"}], "setHostnameAsFQDN": True,
        "enableServiceLinks": False, "hostname": "h", "subdomain": "s", "priority": 0,
        "ephemeralContainers": [{"name": "istio-proxy", "image": "i"}],
    }  # fmt: skip
    key = rng.choice(tuple(every))
    pod["spec"][key] = every[key]


def of_a_container(rng: Random, pod: Pod) -> None:
    """A setting of a container that the injector reads or passes on."""
    target = container(rng, pod)
    key = rng.choice(("name", "securityContext", "env", "image", "resources", "stopSignal"))
    every: Pod = {
        "name": rng.choice(("istio-proxy", "istio-init", "app", "a" * 63)),
        "securityContext": security(rng), "env": [{"name": "A", "value": rng.choice(odd.TEXTS)}],
        "image": rng.choice(("auto", "nginx")), "resources": {"limits": {"cpu": "1"}},
        "stopSignal": "SIGTERM",
    }  # fmt: skip
    target[key] = every[key]


def bulk(rng: Random, pod: Pod) -> None:
    """Much of something that may be large."""
    which = rng.randrange(4)
    if which == 0:
        size = rng.choice((100_000, 250_000, 261_000, 262_100, 270_000))
        metadata(pod, "annotations")["example.com/large"] = "x" * size
    elif which == 1:
        entries = metadata(pod, "labels")
        entries |= {f"label-{n}": "v" for n in range(300)}
    elif which == 2:
        more = [{"name": f"c{n}", "image": "nginx", "livenessProbe": probe(rng)} for n in range(60)]
        group(pod, "containers").extend(more)
    else:
        env = [{"name": f"E{n}", "value": "v" * 50} for n in range(500)]
        container(rng, pod)["env"] = env


CHANGES: Final[tuple[tuple[int, Callable[[Random, Pod], None]], ...]] = (
    (5, annotate), (2, resources), (2, brought), (2, label), (2, name), (4, probes), (2, ports),
    (2, volumes), (4, own_proxy), (2, init), (3, forge), (3, of_the_pod), (2, of_a_container),
    (1, bulk),
)  # fmt: skip
"""How often each is chosen, relative to the others."""


def change(rng: Random, pod: Pod) -> None:
    """One change that means something."""
    weights = [weight for weight, _ in CHANGES]
    rng.choices([function for _, function in CHANGES], weights)[0](rng, pod)
