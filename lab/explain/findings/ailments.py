"""Finds why a pod with a sidecar does not become ready, or does not stay ready. Pure.

Each check is about one step of a pod's start and returns a finding or None. The checks run in the
order of these steps, because a failure of one step also makes the later steps fail. So the first
finding is the cause.
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
from lab.mesh.injector import sidecar_volumes
from lab.mesh.injector.settings import annotations
from lab.mesh.manifest import quantities

LINE: Final = "works"
"""Key of the line of the chain that the findings of this module decide."""
YOUNG: Final = 30.0
"""In the first YOUNG seconds after a pod's creation, a sidecar that is not ready is no fault."""
_UNPULLED: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_UNMADE: Final = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
_VOLUME: Final = re.compile(r'volume "(?P<name>[^"]+)"')
_SHORT_OF: Final = re.compile(r"Insufficient (?P<what>cpu|memory)")
_ENOUGH: Final = 256 * 2**20
"""A memory limit in bytes with which Envoy starts in any lab."""


def stopping(situation: Situation) -> Finding | None:
    """Returns the finding of the first check that shows why the pod does not work.

    Returns None if no check finds a reason, or if the pod's symptoms were not read.
    """
    symptoms = situation.symptoms
    if symptoms is None:
        return None
    return next((finding for check in _CHECKS if (finding := check(situation, symptoms))), None)


def _unscheduled(situation: Situation, symptoms: Symptoms) -> Finding | None:
    if not symptoms.unscheduled:
        return None
    sentence = f"no node can run the pod: {symptoms.unscheduled}"
    change: Change = Advice("make room on a node, or change what the pod requests")
    if short := _SHORT_OF.search(symptoms.unscheduled):
        asked = _resources(situation, "requests").get(short["what"])
        sentence += (
            f"; {contract.PROXY_CONTAINER} requests {asked} of {short['what']}" if asked else ""
        )
        name = {"cpu": annotations.PROXY_CPU, "memory": annotations.PROXY_MEMORY}[short["what"]]
        if name in situation.subject.annotations:
            change = _drop(name)
    return Finding(Cause.UNSCHEDULED, LINE, sentence, change)


def _image(situation: Situation, symptoms: Symptoms) -> Finding | None:
    for container in _ours(symptoms):
        if container.waiting not in _UNPULLED:
            continue
        image = str(traffic.container(situation.subject.spec, container.name).get("image", "?"))
        pulls = [
            event.message
            for event in symptoms.events
            if event.container == container.name and "pull" in event.message
        ]
        why = pulls[-1] if pulls else container.message
        sentence = (
            f"the image of {container.name} is not available ({container.waiting}): {why or image}"
        )
        if annotations.PROXY_IMAGE in situation.subject.annotations:
            return Finding(Cause.IMAGE, LINE, sentence, _drop(annotations.PROXY_IMAGE))
        if (
            traffic.container(situation.subject.spec, container.name).get("imagePullPolicy")
            == "Always"
        ):
            # The API server sets this for `image: auto` in the pod, because that has no tag.
            advice = Advice(f"set imagePullPolicy: IfNotPresent in the pod's own {container.name}")
            return Finding(Cause.IMAGE, LINE, sentence, advice)
        return Finding(Cause.IMAGE, LINE, sentence, changes.reinstall(situation))
    return None


def _volume(situation: Situation, symptoms: Symptoms) -> Finding | None:
    if any(container.running or container.ended for container in symptoms.containers):
        return None
    spec, own_annotations = situation.subject.spec, situation.subject.annotations
    mounted = {mount.get("name") for mount in traffic.container(spec, contract.PROXY_CONTAINER).get(
        "volumeMounts") or ()}  # fmt: skip
    for event in reversed(symptoms.events):
        match = _VOLUME.search(event.message)
        if event.reason != "FailedMount" or match is None or match["name"] not in mounted:
            continue
        name = match["name"]
        sentence = f"a volume of the sidecar cannot be mounted: {event.message}"
        if (
            name == sidecar_volumes.VOLUME_BOOTSTRAP
            and annotations.BOOTSTRAP_OVERRIDE in own_annotations
        ):
            return Finding(Cause.VOLUME, LINE, sentence, _drop(annotations.BOOTSTRAP_OVERRIDE))
        if f'"{name}"' in own_annotations.get(annotations.USER_VOLUME, ""):
            both = _drop(annotations.USER_VOLUME, annotations.USER_VOLUME_MOUNT)
            return Finding(Cause.VOLUME, LINE, sentence, both)
        service = situation.services.get(discovery_of(situation))
        if name == sidecar_volumes.VOLUME_ROOT and service is not None and not any(
            service.ready.values()
        ):  # fmt: skip
            sentence += "; discovery creates its ConfigMap, and no pod of discovery is ready"
            return Finding(Cause.VOLUME, LINE, sentence, changes.start_pods(situation, service))
        return Finding(
            Cause.VOLUME,
            LINE,
            sentence,
            Advice("create the object that the message reports as missing"),
        )
    return None


def _unmade(_: Situation, symptoms: Symptoms) -> Finding | None:
    for container in _ours(symptoms):
        if container.waiting in _UNMADE:
            sentence = (
                f"{container.name} cannot be started ({container.waiting}): {container.message}"
            )
            advice = Advice("correct what kubelet's message names")
            return Finding(Cause.NOT_READY, LINE, sentence, advice)
    return None


def _init_failed(situation: Situation, symptoms: Symptoms) -> Finding | None:
    init = symptoms.container(contract.INIT_CONTAINER)
    if init is None or not init.failing:
        return None
    words = proxy_log.last_words(symptoms.log(init.name)) or init.message or init.last_reason
    sentence = (
        f"{init.name} ends with code {init.exit_code}, so the pod has no iptables rules: {words}"
    )
    hint = proxy_log.hint(symptoms.log(init.name))
    return Finding(
        Cause.INIT_FAILED,
        LINE,
        sentence,
        Advice(hint or f"correct what the message of {init.name} names"),
    )


def _init_order(situation: Situation, symptoms: Symptoms) -> Finding | None:
    """Returns the finding about an init container that fails or does not end, else None.

    Only init containers after istio-init are checked: their traffic is redirected to the proxy,
    which does not run yet.
    """
    for name in traffic.before_the_proxy(situation.subject.spec):
        init = symptoms.container(name)
        if init is None or init.done or not (init.running or init.failing or init.waiting):
            continue
        if init.waiting == "PodInitializing" and not init.restarts:
            continue
        state = f"ends with code {init.exit_code}" if init.failing else "does not end"
        return traffic.init_order(situation, name, f"and {state}")
    return None


def _memory(situation: Situation, symptoms: Symptoms) -> Finding | None:
    proxy = symptoms.container(contract.PROXY_CONTAINER)
    kills = proxy_log.kills(symptoms.log(contract.PROXY_CONTAINER))
    if proxy is None or (proxy.last_reason != "OOMKilled" and (proxy.ready or kills < 2)):
        return None
    limit = str(_resources(situation, "limits").get("memory", ""))
    if not limit:
        return None
    sentence = f"{proxy.name} needs more memory than its limit of {limit}, and is killed for it"
    name = annotations.PROXY_MEMORY_LIMIT
    try:
        size = max(_ENOUGH, 2 * int(quantities.quantity(limit)))
    except ValueError:
        size = _ENOUGH
    text = f"raise the memory limit with the annotation {name}"
    edit = EditPod({"metadata": {"annotations": {name: f"{size // 2**20}Mi"}}}, text)
    return Finding(Cause.MEMORY, LINE, sentence, edit)


def _dns(situation: Situation, symptoms: Symptoms) -> Finding | None:
    policy = situation.subject.spec.get("dnsPolicy") or "ClusterFirst"
    host = proxy_log.unresolved(symptoms.log(contract.PROXY_CONTAINER))
    if not host or policy not in ("Default", "None") or unready(symptoms) is None:
        return None
    sentence = (
        f"dnsPolicy {policy}: the pod's name servers do not know {host}, so the sidecar gets no "
        "configuration and never gets ready"
    )
    edit = EditPod({"spec": {"dnsPolicy": "ClusterFirst"}}, "set dnsPolicy ClusterFirst")
    return Finding(Cause.DNS_POLICY, LINE, sentence, edit)


def _discovery(situation: Situation, symptoms: Symptoms) -> Finding | None:
    if unready(symptoms) is None:
        return None
    why = proxy_log.unreached(symptoms.log(contract.PROXY_CONTAINER))
    where = discovery_of(situation)
    service = situation.services.get(where)
    name = "/".join(where)
    if service is not None and not service.exists:
        sentence = f"the sidecar gets no configuration: there is no Service {name}"
        return Finding(Cause.DISCOVERY, LINE, sentence, changes.reinstall(situation))
    if service is not None and not any(service.ready.values()):
        sentence = f"the sidecar gets no configuration: Service {name} has no ready pod"
        return Finding(Cause.DISCOVERY, LINE, sentence, changes.start_pods(situation, service))
    if not why:
        return None
    sentence = f"the sidecar cannot reach discovery: {why}"
    if "discoveryAddress" in situation.subject.annotations.get(annotations.PROXY_CONFIG, ""):
        return Finding(Cause.DISCOVERY, LINE, sentence, _drop(annotations.PROXY_CONFIG))
    advice = Advice("check the cluster's DNS and the network policies between pod and discovery")
    return Finding(Cause.DISCOVERY, LINE, sentence, advice)


def _not_ready(situation: Situation, symptoms: Symptoms) -> Finding | None:
    """Returns the finding about a sidecar that is not ready, if no other check found why.

    The reason in the sentence comes from the sidecar's log, its events or its status. A sidecar
    that ended with an error is always reported. For any other sidecar, None is returned if it is
    ready or young (see YOUNG), or if its log shows a refused configuration.
    """
    proxy = unready(symptoms)
    if proxy is None:
        return None
    if proxy.failing:
        words = proxy_log.last_words(symptoms.log(proxy.name)) or proxy.message or proxy.last_reason
        sentence = f"{proxy.name} ended with code {proxy.exit_code} and is started again: {words}"
        hint = proxy_log.hint(symptoms.log(proxy.name))
        return Finding(
            Cause.NOT_READY, LINE, sentence, Advice(hint or f"read the log of {proxy.name}")
        )
    if symptoms.age < YOUNG or proxy_log.rejections(symptoms.log(proxy.name)):
        return None
    heard = [event.message for event in symptoms.events if event.container == proxy.name]
    why = heard[-1] if heard else proxy.message or proxy.waiting or "the reason is not known"
    sentence = f"{proxy.name} is not ready after {symptoms.age:.0f} s: {why}"
    return Finding(Cause.NOT_READY, LINE, sentence, Advice(f"read the log of {proxy.name}"))


_CHECKS: Final[tuple[Callable[[Situation, Symptoms], Finding | None], ...]] = (
    _unscheduled, _image, _volume, _unmade, _init_failed, _init_order, ports.taken, _memory,
    _dns, _discovery, _not_ready,
)  # fmt: skip


def _ours(symptoms: Symptoms) -> list[Container]:
    return [container for container in symptoms.containers if container.name in OURS]


def _resources(situation: Situation, group: str) -> Object:
    proxy = proxy_of(situation.subject.pod)
    amounts: Object = ((proxy[0].get("resources") or {}).get(group) or {}) if proxy else {}
    return amounts


def _drop(*names: str) -> EditPod:
    """Returns the change that removes the named annotations of the pod."""
    text = f"remove the annotation {' and '.join(names)}, or correct its value"
    return EditPod({"metadata": {"annotations": dict.fromkeys(names)}}, text)
