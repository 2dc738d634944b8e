"""Why a pod that has a sidecar does not become, or stay, ready. Pure.

Each look goes from what the pod shows to one finding; the first that finds something is the one
that the others follow from, so they stand in the order in which a pod comes up.
"""

import re
from collections.abc import Callable
from typing import Final

from lab.explain.changes import webhook as changes
from lab.explain.changes.pod import Advice, Change, EditPod
from lab.explain.findings import ports, proxy_log, traffic
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Object, Situation, discovery_of, proxy_of
from lab.explain.symptoms import OURS, Container, Symptoms, unready
from lab.mesh import contract
from lab.mesh.injector import containers
from lab.mesh.injector.settings import annotations
from lab.mesh.manifest import quantities

LINE: Final = "works"
"""Key of the line that all of these decide."""
YOUNG: Final = 30.0
"""Seconds of a pod's life in which not being ready yet is no fault."""
_UNPULLED: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_UNMADE: Final = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
_VOLUME: Final = re.compile(r'volume "(?P<name>[^"]+)"')
_SHORT_OF: Final = re.compile(r"Insufficient (?P<what>cpu|memory)")
_ENOUGH: Final = 256 * 2**20
"""Bytes of memory with which Envoy starts in any lab."""


def stopping(situation: Situation) -> Finding | None:
    """What keeps the pod from working; None where nothing does, or nothing is known."""
    seen = situation.symptoms
    if seen is None:
        return None
    return next((found for look in _LOOKS if (found := look(situation, seen))), None)


def _unscheduled(situation: Situation, seen: Symptoms) -> Finding | None:
    if not seen.unscheduled:
        return None
    say = f"no node takes the pod: {seen.unscheduled}"
    change: Change = Advice("make room on a node, or change what the pod asks for")
    if short := _SHORT_OF.search(seen.unscheduled):
        asked = _resources(situation, "requests").get(short["what"])
        say += f"; {contract.PROXY_CONTAINER} asks for {asked} of {short['what']}" if asked else ""
        name = {"cpu": annotations.PROXY_CPU, "memory": annotations.PROXY_MEMORY}[short["what"]]
        if name in situation.subject.annotations:
            change = _drop(name)
    return Finding(Cause.UNSCHEDULED, LINE, say, change)


def _image(situation: Situation, seen: Symptoms) -> Finding | None:
    for one in _ours(seen):
        if one.waiting not in _UNPULLED:
            continue
        image = str(traffic.container(situation.subject.spec, one.name).get("image", "?"))
        why = next((e.message for e in reversed(seen.events)
                    if e.container == one.name and "pull" in e.message), one.message)  # fmt: skip
        say = f"the image of {one.name} cannot be had ({one.waiting}): {why or image}"
        if annotations.PROXY_IMAGE in situation.subject.annotations:
            return Finding(Cause.IMAGE, LINE, say, _drop(annotations.PROXY_IMAGE))
        if traffic.container(situation.subject.spec, one.name).get("imagePullPolicy") == "Always":
            # The API server sets this for an `image: auto` in the pod: a tag is missing there.
            advice = Advice(f"set imagePullPolicy: IfNotPresent in the pod's own {one.name}")
            return Finding(Cause.IMAGE, LINE, say, advice)
        return Finding(Cause.IMAGE, LINE, say, changes.reinstall(situation))
    return None


def _volume(situation: Situation, seen: Symptoms) -> Finding | None:
    if any(one.running or one.ended for one in seen.containers):
        return None
    spec, given = situation.subject.spec, situation.subject.annotations
    mounted = {one.get("name") for one in traffic.container(spec, contract.PROXY_CONTAINER).get(
        "volumeMounts") or ()}  # fmt: skip
    for event in reversed(seen.events):
        match = _VOLUME.search(event.message)
        if event.reason != "FailedMount" or match is None or match["name"] not in mounted:
            continue
        name = match["name"]
        say = f"a volume of the sidecar cannot be mounted: {event.message}"
        if name == containers.VOLUME_BOOTSTRAP and annotations.BOOTSTRAP_OVERRIDE in given:
            return Finding(Cause.VOLUME, LINE, say, _drop(annotations.BOOTSTRAP_OVERRIDE))
        if f'"{name}"' in given.get(annotations.USER_VOLUME, ""):
            both = _drop(annotations.USER_VOLUME, annotations.USER_VOLUME_MOUNT)
            return Finding(Cause.VOLUME, LINE, say, both)
        service = situation.services.get(discovery_of(situation))
        if name == containers.VOLUME_ROOT and service is not None and not any(
            service.ready.values()
        ):  # fmt: skip
            say += "; discovery makes that, and no ready pod of it is there"
            return Finding(Cause.VOLUME, LINE, say, changes.start_pods(situation, service))
        return Finding(Cause.VOLUME, LINE, say, Advice("make what the message misses"))
    return None


def _unmade(_: Situation, seen: Symptoms) -> Finding | None:
    for one in _ours(seen):
        if one.waiting in _UNMADE:
            say = f"{one.name} cannot be started ({one.waiting}): {one.message}"
            return Finding(Cause.NOT_READY, LINE, say, Advice("change what the message names"))
    return None


def _init_failed(situation: Situation, seen: Symptoms) -> Finding | None:
    one = seen.container(contract.INIT_CONTAINER)
    if one is None or not one.failing:
        return None
    words = proxy_log.last_words(seen.said(one.name)) or one.message or one.last_reason
    say = f"{one.name} ends with code {one.exit_code}, so no rules are there: {words}"
    told = proxy_log.hint(seen.said(one.name))
    return Finding(Cause.INIT_FAILED, LINE, say, Advice(told or "change what the message names"))


def _init_order(situation: Situation, seen: Symptoms) -> Finding | None:
    """An init container behind istio-init, whose traffic nobody takes yet."""
    for name in traffic.before_the_proxy(situation.subject.spec):
        one = seen.container(name)
        if one is None or one.done or not (one.running or one.failing or one.waiting):
            continue
        if one.waiting == "PodInitializing" and not one.restarts:
            continue
        state = f"ends with code {one.exit_code}" if one.failing else "does not end"
        return traffic.init_order(situation, name, f"and {state}")
    return None


def _memory(situation: Situation, seen: Symptoms) -> Finding | None:
    one = seen.container(contract.PROXY_CONTAINER)
    kills = proxy_log.kills(seen.said(contract.PROXY_CONTAINER))
    if one is None or (one.last_reason != "OOMKilled" and (one.ready or kills < 2)):
        return None
    limit = str(_resources(situation, "limits").get("memory", ""))
    if not limit:
        return None
    say = f"{one.name} needs more memory than its limit of {limit}, and is killed for it"
    name = annotations.PROXY_MEMORY_LIMIT
    try:
        size = max(_ENOUGH, 2 * int(quantities.quantity(limit)))
    except ValueError:
        size = _ENOUGH
    text = f"raise its limit by the annotation {name}"
    edit = EditPod({"metadata": {"annotations": {name: f"{size // 2**20}Mi"}}}, text)
    return Finding(Cause.MEMORY, LINE, say, edit)


def _dns(situation: Situation, seen: Symptoms) -> Finding | None:
    policy = situation.subject.spec.get("dnsPolicy") or "ClusterFirst"
    host = proxy_log.unresolved(seen.said(contract.PROXY_CONTAINER))
    if not host or policy not in ("Default", "None") or unready(seen) is None:
        return None
    say = (
        f"dnsPolicy {policy}: the pod's name servers do not know {host}, so the sidecar gets no "
        "configuration and never gets ready"
    )
    edit = EditPod({"spec": {"dnsPolicy": "ClusterFirst"}}, "set dnsPolicy ClusterFirst")
    return Finding(Cause.DNS_POLICY, LINE, say, edit)


def _discovery(situation: Situation, seen: Symptoms) -> Finding | None:
    if unready(seen) is None:
        return None
    why = proxy_log.unreached(seen.said(contract.PROXY_CONTAINER))
    where = discovery_of(situation)
    service = situation.services.get(where)
    name = "/".join(where)
    if service is not None and not service.exists:
        say = f"the sidecar gets no configuration: there is no Service {name}"
        return Finding(Cause.DISCOVERY, LINE, say, changes.reinstall(situation))
    if service is not None and not any(service.ready.values()):
        say = f"the sidecar gets no configuration: no ready pod stands behind Service {name}"
        return Finding(Cause.DISCOVERY, LINE, say, changes.start_pods(situation, service))
    if not why:
        return None
    say = f"the sidecar cannot reach discovery: {why}"
    if "discoveryAddress" in situation.subject.annotations.get(annotations.PROXY_CONFIG, ""):
        return Finding(Cause.DISCOVERY, LINE, say, _drop(annotations.PROXY_CONFIG))
    advice = Advice("look at the cluster's DNS and network policies between the pod and discovery")
    return Finding(Cause.DISCOVERY, LINE, say, advice)


def _not_ready(situation: Situation, seen: Symptoms) -> Finding | None:
    """Whatever else it is, in the words of who knows most."""
    one = unready(seen)
    if one is None:
        return None
    if one.failing:
        words = proxy_log.last_words(seen.said(one.name)) or one.message or one.last_reason
        say = f"{one.name} ended with code {one.exit_code} and is started again: {words}"
        told = proxy_log.hint(seen.said(one.name))
        return Finding(Cause.NOT_READY, LINE, say, Advice(told or "look at its log"))
    if seen.age < YOUNG or proxy_log.rejections(seen.said(one.name)):
        return None
    heard = [each.message for each in seen.events if each.container == one.name]
    why = heard[-1] if heard else one.message or one.waiting or "it does not say why"
    say = f"{one.name} is not ready after {seen.age:.0f} s: {why}"
    return Finding(Cause.NOT_READY, LINE, say, Advice("look at its log"))


_LOOKS: Final[tuple[Callable[[Situation, Symptoms], Finding | None], ...]] = (
    _unscheduled, _image, _volume, _unmade, _init_failed, _init_order, ports.taken, _memory,
    _dns, _discovery, _not_ready,
)  # fmt: skip


def _ours(seen: Symptoms) -> list[Container]:
    return [one for one in seen.containers if one.name in OURS]


def _resources(situation: Situation, group: str) -> Object:
    proxy = proxy_of(situation.subject.pod)
    found: Object = ((proxy[0].get("resources") or {}).get(group) or {}) if proxy else {}
    return found


def _drop(*names: str) -> EditPod:
    """Take annotations out."""
    text = f"take the annotation {' and '.join(names)} out, or mend what it says"
    return EditPod({"metadata": {"annotations": dict.fromkeys(names)}}, text)
