"""Finds in a pod's spec and annotations where traffic is not redirected as intended. Pure."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from lab.explain.changes.pod import Advice, Change, EditPod
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Object, Situation
from lab.mesh import contract
from lab.mesh.injector.settings import annotations

LINE: Final = "works"
_ALL: Final = "*"


def all_containers(spec: Object) -> Iterator[Object]:
    """Yields the init containers and then the containers of a pod's spec."""
    for group in ("initContainers", "containers"):
        yield from spec.get(group) or ()


def container(spec: Object, name: str) -> Object:
    """Returns the container or init container `name` of a pod's spec, {} if there is none."""
    return next((item for item in all_containers(spec) if item.get("name") == name), {})


def before_the_proxy(spec: Object) -> list[str]:
    """Returns the names of the init containers whose traffic is redirected while no proxy runs.

    They come after istio-init, and a classic sidecar starts only when all init containers have
    ended. Init containers that run as the proxy's user are left out: their traffic is not
    redirected. Returns [] for a pod without istio-init or without a classic sidecar.
    """
    if not any(
        item.get("name") == contract.PROXY_CONTAINER for item in spec.get("containers") or ()
    ):
        return []
    names = [item.get("name") for item in spec.get("initContainers") or ()]
    if contract.INIT_CONTAINER not in names:
        return []
    behind = list(spec["initContainers"])[names.index(contract.INIT_CONTAINER) + 1 :]
    pod_user = (spec.get("securityContext") or {}).get("runAsUser")
    return [
        str(item.get("name"))
        for item in behind
        if (item.get("securityContext") or {}).get("runAsUser", pod_user) != contract.PROXY_UID
    ]


def init_order(situation: Situation, name: str, end: str) -> Finding:
    """Returns the finding about init container `name`, which runs between istio-init and the proxy.

    `end`: the part of the sentence that says what happens to the container.
    """
    sentence = (
        f"init container {name} comes after {contract.INIT_CONTAINER} and before the proxy, "
        f"{end}: its traffic is redirected to port {contract.OUTBOUND_PORT}, where no proxy "
        "listens yet"
    )
    return Finding(Cause.INIT_BEFORE_PROXY, LINE, sentence, _reordered(situation, name))


def _reordered(situation: Situation, name: str) -> Change:
    """Returns the change with which the init container runs while its traffic works.

    If the spec that the user wrote has istio-init, the change puts istio-init last. Else the change
    makes the sidecar a native one.
    """
    subject = situation.subject
    holder = subject.holder
    own: Object = (holder.template.get("spec") or {}) if holder else subject.spec
    inits: list[dict[str, Any]] = list(own.get("initContainers") or ())
    names = [item.get("name") for item in inits]
    if contract.INIT_CONTAINER in names and name in names:
        rules = [item for item in inits if item.get("name") == contract.INIT_CONTAINER]
        others = [item for item in inits if item.get("name") != contract.INIT_CONTAINER]
        text = f"put {contract.INIT_CONTAINER} last among the init containers"
        return EditPod({"spec": {"initContainers": [*others, *rules]}}, text)
    key = annotations.NATIVE_SIDECAR
    if not situation.matching:
        return Advice(
            f"inject again with {key}=true, or put {name} before {contract.INIT_CONTAINER}"
        )
    text = f"make the sidecar a native one, which starts before {name}, with the annotation {key}"
    return EditPod({"metadata": {"annotations": {key: "true"}}}, text)


def outbound_ports(situation: Situation) -> Finding | None:
    """Returns the finding about includeOutboundPorts that has no effect, else None.

    The annotation has no effect if includeOutboundIPRanges captures all traffic.
    """
    own_annotations = situation.subject.annotations
    ports = own_annotations.get(annotations.INCLUDE_OUTBOUND_PORTS, "").strip()
    ranges = own_annotations.get(annotations.INCLUDE_OUTBOUND_CIDRS, _ALL).strip()
    if not ports or ranges != _ALL:
        return None
    sentence = (
        f"{annotations.INCLUDE_OUTBOUND_PORTS}={ports} narrows nothing: it adds to what "
        "includeOutboundIPRanges captures, and that is * (everything), so all outbound traffic "
        "goes to the proxy"
    )
    name = annotations.INCLUDE_OUTBOUND_CIDRS
    text = f"capture these ports only: set the annotation {name} to an empty value (no ranges)"
    edit = EditPod({"metadata": {"annotations": {name: ""}}}, text)
    return Finding(Cause.OUTBOUND_PORTS, LINE, sentence, edit)


def foreseen(situation: Situation, pod: Object) -> Finding | None:
    """Returns the finding about an init container that will run before the proxy, else None.

    `pod`: the pod as it will be after injection.
    """
    names = before_the_proxy(pod.get("spec") or {})
    if not names:
        return None
    after_injection = replace(situation, subject=replace(situation.subject, pod=pod))
    return init_order(after_injection, names[0], "and will not reach anything")
