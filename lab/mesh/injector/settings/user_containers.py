"""Merges the user's own settings into the injected containers; the user's settings win. Pure.

The user writes them as a container named istio-proxy or istio-init in the pod (`image: auto` keeps
the mesh's image), or in the annotation proxy.istio.io/overrides:
{"containers": [...], "initContainers": [...]}. An injection copies such a container into this
annotation, unless the pod already has the annotation.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lab.mesh import contract
from lab.mesh.errors import AnnotationError, UnfitError
from lab.mesh.injector.settings import annotations as names
from lab.mesh.manifest import field_types, pod_types
from lab.mesh.manifest.quantities import exceeds
from lab.mesh.manifest.reading import FieldPath

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
"""Fields that istio-init cannot have, since it is an init container that ends."""
GROUPS: Final = ("initContainers", "containers")
AUTO: Final = "auto"
_LIST_KEYS: Final = {
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
}


class Own(NamedTuple):
    """The user's own settings for the injected containers.

    `settings`: the keys are the names istio-init and istio-proxy; a value is the container that the
    user wrote in the annotation or, without one there, in the pod. `places`: (group, index in the
    group, container) of each istio-init and istio-proxy that the user wrote in the pod.
    """

    settings: Mapping[str, Container]
    places: tuple[tuple[str, int, Container], ...]

    def place(self, name: str) -> FieldPath | None:
        """Returns the path of the pod's container `name` if `settings` has that container.

        Returns None if the settings of `name` come from the annotation, or if there are none.
        """
        for group, index, container in self.places:
            if container is self.settings.get(name):
                return ("spec", group, index)
        return None

    def annotation(self) -> str:
        """Returns the containers in `places` as JSON, in the format of proxy.istio.io/overrides."""
        kept: dict[str, list[Container]] = {}
        for group, _, container in self.places:
            kept.setdefault(group, []).append(container)
        return json.dumps(kept, separators=(",", ":"), sort_keys=True)


def find(spec: Mapping[str, Any], annotations: Mapping[str, str]) -> Own:
    """Returns the user's settings for the injected containers.

    As in Istio, the annotation wins over a container in the pod. Raises AnnotationError for a bad
    annotation, UnfitError for a field of a wrong type in a container.
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
        settings |= {
            container["name"]: container for container in containers if container["name"] in OURS
        }
    return Own(settings, places)


def parse(annotations: Mapping[str, str]) -> dict[str, list[Container]]:
    """Parses proxy.istio.io/overrides; returns its containers by group (see `GROUPS`).

    Raises AnnotationError.
    """
    value = annotations.get(names.OVERRIDES)
    if value is None:
        return {}
    try:
        groups = json.loads(value)
    except (ValueError, RecursionError):
        groups = None
    problem = 'must be JSON, as in {"containers": [{"name": "istio-proxy"}]}'
    if groups is None and value.strip() == "null":
        return {}
    if not isinstance(groups, dict):
        raise AnnotationError(names.OVERRIDES, value, problem)
    kept = {group: groups[group] for group in GROUPS if groups.get(group)}
    for group, containers in kept.items():
        for fault in pod_types.faults(_kept(containers), "[Container", (group,)):
            problem = f"{field_types.show(fault.path)} {fault.text}"
            raise AnnotationError(names.OVERRIDES, value, problem)
    return kept


def _kept(containers: Any) -> Any:
    """Returns the containers, but drops the fields in `_NOT_FOR_INIT` from istio-init."""
    if not isinstance(containers, list):
        return containers
    return [
        {key: value for key, value in container.items() if key not in _NOT_FOR_INIT}
        if isinstance(container, dict) and container.get("name") == contract.INIT_CONTAINER
        else container
        for container in containers
    ]


def apply(base: dict[str, Any], own: Own) -> dict[str, Any]:
    """Returns the injected container `base` with the user's settings merged into it."""
    settings = own.settings.get(base["name"])
    if not settings:
        return base
    if "restartPolicy" in base:
        # The user cannot change whether a sidecar is native: its probes and hooks depend on that.
        settings = {**settings, "restartPolicy": None}
    merged = _merged(base, settings)
    if base["name"] == contract.INIT_CONTAINER:
        return {key: value for key, value in merged.items() if key not in _NOT_FOR_INIT}
    return merged


def _beside(ours: dict[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `ours` without the entries that would be invalid together with those of `user`.

    For instance, a request above the user's limit is left out.
    """
    dropped: set[str] = set()
    user_capabilities = user.get("capabilities")
    capabilities = user_capabilities.get("add") if isinstance(user_capabilities, Mapping) else None
    if user.get("privileged") is True or "CAP_SYS_ADMIN" in (capabilities or ()):
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
    """Returns `base` with the user's values.

    Mappings are merged by key, lists in `_LIST_KEYS` by entry. Any other value of the user replaces
    ours, except null.
    """
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
    """Returns the user's entries (`theirs`), after those of ours that they do not replace.

    An entry replaces ours if both have the same value at `key`; a port also if both have the same
    name. The user cannot replace the variable that holds the pod's original probes, because without
    it the probes could not be restored.
    """
    theirs = [entry for entry in theirs if entry.get("name") != contract.PROBES_VARIABLE]
    by = {key, "name"} if key == "containerPort" else {key}
    taken = {(k, entry.get(k)) for entry in theirs for k in by}
    free = (entry for entry in ours if not {(k, entry.get(k)) for k in by} & taken)
    return [*free, *theirs]


def agree_on_user(init: dict[str, Any], proxy: dict[str, Any], own: Own, mode: str) -> None:
    """Makes the redirection rules exempt the uid that the user's settings choose for istio-proxy.

    Changes both containers in place; changes nothing if the user's settings choose no uid. Root is
    not exempted. With TPROXY istio-proxy stays root, because it must bind addresses that are not
    its own.
    """
    settings = own.settings.get(contract.PROXY_CONTAINER) or {}
    uid = (settings.get("securityContext") or {}).get("runAsUser")
    if not isinstance(uid, int):
        return
    if mode == "TPROXY":
        proxy["securityContext"] = {**proxy["securityContext"], "runAsUser": 0}
    command = init.get("command") or []
    # With root as the owner, the rules would exempt every application that runs as root.
    if uid and isinstance(command, list) and "-u" in command:
        at = command.index("-u") + 1
        init["command"] = [*command[:at], str(uid), *command[at + 1 :]]
