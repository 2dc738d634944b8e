"""Adds a sidecar to a pod or pod template, for kube-inject and the webhook. Pure.

Injecting a pod twice gives the same result as injecting it once. This module first removes what
an earlier injection added (the status annotation lists it), restores the original probes, and then
injects the pod from scratch.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lab.mesh import contract
from lab.mesh.errors import DocumentError, Place, UnfitError
from lab.mesh.injector import containers as sidecar
from lab.mesh.injector import early_checks, notes, probes, sidecar_volumes, uninject
from lab.mesh.injector.checks import pod_checks, program_checks
from lab.mesh.injector.decision import Decision, decide
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings import user_containers
from lab.mesh.injector.settings.pod_settings import Owner, Settings, Wishes
from lab.mesh.injector.settings.user_containers import OURS, Own
from lab.mesh.injector.uninject import keep
from lab.mesh.manifest import field_types, nulls
from lab.mesh.manifest.reading import FieldPath

Template = Mapping[str, Any]

CANONICAL_NAME: Final = "service.istio.io/canonical-name"
CANONICAL_REVISION: Final = "service.istio.io/canonical-revision"
DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
REVISION: Final = "istio.io/rev"
PROMETHEUS: Final = "prometheus.io/"
_LABEL_LENGTH: Final = 63
_PORT_KEYS: Final = ("name", "containerPort", "protocol", "hostPort", "hostIP")


class Injected(NamedTuple):
    """The decision, and the template with a sidecar (unchanged if the decision is no).

    `warnings`: sentences about what may not work as the user expects.
    """

    decision: Decision
    template: Template
    warnings: tuple[str, ...] = ()


def inject(template: Template, namespace: str, owner: Owner, settings: Settings) -> Injected:
    """Decides whether to inject one pod or pod template ({metadata, spec}), and injects it if so.

    The result shares parts with `template` and with other results: do not change it in place.
    Raises AnnotationError for a bad annotation, DocumentError for a field that has a wrong type or
    rules out a sidecar.
    """
    for fault in field_types.template_faults(template):
        place = Place("pod", field=field_types.show(fault.path) or None)
        raise DocumentError(fault.text, place, hint=fault.hint)
    try:
        return inject_checked(template, namespace, owner, settings)
    except UnfitError as unfit:
        place = Place("pod", field=field_types.show(unfit.path))
        raise DocumentError(unfit.message, place, hint=unfit.hint) from unfit


def inject_checked(
    template: Template, namespace: str, owner: Owner, settings: Settings
) -> Injected:
    """Does what `inject` does, for a template whose field types were checked.

    Raises AnnotationError, and UnfitError for a pod that rules out a sidecar.
    """
    original, template = template, nulls.resolved(template)
    decision = decide(template, namespace, settings.policy)
    if not decision.inject:
        return Injected(decision, original, tuple(notes.of_wishes(template)))
    for error in names.check((template.get("metadata") or {}).get("annotations") or {}):
        raise error
    pod_checks.check_pod(template)
    before = uninject.strip(template)
    wishes = _wishes(before, settings)
    try:
        result = _inject(before, owner, wishes)
    except UnfitError as unfit:
        path = _path_in_original(unfit.path, before["spec"], template["spec"])
        raise UnfitError(path, unfit.message, hint=unfit.hint) from unfit
    if before is not template:
        # Keys that return keep their positions: injecting twice equals once, to the byte.
        for part in ("metadata", "spec"):
            there = (key for key in template[part] if key in result[part])
            result[part] = {**{key: result[part][key] for key in there}, **result[part]}
    warnings = (
        *notes.of_wishes(template),
        *notes.of_injected(before, wishes),
        *_spared(before, wishes),
    )
    return Injected(decision, nulls.kept(original, result), warnings)


def _path_in_original(
    path: FieldPath, stripped: Mapping[str, Any], original: Mapping[str, Any]
) -> FieldPath:
    """Takes the path of a field in the stripped pod, and returns its path in the original pod.

    The stripped pod lacks the containers that an earlier injection added to the original pod, so
    indices differ. If the container is not in the original pod, only the status annotation has it;
    then the path of this annotation is returned.
    """
    if len(path) < 3 or not isinstance(index := path[2], int):
        return path
    group = str(path[1])
    name = stripped[group][index].get("name")
    for place, container in enumerate(original.get(group) or ()):
        if container.get("name") == name:
            return (*path[:2], place, *path[3:])
    # The status annotation holds the containers that an earlier injection replaced.
    return ("metadata", "annotations", contract.STATUS_ANNOTATION)


def _wishes(template: Template, settings: Settings) -> Wishes:
    annotations: Mapping[str, str] = (template.get("metadata") or {}).get("annotations") or {}
    if template["spec"].get("resources"):
        # All containers share the pod's own budget; our defaults may exceed it.
        settings = settings._replace(requests={}, limits={})
    return Wishes(annotations, names.config(annotations), settings)


def _inject(template: Template, owner: Owner, wishes: Wishes) -> dict[str, Any]:
    metadata = template.get("metadata") or {}
    annotations: dict[str, str] = dict(metadata.get("annotations") or {})
    labels: dict[str, str] = dict(metadata.get("labels") or {})
    spec = dict(template["spec"])
    own = user_containers.find(spec, annotations)

    apps = [c for c in spec.get("containers") or () if c["name"] not in OURS]
    inits = [c for c in spec.get("initContainers") or () if c["name"] not in OURS]
    described = _describe(apps, own)
    originals, early = probes.Originals(), _early(apps, inits, wishes)
    if wishes.rewrite_probes:
        port, handed = wishes.status_port, early.handed
        apps = [probes.rewrite(app, port, originals, handed[app["name"]]) for app in apps]
        inits = [probes.rewrite(init, port, originals, handed[init["name"]]) for init in inits]
        wishes = wishes.holding() if early.hold else wishes
    probers = probes.encode(originals.probers) if originals.probers else ""
    proxy = user_containers.apply(
        sidecar.proxy_container(wishes, owner, labels, *described, probers), own
    )
    base = sidecar.init_container(wishes)
    base["command"] = early_checks.spare(base["command"], early.spared)
    init = user_containers.apply(base, own)
    user_containers.agree_on_user(init, proxy, own, wishes.mode)
    setup = [] if wishes.mode == "NONE" else [init]
    for container in setup:
        program_checks.check_init(container, wishes, own)
    program_checks.check_sizes([*setup, proxy], wishes, own)
    # A pod needs one container that is no init container.
    if wishes.native and apps:
        inits, containers = [*setup, proxy, *inits], apps
    else:
        inits = [*inits, *setup]
        containers = [proxy, *apps] if early.first else [*apps, proxy]
    spec["containers"] = containers
    keep(spec, "initContainers", inits)
    added = sidecar_volumes.volumes(wishes)
    pod_checks.check_volumes(template["spec"], added, annotations)
    ours = {volume["name"] for volume in added}
    volumes = spec.get("volumes") or ()
    spec["volumes"] = [*(v for v in volumes if v["name"] not in ours), *added]
    if own.settings or names.USER_VOLUME_MOUNT in annotations:
        from lab.mesh.injector.checks import added_checks  # a table that few pods need

        for container in (*setup, proxy):
            added_checks.check_container(container, spec, annotations, own)

    new_labels = _labels(labels, owner)
    new_annotations = _annotations(annotations, apps, wishes)
    if own.places and names.OVERRIDES not in annotations:
        new_annotations[names.OVERRIDES] = own.annotation()
    status = {
        "initContainers": [c["name"] for c in inits if c["name"] in OURS],
        "containers": [c["name"] for c in containers if c["name"] in OURS],
        "volumes": [volume["name"] for volume in added],
        "labels": sorted(new_labels),
        "annotations": sorted(new_annotations),
        "revision": wishes.settings.revision,
    }
    # An uninjection needs these beyond names; most pods have none of them.
    keep(status, uninject.PORTS, originals.ports)
    keep(status, uninject.PLACES, own.places)
    keep(status, uninject.REPLACED, [v for v in volumes if v["name"] in ours])
    # Not sorted: an uninjection restores the user's mappings with their keys in order.
    new_annotations[contract.STATUS_ANNOTATION] = json.dumps(status, separators=(",", ":"))
    all_annotations = {**annotations, **new_annotations}
    pod_checks.check_annotations(all_annotations)
    return {
        **template,
        "metadata": {
            **metadata,
            "labels": {**labels, **new_labels},
            "annotations": all_annotations,
        },
        "spec": spec,
    }


def _early(
    apps: Sequence[Template], inits: Sequence[Template], wishes: Wishes
) -> early_checks.ProbePlan:
    """Returns the plan for probes and hooks; none goes to the agent if rewriting is turned off."""
    native, wanted = wishes.native and bool(apps), not wishes.native and wishes.hold
    if not wishes.rewrite_probes:
        return early_checks.ProbePlan({}, (), first=wishes.hold, hold=wanted)
    may = wishes.config.hold is not False
    return early_checks.plan(apps, inits, native=native, hold=wishes.hold, may_hold=may)


def _describe(apps: Sequence[Template], own: Own) -> tuple[str, str]:
    """Returns the names of the application's containers, and the pod's declared ports as JSON."""
    proxies = [
        container for _, _, container in own.places if container["name"] == contract.PROXY_CONTAINER
    ]
    ports = [
        {key: port[key] for key in _PORT_KEYS if port.get(key)}
        for container in (*apps, *proxies)
        for port in container.get("ports") or ()
    ]
    # The API server adds this default; without it webhook and CLI would differ.
    complete = [{**port, "protocol": port.get("protocol", "TCP")} for port in ports]
    return ",".join(container["name"] for container in apps), _compact(complete)


def _labels(labels: Mapping[str, str], owner: Owner) -> dict[str, str]:
    name = labels.get("app.kubernetes.io/name") or labels.get("app") or owner.name
    revision = labels.get("app.kubernetes.io/version") or labels.get("version") or "latest"
    # A workload's name may be longer than a label's value.
    wanted = {CANONICAL_NAME: name[:_LABEL_LENGTH].strip("-_."), CANONICAL_REVISION: revision}
    return {key: value for key, value in wanted.items() if key not in labels}


def _annotations(
    annotations: Mapping[str, str], apps: Sequence[Template], wishes: Wishes
) -> dict[str, str]:
    new = {} if REVISION in annotations else {REVISION: wishes.settings.revision}
    if DEFAULT_CONTAINER not in annotations and apps:
        new[DEFAULT_CONTAINER] = apps[0]["name"]
    # A pod with annotations of its own for Prometheus keeps them.
    if wishes.merge_metrics and not any(key.startswith(PROMETHEUS) for key in annotations):
        new[PROMETHEUS + "path"] = "/stats/prometheus"
        new[PROMETHEUS + "port"] = str(wishes.status_port)
        new[PROMETHEUS + "scrape"] = "true"
    return new


def _spared(template: Template, wishes: Wishes) -> list[str]:
    """Returns a warning for each port that the plan for probes leaves uncaptured."""
    spec = template["spec"]
    apps, inits = (
        [container for container in spec.get(group) or () if container["name"] not in OURS]
        for group in ("containers", "initContainers")
    )
    return [
        f"port {spared.port} is not captured: kubelet checks container {spared.container} on it"
        " while no proxy can run"
        for spared in _early(apps, inits, wishes).spared
    ]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
