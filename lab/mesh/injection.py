"""A pod or pod template in, the same with a sidecar out. Pure; CLI and webhook both call it.

Injecting twice equals injecting once: what the status annotation names as added is taken out
first, probes are put back, and then the pod is injected afresh.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lab.mesh import annotations as names
from lab.mesh import contract, fields, probes, sidecar
from lab.mesh.decision import Decision, decide
from lab.mesh.errors import AnnotationError, DocumentError, Place
from lab.mesh.sidecar import Owner, Settings, Wishes

Template = Mapping[str, Any]

CANONICAL_NAME: Final = "service.istio.io/canonical-name"
CANONICAL_REVISION: Final = "service.istio.io/canonical-revision"
DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
PROMETHEUS: Final = "prometheus.io/"
_OURS: Final = (contract.INIT_CONTAINER, contract.PROXY_CONTAINER)
_GROUPS: Final = ("initContainers", "containers")


@dataclass(frozen=True)
class Injected:
    """The decision, and the template: with a sidecar, or as it was given when refused.

    `warnings`: sentences about what will not work as the user may expect.
    """

    decision: Decision
    template: Template
    warnings: tuple[str, ...] = ()


def inject(template: Template, namespace: str, owner: Owner, settings: Settings) -> Injected:
    """Decide and inject one pod or pod template ({metadata, spec}).

    Raises DocumentError for a field of the wrong type, AnnotationError for a bad annotation.
    """
    for fault in fields.template_faults(template):
        place = Place("pod", field=fields.show(fault.path) or None)
        raise DocumentError(fault.text, place, hint=fault.hint)
    decision = decide(template, namespace, settings.policy)
    if not decision.inject:
        return Injected(decision, template)
    for error in names.check((template.get("metadata") or {}).get("annotations") or {}):
        raise error
    return Injected(decision, _inject(strip(template), owner, settings), tuple(_warnings(template)))


def _inject(template: Template, owner: Owner, settings: Settings) -> dict[str, Any]:
    metadata = template.get("metadata") or {}
    given: dict[str, str] = dict(metadata.get("annotations") or {})
    labels: dict[str, str] = dict(metadata.get("labels") or {})
    spec = dict(template["spec"])
    wishes = Wishes(given, names.config(given), settings)
    overrides = _overrides(spec, given)

    apps = [c for c in spec.get("containers") or () if c["name"] not in _OURS]
    inits = [c for c in spec.get("initContainers") or () if c["name"] not in _OURS]
    described = _describe_apps(apps)
    probers: probes.Probers = {}
    if wishes.rewrite_probes:
        apps = [_rewritten(container, wishes, probers) for container in apps]
        inits = [_rewritten(container, wishes, probers) for container in inits]
    proxy = sidecar.proxy_container(
        wishes, owner, *described, probes.encode(probers) if probers else ""
    )
    proxy = _merge(proxy, overrides.get(contract.PROXY_CONTAINER, {}))
    init = _merge(sidecar.init_container(wishes), overrides.get(contract.INIT_CONTAINER, {}))
    setup = [] if wishes.mode == "NONE" else [init]
    # A pod needs one container that is no init container.
    if wishes.native and apps:
        inits, containers = [*setup, proxy, *inits], apps
    else:
        inits = [*inits, *setup]
        containers = [proxy, *apps] if wishes.hold else [*apps, proxy]
    spec["containers"] = containers
    _keep(spec, "initContainers", inits)
    volumes = [v for v in spec.get("volumes") or () if v["name"] not in sidecar.VOLUMES]
    spec["volumes"] = [*volumes, *sidecar.volumes()]

    new_labels = _labels(labels, owner)
    new_annotations = _annotations(given, apps, wishes)
    if overrides:
        new_annotations[names.OVERRIDES] = _compact(overrides)
    status = {
        "initContainers": [c["name"] for c in inits if c["name"] in _OURS],
        "containers": [c["name"] for c in containers if c["name"] in _OURS],
        "volumes": list(sidecar.VOLUMES),
        "labels": sorted(new_labels),
        "annotations": sorted(new_annotations),
        "revision": "default",
    }
    new_annotations[contract.STATUS_ANNOTATION] = _compact(status)
    return {
        **template,
        "metadata": {
            **metadata,
            "labels": {**labels, **new_labels},
            "annotations": {**given, **new_annotations},
        },
        "spec": spec,
    }


def strip(template: Template) -> Template:
    """The template without what an earlier injection added; unchanged where none is named.

    Probes come back with ports as numbers. A user's own settings for istio-proxy come back
    as the container that held them.
    """
    metadata = dict(template.get("metadata") or {})
    given: dict[str, str] = dict(metadata.get("annotations") or {})
    if contract.STATUS_ANNOTATION not in given:
        return template
    status = _status(given.pop(contract.STATUS_ANNOTATION))
    spec = dict(template["spec"])
    overrides = _overrides({}, given) if names.OVERRIDES in status["annotations"] else {}
    probers = _old_probers(spec)
    for group in _GROUPS:
        kept = [
            probes.restore(container, probers) if probers else container
            for container in spec.get(group) or ()
            if container["name"] not in status[group]
        ]
        _keep(spec, group, kept)
    # Where the container stood does not matter: injection takes it out by its name.
    for name, container in overrides.items():
        group = "containers" if name == contract.PROXY_CONTAINER else "initContainers"
        spec[group] = [*(spec.get(group) or ()), {"name": name, **container}]
    _keep(
        spec,
        "volumes",
        [v for v in spec.get("volumes") or () if v["name"] not in status["volumes"]],
    )
    labels = dict(metadata.get("labels") or {})
    _keep(metadata, "labels", {k: v for k, v in labels.items() if k not in status["labels"]})
    _keep(
        metadata, "annotations", {k: v for k, v in given.items() if k not in status["annotations"]}
    )
    return {**template, "metadata": metadata, "spec": spec}


def _status(value: str) -> dict[str, Sequence[str]]:
    """The names in a status annotation; people edit annotations, so anything may stand there."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = {}
    said = found if isinstance(found, dict) else {}
    keys = ("initContainers", "containers", "volumes", "labels", "annotations")
    lists = {key: said.get(key) for key in keys}
    return {
        key: [name for name in value if isinstance(name, str)] if isinstance(value, list) else []
        for key, value in lists.items()
    }


def _keep(holder: dict[str, Any], key: str, value: Any) -> None:
    """Set a list or mapping; an empty one is left out."""
    if value:
        holder[key] = value
    else:
        holder.pop(key, None)


def _old_probers(spec: Mapping[str, Any]) -> dict[str, Any]:
    for group in _GROUPS:
        for container in spec.get(group) or ():
            if container["name"] == contract.PROXY_CONTAINER:
                for entry in container.get("env") or ():
                    if entry["name"] == probes.ENVIRONMENT:
                        return probes.decode(str(entry.get("value")))
    return {}


def _overrides(spec: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The user's own settings for our containers: as a container, or kept in the annotation."""
    found: dict[str, dict[str, Any]] = {}
    if value := given.get(names.OVERRIDES):
        try:
            kept = json.loads(value)
        except (ValueError, RecursionError):
            kept = None
        if not isinstance(kept, dict) or not all(isinstance(c, dict) for c in kept.values()):
            raise AnnotationError(names.OVERRIDES, value, "must be a JSON object of containers")
        found = {name: container for name, container in kept.items() if name in _OURS}
        held = [{**container, "name": name} for name, container in found.items()]
        for fault in fields.template_faults({"spec": {"containers": held}}) if held else ():
            problem = f"{fields.show(fault.path)} {fault.text}"
            raise AnnotationError(names.OVERRIDES, value, problem)
    for group in _GROUPS:
        for container in spec.get(group) or ():
            if container["name"] in _OURS:
                found[container["name"]] = {k: v for k, v in container.items() if k != "name"}
    return found


_LIST_KEYS: Final = {"env": "name", "volumeMounts": "mountPath", "ports": "containerPort"}


def _merge(base: dict[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """The user's settings over ours: mappings by key, known lists by entry, else replaced."""
    merged = dict(base)
    for key, value in user.items():
        ours = merged.get(key)
        if key == "image" and value == "auto":
            continue
        if isinstance(ours, dict) and isinstance(value, Mapping):
            merged[key] = _merge(ours, value)
        elif key in _LIST_KEYS and isinstance(ours, list) and isinstance(value, list):
            entry_key = _LIST_KEYS[key]
            theirs = {entry.get(entry_key) for entry in value}
            merged[key] = [e for e in ours if e.get(entry_key) not in theirs] + value
        elif value is not None:
            merged[key] = value
    return merged


def _rewritten(container: Template, wishes: Wishes, probers: probes.Probers) -> dict[str, Any]:
    changed, found = probes.rewrite(container, wishes.status_port)
    probers.update(found)
    return changed


def _describe_apps(apps: Sequence[Template]) -> tuple[str, str]:
    ports = [
        {key: port[key] for key in ("name", "containerPort", "protocol") if port.get(key)}
        for container in apps
        for port in container.get("ports") or ()
    ]
    # The API server adds this default; without it webhook and CLI would differ.
    told = [{**port, "protocol": port.get("protocol", "TCP")} for port in ports]
    return ",".join(container["name"] for container in apps), _compact(told)


def _labels(labels: Mapping[str, str], owner: Owner) -> dict[str, str]:
    name = labels.get("app.kubernetes.io/name") or labels.get("app") or owner.name
    revision = labels.get("app.kubernetes.io/version") or labels.get("version") or "latest"
    wanted = {CANONICAL_NAME: name, CANONICAL_REVISION: revision}
    return {key: value for key, value in wanted.items() if key not in labels}


def _annotations(
    given: Mapping[str, str], apps: Sequence[Template], wishes: Wishes
) -> dict[str, str]:
    new: dict[str, str] = {}
    if DEFAULT_CONTAINER not in given and apps:
        new[DEFAULT_CONTAINER] = apps[0]["name"]
    # A pod that already tells Prometheus where to scrape is not told otherwise.
    if wishes.status_port and not any(key.startswith(PROMETHEUS) for key in given):
        new[PROMETHEUS + "path"] = "/stats/prometheus"
        new[PROMETHEUS + "port"] = str(wishes.status_port)
        new[PROMETHEUS + "scrape"] = "true"
    return new


def _warnings(template: Template) -> list[str]:
    spec = template["spec"]
    told = []
    uid = contract.PROXY_UID
    users = {"the pod": spec.get("securityContext") or {}}
    users |= {
        f"container {c['name']}": c.get("securityContext") or {}
        for c in spec["containers"]
        if c["name"] not in _OURS
    }
    for who, context in users.items():
        if context.get("runAsUser") == uid or context.get("runAsGroup") == uid:
            told.append(f"{who} runs as {uid}, the proxy's own: its traffic is not redirected")
    policy = spec.get("dnsPolicy")
    if policy not in (None, "", "ClusterFirst"):
        told.append(f"dnsPolicy {policy}: the proxy may not find the discovery service")
    return told


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)
