"""Every null that a pod can have in what the injector reads, by the API's own types. Pure."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, Final

Path = tuple[str | int, ...]
Pod = dict[str, Any]
ABSENT: Final = "absent"
"""How an API server reads a null: as if the key were not there; else the JSON it puts there."""
REFUSED: Final = "refused"

_BUDGET: Final = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}}
_PORT: Final = {"name": "web", "containerPort": 8080, "protocol": "TCP", "hostIP": "127.0.0.1"}
_GET: Final = {
    "httpGet": {
        "path": "/x",
        "port": "web",
        "scheme": "HTTP",
        "httpHeaders": [{"name": "X", "value": "y"}, {"name": "Host", "value": "h"}],
    }
}
_TIMES: Final = {"initialDelaySeconds": 3, "timeoutSeconds": 2, "periodSeconds": 7}
BASE: Final[Pod] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web",
        "labels": {"app": "web", "version": "v1"},
        "annotations": {
            "sidecar.istio.io/proxyCPU": "100m",
            "sidecar.istio.io/inject": "true",
            "proxy.istio.io/config": "statusPort: 15020",
            "status.sidecar.istio.io/port": "15020",
            "traffic.sidecar.istio.io/excludeOutboundPorts": "80",
            "example.com/note": "x",
        },
    },
    "spec": {
        "hostNetwork": False,
        "nodeSelector": {"kubernetes.io/os": "linux", "disk": "ssd"},
        "os": {"name": "linux"},
        "dnsPolicy": "ClusterFirst",
        "securityContext": {"runAsUser": 1000},
        "volumes": [{"name": "data", "emptyDir": {}}],
        "initContainers": [{"name": "setup", "image": "i", "env": [{"name": "A", "value": "b"}]}],
        "containers": [
            {
                "name": "app",
                "image": "i",
                "env": [{"name": "A", "value": "b"}],
                "ports": [_PORT],
                "resources": _BUDGET,
                "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
                "volumeMounts": [{"name": "data", "mountPath": "/d"}],
                "livenessProbe": {**_GET, **_TIMES},
                "readinessProbe": {"tcpSocket": {"port": 8080, "host": ""}, **_TIMES},
                "startupProbe": {"grpc": {"port": 9000, "service": "s"}, **_TIMES},
                "lifecycle": {"preStop": _GET, "postStart": {"exec": {"command": ["true"]}}},
            },
            {
                "name": "istio-proxy",
                "image": "auto",
                "env": [{"name": "TRUST_DOMAIN", "value": "td"}],
                "resources": _BUDGET,
                "securityContext": {"runAsUser": 1337},
            },
        ],
    },
}
_READ: Final = {
    "Pod": ("metadata", "spec"),
    "PodSpec": (
        *("containers", "initContainers", "volumes", "hostNetwork", "nodeSelector", "os"),
        *("dnsPolicy", "securityContext", "resources", "affinity"),
    ),
    "ObjectMeta": ("name", "generateName", "namespace", "labels", "annotations", "ownerReferences"),
}
"""Of these types the injector reads a part; of all others in the pod above, any field may come."""


def type_of(schema: Mapping[str, Any]) -> str:
    """The name of the type that a property refers to, "" for none."""
    reference = schema.get("$ref") or next(
        (one["$ref"] for one in schema.get("allOf", ()) if "$ref" in one), ""
    )
    return str(reference).rpartition("/")[2]


def paths(types: Mapping[str, Any]) -> Iterator[Path]:
    """Where a null may stand: each field of each object of BASE, by the API's types; each entry of
    a list or mapping.
    """
    yield from _within(types, BASE, "io.k8s.api.core.v1.Pod", ())


def _within(types: Mapping[str, Any], value: Any, name: str, path: Path) -> Iterator[Path]:
    properties = types[name].get("properties", {})
    short = name.rpartition(".")[2]
    for key, schema in properties.items():
        if key in ("apiVersion", "kind") or key not in _READ.get(short, (key,)):
            continue
        here = (*path, key)
        if path:
            yield here
        held = value.get(key)
        if isinstance(held, list):
            inner = type_of(schema.get("items", {}))
            for index, item in enumerate(held):
                yield (*here, index)
                if inner and isinstance(item, dict):
                    yield from _within(types, item, inner, (*here, index))
        elif isinstance(held, dict) and "additionalProperties" in schema:
            yield from ((*here, entry) for entry in (*held, "example.com/new"))
        elif isinstance(held, dict) and (inner := type_of(schema)):
            yield from _within(types, held, inner, here)


def changed(path: Path, value: Any) -> Pod:
    """BASE with another value at a path; ABSENT takes the key out."""
    pod = copy.deepcopy(BASE)
    holder: Any = pod
    for key in path[:-1]:
        holder = holder[key]
    if value == ABSENT and isinstance(holder, dict):
        holder.pop(path[-1], None)
    else:
        holder[path[-1]] = value
    return pod


def shown(path: Path) -> str:
    """The path as one text."""
    return "|".join(map(str, path))


def parsed(text: str) -> Path:
    """The path from `shown`."""
    return tuple(int(key) if key.isdecimal() else key for key in text.split("|"))
