"""Compares a pod's sidecar with the sidecar that this build of the injector makes. Pure.

To compare them, this module injects the pod again: if this build has injected the pod, the second
injection changes nothing. Fields that the API server or other webhooks add do not count as
differences.
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
"""A sentence names at most this number of differences."""
_KEYS: Final = {"env": "name", "volumeMounts": "mountPath", "ports": "containerPort"}
_ONLY_MINE: Final = frozenset({"env"})
"""Lists of a sidecar's container to which only the injector adds items."""
_OF_THE_APP: Final = frozenset(
    {"ISTIO_META_APP_CONTAINERS", "ISTIO_META_POD_PORTS", contract.PROBES_VARIABLE}
)
"""Variables that are not compared: they depend on the app's containers, which may have changed."""


def differences(pod: Object, namespace: str, settings: Settings) -> tuple[str, ...]:
    """Returns how the sidecar of an injected pod differs from the one that this build makes.

    Each text names one difference. Returns () if there is none, or if the pod has no sidecar or no
    status annotation.
    """
    metadata = dict(pod.get("metadata") or {})
    own_annotations = metadata.get("annotations") or {}
    if contract.STATUS_ANNOTATION not in own_annotations or proxy_of(pod) is None:
        return ()
    owners = metadata.get("ownerReferences") or ()
    if metadata.get("generateName") and not any(owner.get("controller") for owner in owners):
        # The pod had no name yet when it was injected.
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
                has = f"in {group}" if name in theirs else f"not in {group}"
                yield f"{name} is {has}, unlike in kube-inject's result"
            elif name in mine:
                yield from _container(name, theirs[name], mine[name])
    # Labels are not compared: users change them on running pods.
    own_annotations = there["metadata"]["annotations"]
    for name, value in expected["metadata"]["annotations"].items():
        if own_annotations.get(name) != value:
            yield _difference(f"annotation {name}", own_annotations.get(name), value)
    volumes = {
        volume.get("name"): volume for volume in (there.get("spec") or {}).get("volumes") or ()
    }
    for volume in expected["spec"].get("volumes") or ():
        if not _holds(volumes.get(volume["name"]), volume):
            yield _difference(f"volume {volume['name']}", volumes.get(volume["name"]), volume)


def _container(name: str, there: Object, expected: Mapping[str, Any]) -> Iterator[str]:
    for field, value in expected.items():
        has = there.get(field)
        if field == "resources":
            if not _same_resources(has, value):
                yield _difference(f"{name} {field}", has, value)
        elif field in _KEYS:
            yield from _entries(f"{name} {field}", _KEYS[field], has or (), value, field)
        elif not _holds(has, value):
            yield _difference(f"{name} {field}", has, value)


def _entries(what: str, key: str, there: Any, expected: Any, field: str) -> Iterator[str]:
    has = {item.get(key): item for item in there if item.get(key) not in _OF_THE_APP}
    mine = {item.get(key): item for item in expected if item.get(key) not in _OF_THE_APP}
    for name, value in mine.items():
        if not _holds(has.get(name), value):
            yield _difference(f"{what} {name}", has.get(name), value)
    if field in _ONLY_MINE:
        for name in has.keys() - mine.keys():
            yield _difference(f"{what} {name}", has[name], None)


def _same_resources(there: Any, expected: Mapping[str, Any]) -> bool:
    """Returns whether the quantities are equal; the same quantity may be written 1024Mi or 1Gi."""
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
    """Returns whether `there` contains all of `expected`.

    Objects in `there` may have more fields, such as defaults that the API server added.
    """
    if isinstance(expected, Mapping):
        has = there if isinstance(there, Mapping) else {}
        return all(_holds(has.get(key), value) for key, value in expected.items())
    if isinstance(expected, list | tuple):
        same = isinstance(there, list | tuple) and len(there) == len(expected)
        return same and all(_holds(a, b) for a, b in zip(there, expected, strict=True))
    return bool(there == expected) or (there is None and not expected)


def _difference(what: str, there: object, expected: object) -> str:
    if isinstance(there, list) and isinstance(expected, list) and len(there) == len(expected):
        # For a command line, show the first argument that differs, not the whole line.
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
    return f"{what}: the pod has {has}, kube-inject makes {makes}"


def webhook(situation: Situation) -> Finding | None:
    """Returns the finding about a webhook that another build of the injector serves, else None.

    The webhook is of another build if its sidecar differs from that of kube-inject, or if its
    replicas differ from each other.
    """
    trial = situation.trial
    if situation.foreign or not situation.matching:
        return None
    changed: tuple[str, ...] = ()
    if trial is not None and trial.pod:
        changed = differences(trial.pod, situation.subject.namespace, situation.settings)
    if not changed and not situation.generations:
        return None
    if changed:
        sentence = (
            "the webhook's sidecar differs from that of this build's kube-inject, so the webhook "
        )
        sentence += f"comes from another build: {few(changed)}"
    else:
        sentence = "the webhook's replicas come from different builds"
    if situation.generations:
        sentence += f" ({few(situation.generations)})"
    return Finding(Cause.WEBHOOK_BUILD, LINE, sentence, reinstall(situation))


def aged(situation: Situation) -> tuple[str, ...]:
    """Returns how an existing pod's sidecar differs from the one that this build makes."""
    subject = situation.subject
    there = proxy_of(subject.pod)
    if situation.foreign or subject.origin != "live" or there is None:
        return ()
    same_kind = situation.settings._replace(native_sidecar=there[1])
    return differences(subject.pod, subject.namespace, same_kind)


def few(texts: tuple[str, ...]) -> str:
    """Joins the first SHOWN texts to one text, and adds how many more there are."""
    more = len(texts) - SHOWN
    return "; ".join(texts[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
