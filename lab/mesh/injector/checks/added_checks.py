"""Checks whether an API server accepts what users add to the injected containers. Pure.

The injected containers are istio-init and istio-proxy. A user adds settings to them in an
annotation, or in a container of the pod that has one of these names. Without these checks, an API
server would refuse a bad setting, but its message would name the injected container, which the
user did not write. These checks name the user's annotation or container. They check the pod as it
is after injection, since a mounted volume may come from the pod, the mesh or an annotation.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.errors import AnnotationError, UnfitError
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.user_containers import Own
from lab.mesh.manifest import field_types, pod_rules, pod_types
from lab.mesh.manifest.field_types import Fault

Container = Mapping[str, Any]
_GRACE: Final = 30
"""The default of terminationGracePeriodSeconds in Kubernetes."""


def check_container(
    container: Container, spec: Mapping[str, Any], annotations: Mapping[str, str], own: Own
) -> None:
    """Checks whether an API server accepts an injected container with the user's additions.

    `container`: istio-init or istio-proxy, with the additions. `spec`: the pod's, after injection.
    Raises AnnotationError if an annotation is the cause, UnfitError if a container of the pod is.
    """
    settings = own.settings.get(container["name"])
    user_mounts = names.named(annotations.get(names.USER_VOLUME_MOUNT, "{}"))
    if container["name"] != contract.PROXY_CONTAINER:
        user_mounts = []
    if not settings and not user_mounts:
        return
    place = own.place(container["name"])
    if place:
        settings, container = (pod_types.known(part, "Container") for part in (settings, container))
    # The API server itself refuses these settings where they stand, so only the mounts that an
    # annotation added are checked.
    refused = bool(place) and any(_faults(settings or {}, spec))
    if refused:
        mounts = [mount for mount in container.get("volumeMounts") or () if mount in user_mounts]
        container = {"name": container["name"], "image": "auto", "volumeMounts": mounts}
    for fault in _faults(container, spec):
        mount = fault.path[:1] == ("volumeMounts",) and container["volumeMounts"][fault.path[1]]
        if mount and mount in user_mounts:
            problem = f"{mount['name']!r}: {field_types.show(fault.path[2:])} {fault.text}".replace(
                ":  ", ": "
            )
            raise AnnotationError(
                names.USER_VOLUME_MOUNT, annotations[names.USER_VOLUME_MOUNT], problem
            )
        problem = f"{field_types.show(fault.path)} {fault.text}".strip()
        if not place:
            name = names.OVERRIDES if settings else names.USER_VOLUME_MOUNT
            raise AnnotationError(name, annotations[name], f"{container['name']}: {problem}")
        raise UnfitError(
            (*place, *fault.path), f"{fault.text}, together with the sidecar's own settings"
        )


def _faults(container: Container, spec: Mapping[str, Any]) -> Iterator[Fault]:
    wrong = list(pod_rules.faults(container, "Container"))
    yield from wrong
    if not wrong:
        yield from _in_the_pod(container, spec)


def _in_the_pod(container: Container, spec: Mapping[str, Any]) -> Iterator[Fault]:
    unmasked = (container.get("securityContext") or {}).get("procMount") == "Unmasked"
    if unmasked and spec.get("hostUsers") is not False:
        where = ("securityContext", "procMount")
        yield Fault(where, "must be Default unless the pod sets hostUsers: false")
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or ()}
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        if mount["name"] not in volumes:
            yield Fault(("volumeMounts", index), f"the pod has no volume {mount['name']!r}")
    mounts = container.get("volumeMounts") or ()
    for index, device in enumerate(container.get("volumeDevices") or ()):
        volume = volumes.get(device["name"], {})
        if not volume.get("persistentVolumeClaim") and not volume.get("ephemeral"):
            yield Fault(("volumeDevices", index), f"the pod has no claim volume {device['name']!r}")
        taken = {mount["name"] for mount in mounts} | {mount["mountPath"] for mount in mounts}
        if {device["name"], device["devicePath"]} & taken:
            yield Fault(("volumeDevices", index), "is in volumeMounts, too")
    yield from _of_the_pod(container, spec)


def _of_the_pod(container: Container, spec: Mapping[str, Any]) -> Iterator[Fault]:
    grace = spec.get("terminationGracePeriodSeconds")
    longest = _GRACE if grace is None else grace
    for hook in ("postStart", "preStop"):
        sleep = ((container.get("lifecycle") or {}).get(hook) or {}).get("sleep")
        if sleep and not 0 <= sleep["seconds"] <= longest:
            yield Fault(("lifecycle", hook, "sleep", "seconds"), f"must be from 0 to {longest}")
    claims = {claim.get("name") for claim in spec.get("resourceClaims") or ()}
    for index, claim in enumerate((container.get("resources") or {}).get("claims") or ()):
        if claim["name"] not in claims:
            yield Fault(("resources", "claims", index, "name"), "is no resource claim of the pod")
    if spec.get("restartPolicy") == "Never":
        for index, policy in enumerate(container.get("resizePolicy") or ()):
            if policy["restartPolicy"] != "NotRequired":
                text = "must be NotRequired in a pod that never restarts"
                yield Fault(("resizePolicy", index, "restartPolicy"), text)
