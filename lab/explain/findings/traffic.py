"""Redirection that does other than meant: from a pod's spec and annotations alone. Pure."""

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


def every_container(spec: Object) -> Iterator[Object]:
    """Init containers and containers of a pod's spec, in their order."""
    for group in ("initContainers", "containers"):
        yield from spec.get(group) or ()


def container(spec: Object, name: str) -> Object:
    """The container of a name, {} where there is none."""
    return next((item for item in every_container(spec) if item.get("name") == name), {})


def before_the_proxy(spec: Object) -> list[str]:
    """Names of the init containers whose traffic is redirected while no proxy runs.

    They stand behind istio-init, and the proxy is a container of the classic kind, which starts
    when all of them have ended. The proxy's own user is not redirected.
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
    """The finding about one of them; `end` says how it shows."""
    say = (
        f"init container {name} comes after {contract.INIT_CONTAINER} and before the proxy, "
        f"{end}: what it sends is redirected to port {contract.OUTBOUND_PORT}, where nobody "
        "listens yet"
    )
    return Finding(Cause.INIT_BEFORE_PROXY, LINE, say, _reordered(situation, name))


def _reordered(situation: Situation, name: str) -> Change:
    """Have istio-init come last where the order is the user's own, else a native sidecar."""
    subject = situation.subject
    holder = subject.holder
    own: Object = (holder.template.get("spec") or {}) if holder else subject.spec
    inits: list[dict[str, Any]] = list(own.get("initContainers") or ())
    names = [item.get("name") for item in inits]
    if contract.INIT_CONTAINER in names and name in names:
        rules = [item for item in inits if item.get("name") == contract.INIT_CONTAINER]
        others = [item for item in inits if item.get("name") != contract.INIT_CONTAINER]
        text = f"have {contract.INIT_CONTAINER} come last among the init containers"
        return EditPod({"spec": {"initContainers": [*others, *rules]}}, text)
    key = annotations.NATIVE_SIDECAR
    if not situation.matching:
        return Advice(f"inject again with {key}=true, or have {name} come before")
    text = f"make the sidecar a native one, which runs before {name}, by the annotation {key}"
    return EditPod({"metadata": {"annotations": {key: "true"}}}, text)


def outbound_ports(situation: Situation) -> Finding | None:
    """includeOutboundPorts beside ranges that take everything already."""
    own_annotations = situation.subject.annotations
    ports = own_annotations.get(annotations.INCLUDE_OUTBOUND_PORTS, "").strip()
    ranges = own_annotations.get(annotations.INCLUDE_OUTBOUND_CIDRS, _ALL).strip()
    if not ports or ranges != _ALL:
        return None
    say = (
        f"{annotations.INCLUDE_OUTBOUND_PORTS}={ports} narrows nothing: it adds to what "
        "includeOutboundIPRanges takes, and that is * (everything), so all outbound traffic "
        "goes to the proxy"
    )
    name = annotations.INCLUDE_OUTBOUND_CIDRS
    text = f"have these ports alone taken: no ranges, by the annotation {name} with no value"
    edit = EditPod({"metadata": {"annotations": {name: ""}}}, text)
    return Finding(Cause.OUTBOUND_PORTS, LINE, say, edit)


def foreseen(situation: Situation, pod: Object) -> Finding | None:
    """An init container of a pod that is yet to be made, which will find no proxy."""
    names = before_the_proxy(pod.get("spec") or {})
    if not names:
        return None
    after_injection = replace(situation, subject=replace(situation.subject, pod=pod))
    return init_order(after_injection, names[0], "and will not reach anything")
