"""Removes what an earlier injection added to a pod or pod template. Pure.

The status annotation lists the additions. To Kubernetes, the result means the same as the pod
before its injection, but empty mappings and the layout of the text are lost.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.injector import probes
from lab.mesh.injector.settings.user_containers import GROUPS, OURS
from lab.mesh.manifest import field_types

Template = Mapping[str, Any]

NAMED: Final = (*GROUPS, "volumes", "labels", "annotations")
"""Keys of the status annotation that list the names of what was added."""
PORTS: Final = "probePorts"
PLACES: Final = "places"
REPLACED: Final = "replacedVolumes"


def was_injected(template: Template) -> bool:
    """Whether the template has the status annotation of an injector."""
    metadata = template.get("metadata") or {}
    return contract.STATUS_ANNOTATION in (metadata.get("annotations") or {})


def strip(template: Template) -> Template:
    """Returns the template as it was before its injection.

    Returns the same object if it has no status annotation, so was not injected.

    Field types must have been checked (field_types.template_faults).
    """
    if not was_injected(template):
        return template
    metadata = dict(template["metadata"])
    annotations: dict[str, str] = dict(metadata["annotations"])
    status = Status(annotations.pop(contract.STATUS_ANNOTATION))
    spec = dict(template["spec"])
    probers = _old_probers(spec)
    for group in GROUPS:
        kept = [
            probes.restore(container, probers, status.ports) if probers else container
            for container in spec.get(group) or ()
            if container["name"] not in status.named[group]
        ]
        keep(spec, group, kept)
    _put_back(spec, status.places)
    volumes = [v for v in spec.get("volumes") or () if v["name"] not in status.named["volumes"]]
    keep(spec, "volumes", [*volumes, *status.replaced])
    labels = dict(metadata.get("labels") or {})
    for key, entries in (("labels", labels), ("annotations", annotations)):
        added = status.named[key]
        keep(metadata, key, {k: v for k, v in entries.items() if k not in added})
    return {**template, "metadata": metadata, "spec": spec}


def not_undone(template: Template) -> list[str]:
    """Returns sentences about what `strip` cannot restore in an injected template."""
    annotations = template["metadata"]["annotations"]
    status = Status(annotations[contract.STATUS_ANNOTATION])
    sentences = []
    if not any(status.named.values()):
        sentences.append(
            f"{contract.STATUS_ANNOTATION} lists nothing: only this annotation is removed"
        )
    elif not status.named["annotations"]:
        sentences.append(
            "another injector injected this pod: the labels and annotations it added stay"
        )
    spec = template["spec"]
    probers = _old_probers(spec)
    for group in GROUPS:
        for container in spec.get(group) or ():
            if container["name"] not in status.named[group]:
                lost = probes.unknown(container, probers)
                sentences += (
                    f"{phrase} of container {container['name']} is not known" for phrase in lost
                )
    return sentences


def keep(holder: dict[str, Any], key: str, value: Any) -> None:
    """Sets a list or mapping in `holder`; removes the key if the value is empty."""
    if value:
        holder[key] = value
    else:
        holder.pop(key, None)


class Status:
    """Parses a status annotation; ignores unusable parts of it, since people edit annotations."""

    def __init__(self, value: str) -> None:
        try:
            decoded = json.loads(value)
        except (ValueError, RecursionError):
            decoded = {}
        entries = decoded if isinstance(decoded, dict) else {}
        self.named = {
            key: frozenset(name for name in _list(entries.get(key)) if isinstance(name, str))
            for key in NAMED
        }
        ports = entries.get(PORTS)
        self.ports = {
            path: port
            for path, port in (ports.items() if isinstance(ports, dict) else ())
            if isinstance(port, str)
        }
        self.replaced = [volume for volume in _list(entries.get(REPLACED)) if _is_volume(volume)]
        self.places = [
            (place[0], place[1], place[2])
            for place in _list(entries.get(PLACES))
            if isinstance(place, list) and len(place) == 3 and _is_place(*place)
        ]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_volume(value: Any) -> bool:
    base = {"containers": [{"name": "any"}], "volumes": [value]}
    return not any(field_types.template_faults({"spec": base}))


def _is_place(group: Any, index: Any, container: Any) -> bool:
    return (
        group in GROUPS
        and isinstance(index, int)
        and not any(field_types.template_faults({"spec": {"containers": [container]}}))
        and container["name"] in OURS
    )


def _put_back(spec: dict[str, Any], places: list[tuple[str, int, Any]]) -> None:
    """Restores the istio-proxy and istio-init that the user wrote, each at its old position."""
    for group, index, container in places:
        there = [c for c in spec.get(group) or () if c["name"] != container["name"]]
        there.insert(max(index, 0), container)
        spec[group] = there


def _old_probers(spec: Mapping[str, Any]) -> dict[str, Any]:
    for group in GROUPS:
        for container in spec.get(group) or ():
            if container["name"] == contract.PROXY_CONTAINER:
                for entry in container.get("env") or ():
                    if entry["name"] == contract.PROBES_VARIABLE:
                        return probes.decode(str(entry.get("value")))
    return {}
