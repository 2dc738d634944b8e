"""What two injections of one manifest mean, and where they differ. Pure.

A pod template becomes mappings: lists whose entries have a name become mappings by that name,
arguments of our programs become flags, JSON in texts is read. What then differs is told leaf by
leaf, with its path: `spec.initContainers.istio-init.iptables.-d`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from lab.mesh import contract, workloads

ABSENT: Final = "(absent)"
KEYED: Final = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
}
ORDERED: Final = ("containers", "initContainers")
JSON_VARIABLES: Final = ("PROXY_CONFIG", "ISTIO_META_POD_PORTS", "ISTIO_KUBE_APP_PROBERS")
JSON_ANNOTATIONS: Final = (contract.STATUS_ANNOTATION, "proxy.istio.io/overrides")
LIST_FLAGS: Final = frozenset({"-b", "-d", "-i", "-x", "-o", "-q", "-c", "-k"})
QUANTITIES: Final = frozenset({"cpu", "memory", "storage", "sizeLimit", "divisor"})
NOTHING: Final[tuple[Any, ...]] = (None, {}, [])
ZEROS: Final = frozenset({"initialDelaySeconds", "value", "serviceName", "readOnly", "hostPort"})
"""Fields that Go leaves out when they are zero: 0, "" and false mean the same as nothing."""
DEFAULTS: Final = {"protocol": "TCP", "scheme": "HTTP", "divisor": "0"}
_QUANTITY: Final = re.compile(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)([KMGTPE]i|[numkMGTPE])?")
_SUFFIXES: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}


@dataclass(frozen=True)
class Difference:
    """One thing that differs. `path` "refused": whether there is an answer at all.

    `given`: the object that was injected, {} where the whole manifest is at issue.
    """

    case: str
    path: str
    ours: Any
    theirs: Any
    given: Mapping[str, Any]

    def __str__(self) -> str:
        shown = [
            text if len(text) < 300 else text[:300] + "…"
            for text in (_show(self.ours), _show(self.theirs))
        ]
        return f"{self.case}: {self.path}: ours {shown[0]}, Istio's {shown[1]}"


def _show(value: Any) -> str:
    return value if value is ABSENT else json.dumps(value, sort_keys=True, default=str)


def of_object(value: Mapping[str, Any]) -> dict[str, Any]:
    """A Kubernetes object as comparable data: "object", and "pod" where it holds one."""
    if value.get("kind") == "List" and isinstance(value.get("items"), list):
        items = {str(index): of_object(item) for index, item in enumerate(value["items"])}
        return {"object": _plain({**value, "items": None}, ()), "items": items}
    plain: dict[str, Any] = _plain(value, ())
    workload = workloads.of(value.get("apiVersion"), value.get("kind"))
    if workload is None:
        return {"object": plain}
    where = workload.template
    if not where:
        parts = {key: plain.pop(key, {}) for key in ("metadata", "spec")}
        return {"object": plain, "pod": _pod(parts)}
    holder = plain
    for key in where[:-1]:
        holder = holder.get(key) or {}
    return {"pod": _pod(holder.pop(where[-1], {})), "object": plain}


def is_injected(value: Mapping[str, Any]) -> bool:
    """Whether the pod of a comparable object has a sidecar that an injector made."""
    spec = (value.get("pod") or {}).get("spec") or {}
    made = [(spec.get(group) or {}).get(contract.PROXY_CONTAINER) or {} for group in ORDERED]
    return any("ISTIO_META_APP_CONTAINERS" in (one.get("env") or {}) for one in made)


def _pod(template: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(template.get("metadata") or {})
    annotations = dict(metadata.get("annotations") or {})
    for name in JSON_ANNOTATIONS:
        if name in annotations:
            annotations[name] = _plain(_json(annotations[name]), ())
    metadata["annotations"] = annotations
    metadata["labels"] = dict(metadata.get("labels") or {})
    return {"metadata": metadata, "spec": _keyed(template.get("spec") or {}, "")}


def _keyed(value: Any, within: str) -> Any:
    """Lists of named things by name, recursively; `within` is the name of the nearest entry."""
    if isinstance(value, list):
        return [_keyed(entry, within) for entry in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, entry in value.items():
        if key in KEYED and isinstance(entry, list) and all(isinstance(e, dict) for e in entry):
            name = KEYED[key]
            found[key] = {
                str(one.get(name)): _keyed(
                    {k: v for k, v in one.items() if k != name}, str(one.get(name))
                )
                for one in entry
            }
            if key in ORDERED:
                found[f"order of {key}"] = [one.get(name) for one in entry]
        else:
            found[key] = _keyed(entry, within)
    if within == contract.INIT_CONTAINER and ("command" in found or "args" in found):
        words = [*(found.pop("command", None) or ()), *(found.pop("args", None) or ())]
        found["iptables"] = flags(words)
    if within == contract.PROXY_CONTAINER and "args" in found:
        found["args"] = flags(found["args"])
    if within in JSON_VARIABLES and isinstance(found.get("value"), str):
        found["value"] = _plain(_json(found["value"]), ())
    return found


def flags(words: Sequence[str]) -> dict[str, Any]:
    """A command line as its flags; words without a flag are told by "" in their order.

    Lists of ports, ranges and interfaces are sets; an empty one is none.
    """
    found: dict[str, Any] = {}
    bare: list[str] = []
    at = 0
    while at < len(words):
        word = str(words[at])
        at += 1
        if not word.startswith("-"):
            bare.append(word)
            continue
        flag, equals, value = word.partition("=")
        if not equals:
            value = str(words[at]) if at < len(words) else ""
            at += 1
        if flag in LIST_FLAGS:
            entries = sorted({entry.strip() for entry in value.split(",") if entry.strip()})
            if entries:
                found[flag] = entries
        else:
            found[flag] = value
    return {"": bare, **found}


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any, path: tuple[str, ...]) -> Any:
    """Without what means nothing, quantities as numbers."""
    if isinstance(value, dict):
        free = path and path[-1] in ("labels", "annotations", "data", "matchLabels")
        made = {key: _plain(entry, (*path, key)) for key, entry in value.items()}
        return {
            key: entry
            for key, entry in made.items()
            if free or key == "emptyDir" or not (entry in NOTHING or _is_default(path, key, entry))
        }
    if isinstance(value, list):
        return [_plain(entry, path) for entry in value]
    if path and path[-1] in QUANTITIES and "annotations" not in path:
        return _quantity(value)
    return value


def _is_default(path: tuple[str, ...], key: str, value: Any) -> bool:
    """Whether the API server would put this value there anyway."""
    if key == "apiVersion":
        return value == "v1" and bool(path) and path[-1] == "fieldRef"
    return bool(DEFAULTS.get(key, ABSENT) == value)


def _quantity(value: Any) -> Any:
    match = _QUANTITY.fullmatch(str(value))
    if not match:
        return value
    suffix = match[2] or ""
    if suffix in _BINARY:
        return f"{(Decimal(match[1]) * 1024 ** _BINARY[suffix]).normalize():f}"
    return f"{Decimal(match[1]).scaleb(_SUFFIXES.get(suffix, 0)).normalize():f}"


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Leaves that differ: (path, ours, theirs), ABSENT where there is none."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted({*ours, *theirs}, key=str):
            inner = f"{path}.{key}" if path else str(key)
            one, other = ours.get(key, ABSENT), theirs.get(key, ABSENT)
            if key in ZEROS and one in (0, "", False, ABSENT) and other in (0, "", False, ABSENT):
                continue
            yield from differences(one, other, inner)
    elif type(ours) is not type(theirs) or ours != theirs:
        yield path, ours, theirs
