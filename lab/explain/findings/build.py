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
    given = metadata.get("annotations") or {}
    if contract.STATUS_ANNOTATION not in given or proxy_of(pod) is None:
        return ()
    owners = metadata.get("ownerReferences") or ()
    if metadata.get("generateName") and not any(one.get("controller") for one in owners):
        # It had no name yet when it was injected.
        metadata.pop("name", None)
    before = {**pod, "metadata": metadata}
    try:
        made = inject(before, namespace, owner_of(before), settings)
    except SidecarLabError as refusal:
        return (f"kube-inject refuses the pod: {clean(refusal.message, 200)}",)
    if not made.decision.inject:
        return ()
    return tuple(_compared(before, made.template))


def _compared(there: Object, made: Mapping[str, Any]) -> Iterator[str]:
    for group in ("initContainers", "containers"):
        mine = {one["name"]: one for one in made["spec"].get(group) or ()}
        theirs = {one.get("name"): one for one in (there.get("spec") or {}).get(group) or ()}
        for name in (contract.INIT_CONTAINER, contract.PROXY_CONTAINER):
            if (name in mine) != (name in theirs):
                has = f"among {group}" if name in theirs else f"not among {group}"
                yield f"{name} is {has}, kube-inject has it otherwise"
            elif name in mine:
                yield from _container(name, theirs[name], mine[name])
    # Labels change as people work with pods; annotations that the injector reads do not.
    given = there["metadata"]["annotations"]
    for name, value in made["metadata"]["annotations"].items():
        if given.get(name) != value:
            yield _said(f"annotation {name}", given.get(name), value)
    volumes = {one.get("name"): one for one in (there.get("spec") or {}).get("volumes") or ()}
    for one in made["spec"].get("volumes") or ():
        if not _holds(volumes.get(one["name"]), one):
            yield _said(f"volume {one['name']}", volumes.get(one["name"]), one)


def _container(name: str, there: Object, made: Mapping[str, Any]) -> Iterator[str]:
    for field, value in made.items():
        has = there.get(field)
        if field == "resources":
            if not _same_resources(has, value):
                yield _said(f"{name} {field}", has, value)
        elif field in _KEYS:
            yield from _entries(f"{name} {field}", _KEYS[field], has or (), value, field)
        elif not _holds(has, value):
            yield _said(f"{name} {field}", has, value)


def _entries(what: str, key: str, there: Any, made: Any, field: str) -> Iterator[str]:
    has = {one.get(key): one for one in there if one.get(key) not in _OF_THE_APP}
    mine = {one.get(key): one for one in made if one.get(key) not in _OF_THE_APP}
    for name, value in mine.items():
        if not _holds(has.get(name), value):
            yield _said(f"{what} {name}", has.get(name), value)
    if field in _ONLY_MINE:
        for name in has.keys() - mine.keys():
            yield _said(f"{what} {name}", has[name], None)


def _same_resources(there: Any, made: Mapping[str, Any]) -> bool:
    """As `_holds`, of quantities: an API server writes 1024Mi as 1Gi."""
    has = there if isinstance(there, Mapping) else {}
    return all(
        _amount((has.get(group) or {}).get(name)) == _amount(value)
        for group, entries in made.items()
        for name, value in entries.items()
    )


def _amount(value: object) -> object:
    try:
        return quantities.quantity(str(value))
    except (ValueError, IndexError):
        return value


def _holds(there: Any, made: Any) -> bool:
    """Whether all that was made is there; an API server adds defaults."""
    if isinstance(made, Mapping):
        has = there if isinstance(there, Mapping) else {}
        return all(_holds(has.get(key), value) for key, value in made.items())
    if isinstance(made, list | tuple):
        same = isinstance(there, list | tuple) and len(there) == len(made)
        return same and all(_holds(a, b) for a, b in zip(there, made, strict=True))
    return bool(there == made) or (there is None and not made)


def _said(what: str, there: object, made: object) -> str:
    if isinstance(there, list) and isinstance(made, list) and len(there) == len(made):
        # Of a command line the word that differs tells more than the whole.
        at = next((n for n, pair in enumerate(zip(there, made, strict=True))
                   if pair[0] != pair[1]), 0)  # fmt: skip
        if at and isinstance(made[at], str) and isinstance(made[at - 1], str):
            what, there, made = f"{what} {made[at - 1]}", there[at], made[at]
    has, makes = (
        "none" if one is None else clean(one if isinstance(one, str) else json.dumps(one), 120)
        for one in (there, made)
    )
    return f"{what}: it has {has}, kube-inject makes {makes}"


def webhook(situation: Situation) -> Finding | None:
    """A webhook that answers otherwise than kube-inject does, or whose replicas differ."""
    trial = situation.trial
    if situation.foreign or not situation.matching:
        return None
    found: tuple[str, ...] = ()
    if trial is not None and trial.pod:
        found = differences(trial.pod, situation.subject.namespace, situation.settings)
    if not found and not situation.generations:
        return None
    if found:
        say = "the webhook makes another sidecar than this build's kube-inject, so it is of "
        say += f"another build: {few(found)}"
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
