"""Whether a sidecar is the one that this build of the injector makes. Pure.

Injecting twice equals injecting once: a pod that this build injected comes out of another
injection as it was. What an API server and other webhooks add to it does not count.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lab.explain.changes.webhook import reinstall
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Object, Situation, proxy_of
from lab.explain.symptoms import clean
from lab.mesh import contract
from lab.mesh.errors import SidecarLabError
from lab.mesh.injector.inject import inject
from lab.mesh.injector.owners import owner_of
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import quantities

LINE: Final = "works"
SHOWN: Final = 3
_KEYS: Final = {"env": "name", "volumeMounts": "mountPath", "ports": "containerPort"}
_ONLY_MINE: Final = frozenset({"env"})
"""Lists to which nobody else adds."""
_OF_THE_APP: Final = frozenset(
    {"ISTIO_META_APP_CONTAINERS", "ISTIO_META_POD_PORTS", contract.PROBES_VARIABLE}
)
"""What tells of the application's containers, to which others may have added since."""


def differences(pod: Object, namespace: str, settings: Settings) -> tuple[str, ...]:
    """How the sidecar of an injected pod differs from the one that this build makes; () where it
    does not, and for a pod that no injector has marked.
    """
    metadata = dict(pod.get("metadata") or {})
    own_annotations = metadata.get("annotations") or {}
    if contract.STATUS_ANNOTATION not in own_annotations or proxy_of(pod) is None:
        return ()
    owners = metadata.get("ownerReferences") or ()
    if metadata.get("generateName") and not any(owner.get("controller") for owner in owners):
        # It had no name yet when it was injected.
        metadata.pop("name", None)
    before = {**pod, "metadata": metadata}
    try:
        injection = inject(before, namespace, owner_of(before), settings)
    except SidecarLabError as refusal:
        return (f"kube-inject refuses the pod: {clean(refusal.message, 200)}",)
    if not injection.decision.inject:
        return ()
    return tuple(_compared(before, injection.template))


def _compared(there: Object, expected: Mapping[str, Any]) -> Iterator[str]:
    for group in ("initContainers", "containers"):
        mine = {container["name"]: container for container in expected["spec"].get(group) or ()}
        theirs = {
            container.get("name"): container
            for container in (there.get("spec") or {}).get(group) or ()
        }
        for name in (contract.INIT_CONTAINER, contract.PROXY_CONTAINER):
            if (name in mine) != (name in theirs):
                has = f"among {group}" if name in theirs else f"not among {group}"
                yield f"{name} is {has}, kube-inject has it otherwise"
            elif name in mine:
                yield from _container(name, theirs[name], mine[name])
    # Labels change as people work with pods; annotations that the injector reads do not.
    own_annotations = there["metadata"]["annotations"]
    for name, value in expected["metadata"]["annotations"].items():
        if own_annotations.get(name) != value:
            yield _said(f"annotation {name}", own_annotations.get(name), value)
    volumes = {
        volume.get("name"): volume for volume in (there.get("spec") or {}).get("volumes") or ()
    }
    for volume in expected["spec"].get("volumes") or ():
        if not _holds(volumes.get(volume["name"]), volume):
            yield _said(f"volume {volume['name']}", volumes.get(volume["name"]), volume)


def _container(name: str, there: Object, expected: Mapping[str, Any]) -> Iterator[str]:
    for field, value in expected.items():
        has = there.get(field)
        if field == "resources":
            if not _same_resources(has, value):
                yield _said(f"{name} {field}", has, value)
        elif field in _KEYS:
            yield from _entries(f"{name} {field}", _KEYS[field], has or (), value, field)
        elif not _holds(has, value):
            yield _said(f"{name} {field}", has, value)


def _entries(what: str, key: str, there: Any, expected: Any, field: str) -> Iterator[str]:
    has = {item.get(key): item for item in there if item.get(key) not in _OF_THE_APP}
    mine = {item.get(key): item for item in expected if item.get(key) not in _OF_THE_APP}
    for name, value in mine.items():
        if not _holds(has.get(name), value):
            yield _said(f"{what} {name}", has.get(name), value)
    if field in _ONLY_MINE:
        for name in has.keys() - mine.keys():
            yield _said(f"{what} {name}", has[name], None)


def _same_resources(there: Any, expected: Mapping[str, Any]) -> bool:
    """As `_holds`, of quantities: an API server writes 1024Mi as 1Gi."""
    has = there if isinstance(there, Mapping) else {}
    return all(
        _amount((has.get(group) or {}).get(name)) == _amount(value)
        for group, entries in expected.items()
        for name, value in entries.items()
    )


def _amount(value: object) -> object:
    try:
        return quantities.quantity(str(value))
    except (ValueError, IndexError):
        return value


def _holds(there: Any, expected: Any) -> bool:
    """Whether all that was made is there; an API server adds defaults."""
    if isinstance(expected, Mapping):
        has = there if isinstance(there, Mapping) else {}
        return all(_holds(has.get(key), value) for key, value in expected.items())
    if isinstance(expected, list | tuple):
        same = isinstance(there, list | tuple) and len(there) == len(expected)
        return same and all(_holds(a, b) for a, b in zip(there, expected, strict=True))
    return bool(there == expected) or (there is None and not expected)


def _said(what: str, there: object, expected: object) -> str:
    if isinstance(there, list) and isinstance(expected, list) and len(there) == len(expected):
        # Of a command line the word that differs tells more than the whole.
        at = next((n for n, pair in enumerate(zip(there, expected, strict=True))
                   if pair[0] != pair[1]), 0)  # fmt: skip
        if at and isinstance(expected[at], str) and isinstance(expected[at - 1], str):
            what, there, expected = f"{what} {expected[at - 1]}", there[at], expected[at]
    has, makes = (
        "none"
        if value is None
        else clean(value if isinstance(value, str) else json.dumps(value), 120)
        for value in (there, expected)
    )
    return f"{what}: it has {has}, kube-inject makes {makes}"


def webhook(situation: Situation) -> Finding | None:
    """A webhook that answers otherwise than kube-inject does, or whose replicas differ."""
    trial = situation.trial
    if situation.foreign or not situation.matching:
        return None
    changed: tuple[str, ...] = ()
    if trial is not None and trial.pod:
        changed = differences(trial.pod, situation.subject.namespace, situation.settings)
    if not changed and not situation.generations:
        return None
    if changed:
        say = "the webhook makes another sidecar than this build's kube-inject, so it is of "
        say += f"another build: {few(changed)}"
    else:
        say = "the webhook's replicas are of different builds"
    if situation.generations:
        say += f" ({few(situation.generations)})"
    return Finding(Cause.WEBHOOK_BUILD, LINE, say, reinstall(situation))


def aged(situation: Situation) -> tuple[str, ...]:
    """How a live pod's sidecar differs from what this build makes for it."""
    subject = situation.subject
    there = proxy_of(subject.pod)
    if situation.foreign or subject.origin != "live" or there is None:
        return ()
    same_kind = situation.settings._replace(native_sidecar=there[1])
    return differences(subject.pod, subject.namespace, same_kind)


def few(texts: tuple[str, ...]) -> str:
    """The first of several texts, and how many more there are."""
    more = len(texts) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
