"""What users set on the injected containers themselves: their settings win. Pure.

They come as a container named istio-proxy or istio-init in the pod (`image: auto` keeps our
image), or in the annotation proxy.istio.io/overrides, where an injection keeps them:
{"containers": [...], "initContainers": [...]}.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lab.mesh import contract
from lab.mesh.errors import AnnotationError, UnfitError
from lab.mesh.injector.settings import annotations as names
from lab.mesh.manifest import field_types, pod_types
from lab.mesh.manifest.quantities import exceeds
from lab.mesh.manifest.yaml_reader import FieldPath

Container = Mapping[str, Any]

OURS: Final = (contract.INIT_CONTAINER, contract.PROXY_CONTAINER)
HANDLERS: Final = frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"})
_NOT_FOR_INIT: Final = (
    *field_types.PROBES,
    "lifecycle",
    "restartPolicy",
    "restartPolicyRules",
    "resizePolicy",
)
"""A container that ends has none of these."""
GROUPS: Final = ("initContainers", "containers")
AUTO: Final = "auto"
_LIST_KEYS: Final = {
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
}


class Own(NamedTuple):
    """The user's own settings for our containers, by container name.

    `places`: (group, index in it, container) of each that stood in the pod.
    """

    settings: Mapping[str, Container]
    places: tuple[tuple[str, int, Container], ...]

    def place(self, name: str) -> FieldPath | None:
        """Where in the pod the settings of this container stand; None if in no container of it."""
        for group, index, container in self.places:
            if container is self.settings.get(name):
                return ("spec", group, index)
        return None

    def annotation(self) -> str:
        """The value of proxy.istio.io/overrides that keeps what stood in the pod."""
        kept: dict[str, list[Container]] = {}
        for group, _, container in self.places:
            kept.setdefault(group, []).append(container)
        return json.dumps(kept, separators=(",", ":"), sort_keys=True)


def find(spec: Mapping[str, Any], annotations: Mapping[str, str]) -> Own:
    """The user's settings; the annotation beats a container, as in Istio.

    Raises AnnotationError, and UnfitError for a field of such a container that has a wrong type.
    """
    places = tuple(
        (group, index, container)
        for group in GROUPS
        for index, container in enumerate(spec.get(group) or ())
        if container["name"] in OURS
    )
    for group, index, container in places:
        for fault in pod_types.faults(_kept([container])[0], "Container", types_alone=True):
            raise UnfitError(("spec", group, index, *fault.path), fault.text)
    settings = {container["name"]: container for _, _, container in places}
    for containers in parse(annotations).values():
        settings |= {one["name"]: one for one in containers if one["name"] in OURS}
    return Own(settings, places)


def parse(annotations: Mapping[str, str]) -> dict[str, list[Container]]:
    """The containers in proxy.istio.io/overrides, by group. Raises AnnotationError."""
    value = annotations.get(names.OVERRIDES)
    if value is None:
        return {}
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = None
    problem = 'must be JSON, as in {"containers": [{"name": "istio-proxy"}]}'
    if found is None and value.strip() == "null":
        return {}
    if not isinstance(found, dict):
        raise AnnotationError(names.OVERRIDES, value, problem)
    kept = {group: found[group] for group in GROUPS if found.get(group)}
    for group, containers in kept.items():
        for fault in pod_types.faults(_kept(containers), "[Container", (group,)):
            problem = f"{field_types.show(fault.path)} {fault.text}"
            raise AnnotationError(names.OVERRIDES, value, problem)
    return kept


def _kept(containers: Any) -> Any:
    """Without what is not taken over."""
    if not isinstance(containers, list):
        return containers
    return [
        {key: value for key, value in one.items() if key not in _NOT_FOR_INIT}
        if isinstance(one, dict) and one.get("name") == contract.INIT_CONTAINER
        else one
        for one in containers
    ]


def apply(base: dict[str, Any], own: Own) -> dict[str, Any]:
    """Our container with the user's settings over it."""
    settings = own.settings.get(base["name"])
    if not settings:
        return base
    if "restartPolicy" in base:
        # What makes a sidecar native is no user's to choose: its probes and hooks depend on it.
        settings = {**settings, "restartPolicy": None}
    merged = _merged(base, settings)
    if base["name"] == contract.INIT_CONTAINER:
        return {key: value for key, value in merged.items() if key not in _NOT_FOR_INIT}
    return merged


def _beside(ours: dict[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """Our part of a mapping, without what cannot stand beside the user's."""
    dropped: set[str] = set()
    added = user.get("capabilities")
    grown = added.get("add") if isinstance(added, Mapping) else None
    if user.get("privileged") is True or "CAP_SYS_ADMIN" in (grown or ()):
        dropped.add("allowPrivilegeEscalation")
    if any(user.get(key) for key in HANDLERS):
        dropped |= HANDLERS
    kept = {key: value for key, value in ours.items() if key not in dropped}
    # The mesh's request may exceed the user's limit, and the user's request the mesh's limit.
    requests, limits = (user.get(key) for key in ("requests", "limits"))
    if isinstance(kept.get("requests"), Mapping) and isinstance(limits, Mapping):
        ours = kept["requests"]
        kept["requests"] = {k: v for k, v in ours.items() if not exceeds(v, limits.get(k))}
    if isinstance(kept.get("limits"), Mapping) and isinstance(requests, Mapping):
        ours = kept["limits"]
        kept["limits"] = {k: v for k, v in ours.items() if not exceeds(requests.get(k), v)}
    return kept


def _merged(base: dict[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings by key, known lists by entry, else replaced; null says nothing."""
    merged = _beside(base, user)
    for key, value in user.items():
        ours = merged.get(key)
        if value is None or (key == "image" and value in (AUTO, "")):
            continue
        if isinstance(ours, dict) and isinstance(value, Mapping):
            merged[key] = _merged(ours, value)
        elif key in _LIST_KEYS and isinstance(ours, list) and isinstance(value, list):
            merged[key] = _merged_list(ours, value, _LIST_KEYS[key])
        else:
            merged[key] = value
    return merged


def _merged_list(ours: Sequence[Any], theirs: Sequence[Any], key: str) -> list[Any]:
    """The entries of ours that none of theirs replaces, by key or by name, and theirs.

    What records the pod's own probes is not theirs to replace: they could not be put back.
    """
    theirs = [entry for entry in theirs if entry.get("name") != contract.PROBES_VARIABLE]
    by = {key, "name"} if key == "containerPort" else {key}
    taken = {(k, entry.get(k)) for entry in theirs for k in by}
    free = (entry for entry in ours if not {(k, entry.get(k)) for k in by} & taken)
    return [*free, *theirs]


def agree_on_user(init: dict[str, Any], proxy: dict[str, Any], own: Own, mode: str) -> None:
    """Make the rules spare the user as which the proxy runs, where a user chose one.

    Changes both containers. With TPROXY the proxy stays root: it binds foreign addresses.
    """
    settings = own.settings.get(contract.PROXY_CONTAINER) or {}
    uid = (settings.get("securityContext") or {}).get("runAsUser")
    if not isinstance(uid, int):
        return
    if mode == "TPROXY":
        proxy["securityContext"] = {**proxy["securityContext"], "runAsUser": 0}
    command = init.get("command") or []
    # iptables has no use for root as an owner: all of the application's root would be spared.
    if uid and isinstance(command, list) and "-u" in command:
        at = command.index("-u") + 1
        init["command"] = [*command[:at], str(uid), *command[at + 1 :]]
