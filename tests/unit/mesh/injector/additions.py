"""Annotations that add something to a pod, drawn from the API's own types: most of them usable.

The same number gives the same pod.
"""

import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

from lab.mesh.injector.settings import annotations
from lab.mesh.manifest import pod_types

Pod = dict[str, Any]

_TEXTS: Final[dict[str, list[str]]] = {
    "imagePullPolicy": ["Always", "Never", "Sometimes", ""],
    "pullPolicy": ["Always", "IfNotPresent", "x"],
    "terminationMessagePolicy": ["File", "FallbackToLogsOnError", "x"],
    "restartPolicy": ["Always", "Never", "RestartContainer", "NotRequired"],
    "protocol": ["TCP", "UDP", "SCTP", "tcp", ""],
    "scheme": ["HTTP", "HTTPS", "http"],
    "medium": ["", "Memory", "HugePages-2Mi", "x"],
    "mountPropagation": ["None", "HostToContainer", "Bidirectional", "x"],
    "recursiveReadOnly": ["Disabled", "IfPossible", "Enabled", "x"],
    "fieldPath": ["metadata.name", "status.podIP", "metadata.labels['a']", "spec.x", ""],
    "resource": ["limits.cpu", "requests.memory", "limits.x", "cpu"],
    "resourceName": ["cpu", "memory", "x"],
    "mountPath": ["/a", "/b/", "relative", "/a:b", "/etc/istio/proxy", "/..", ""],
    "devicePath": ["/dev/a", "/dev/../b", "/a", ""],
    "subPath": ["a", "a/b", "/a", "../a", "a/..", ""],
    "subPathExpr": ["$(A)", "/a", ""],
    "path": ["a", "/a", "a/b", "../a", "/a/../b", "a/..", ""],
    "type": ["RuntimeDefault", "Unconfined", "Localhost", "Directory", "x", ""],
    "procMount": ["Default", "Unmasked", "x"],
    "localhostProfile": ["a", "/a", ""],
    "key": ["a", "a.b", "a/b", ".", ""],
    "apiVersion": ["v1", "v2"],
    "stopSignal": ["SIGTERM"],
    "hostIP": ["1.2.3.4", "x"],
    "image": ["nginx", "auto", "a b", ""],
    "reference": ["nginx", ""],
    "action": ["Restart"],
    "mode": [""],
}
_NAMES: Final = ["a", "b", "istio-data", "istio-envoy", "mine", "UPPER", "a.b", ""]
_NUMBERS: Final = [1, 80, 5, 8080, 0, 600, 3600, 420, -1, 70000, 2**31, 2**40, 511]
_QUANTITIES: Final = ["1", "100m", "64Mi", "1Gi", "0", "-1", "x", 2, 1.5, "1e3"]
_SEEN: Final = ("configMap", "secret", "emptyDir", "hostPath", "projected", "downwardAPI", "nfs",
                "persistentVolumeClaim", "csi", "image", "ephemeral")  # fmt: skip
_CHANCES: Final = {"Container": 0.12, "Volume": 0.0, "Probe": 0.25, "VolumeProjection": 0.0}


class Drawer:
    """Values of the API's types; one field in fifteen is of a wrong type, or unknown."""

    def __init__(self, random: Random, odd: float = 0.02) -> None:
        self.random, self.odd = random, odd

    def value(self, kind: str, field: str = "") -> Any:
        """One value of a type."""
        pick = self.random.choice
        if self.random.random() < self.odd / 2:
            return pick([None, 1, "text", [], {}, True, 1.5])
        if kind[0] == "[":
            return [self.value(kind[1:], field) for _ in range(pick([0, 1, 1, 2]))]
        if kind[0] == "{":
            keys = ["cpu", "memory", "ephemeral-storage", "example.com/x", "x", "hugepages-2Mi"]
            return {pick(keys[: pick([2, 2, 2, 6])]): self.value(kind[1:]) for _ in range(2)}
        if kind in pod_types.types():
            return self.object(kind)
        if kind == "text":
            if field == "name" or (field.endswith(("Name", "ID")) and field not in _TEXTS):
                return pick(_NAMES[: pick([2, 5, 8])])
            known = _TEXTS.get(field, ["a", "b c", "/x", ""])
            return pick(known[: pick([1, 2, len(known)])])
        drawn: dict[str, Callable[[], Any]] = {
            "bool": lambda: pick([True, False]),
            "int": lambda: pick(_NUMBERS[: pick([4, 4, len(_NUMBERS)])]),
            "either": lambda: pick([80, 8080, "http", 0, "UPPER", 70000, ""]),
            "quantity": lambda: pick(_QUANTITIES[: pick([4, 4, len(_QUANTITIES)])]),
            "object": dict,
        }
        return drawn[kind]()

    def object(self, kind: str) -> Pod:
        """One object: what it has to have, and some of the rest."""
        fields = pod_types.types()[kind]
        chance = _CHANCES.get(kind, 0.35)
        made = {
            name: self.value(inner.rstrip("!"), name)
            for name, inner in fields.items()
            if (inner.endswith("!") and self.random.random() > self.odd)
            or (not inner.endswith("!") and self.random.random() < chance)
        }
        if kind in (
            "Volume",
            "VolumeProjection",
            "EnvVarSource",
            "EnvFromSource",
            "LifecycleHandler",
        ):
            some = [name for name in fields if kind != "Volume" or name in _SEEN]
            for name in self.random.sample(some, self.random.choice([1, 1, 1, 1, 1, 1, 0, 2])):
                made.setdefault(name, self.value(fields[name].rstrip("!"), name))
        if self.random.random() < self.odd / 3:
            made["noSuchField"] = 1
        return made


def pod(number: int) -> Pod:
    """A pod with such annotations."""
    random = Random(number)
    draw = Drawer(random)
    given = {}
    if random.random() < 0.5:
        given[annotations.USER_VOLUME] = _listed(
            random, [draw.value("Volume") for _ in range(random.choice([1, 1, 2]))]
        )
    if random.random() < 0.4:
        mounts = [draw.value("VolumeMount") for _ in range(random.choice([1, 1, 2]))]
        given[annotations.USER_VOLUME_MOUNT] = _listed(random, mounts)
    if random.random() < 0.5 or not given:
        name, group = random.choice(
            [("istio-proxy", "containers")] * 2 + [("istio-init", "initContainers")]
        )
        own = draw.object("Container") | {"name": name}
        given[annotations.OVERRIDES] = json.dumps({group: [own]})
    if random.random() < 0.2:
        given[annotations.NATIVE_SIDECAR] = "true"
    spec: Pod = {"containers": [{"name": "app", "image": "nginx"}]}
    if random.random() < 0.5:
        spec["volumes"] = [random.choice([
            {"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c"}},
            {"name": "mine", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "istio-data", "hostPath": {"path": "/x"}}])]  # fmt: skip
        if random.random() < 0.5:
            mount = {"name": spec["volumes"][0]["name"], "mountPath": "/m"}
            spec["containers"][0]["volumeMounts"] = [mount]
    if random.random() < 0.2:
        spec["restartPolicy"] = random.choice(["Never", "OnFailure"])
    return {"metadata": {"name": "web", "annotations": given}, "spec": spec}


def _listed(random: Random, entries: list[Any]) -> str:
    """By name, or as a list."""
    named = all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in entries)
    if named and random.random() < 0.5:
        return json.dumps(
            {one["name"]: {k: v for k, v in one.items() if k != "name"} for one in entries}
        )
    return json.dumps(entries)
