"""Checks that the fields that the injector reads have the types that Kubernetes defines."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from lab.mesh import workloads
from lab.mesh.manifest.reading import FieldPath

_GLUED: Final = r"([A-Za-z][\w-]*):(\S.*)"
_NAMES: Final = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
}
NAMED_LISTS: Final = (
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("volumeDevices", "devicePath"),
)
"""Lists in a container, each with the key that identifies its entries."""
PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")


class Fault(NamedTuple):
    """A field whose value cannot be used.

    `text` says what is wrong with it; `wants` is the expected type, None if the type is no part
    of the mistake; `value` is the value that was read.
    """

    path: FieldPath
    text: str
    hint: str = ""
    wants: type | None = None
    value: Any = None
    lead: str = ""
    """The start of `text` that names the field, or ""; `as_written` keeps it."""

    def as_written(self, written: str) -> "Fault":
        """Returns the fault with a text that shows `written`, the value as the file spells it.

        This helps if kubectl reads it as something else: `1.10` and `0123` are numbers, `NO` is
        false. Returns the same fault if the value is text or a collection, or `wants` is None.
        """
        if self.wants is None or isinstance(self.value, str | dict | list):
            return self
        if isinstance(self.value, bool | None):
            read = "nothing" if self.value is None else str(self.value).lower()
            clause = f"and `{written}` is read as {read}" if written != read else None
        else:
            clause = f"and is the number {written}"
        text = f"{self.lead}must be {_NAMES[self.wants]}, {clause}" if clause else self.text
        hint = f'quote it: "{written}"' if self.wants is str else self.hint
        return self._replace(text=text, hint=hint)


def show(path: FieldPath) -> str:
    """Returns a path as people write it: spec.containers[0].name, metadata.labels["a/b"]."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif re.fullmatch(r"[A-Za-z_][\w-]*", part):
            shown += f".{part}" if shown else part
        else:
            shown += f'["{part}"]'
    return shown


def kind_of(value: Any) -> str:
    """Returns the kind of a value in words for messages, such as "a list"."""
    if value is None:
        return "nothing"
    for cls in (bool, str, dict, list):
        if isinstance(value, cls):
            return _NAMES[cls]
    return f"the number {json.dumps(value)}"


def object_faults(value: dict[str, Any]) -> list[Fault]:
    """Returns the faults of apiVersion and kind.

    A fault means that one of the two is missing or not text, or that the kind does not exist in
    this API version.
    """
    faults = [
        fault._replace(text=f"{key} {fault.text}", lead=f"{key} ")
        for key in ("apiVersion", "kind")
        for fault in _needed(value, (), key)
    ]
    if faults:
        return faults
    version, kind = value["apiVersion"], value["kind"]
    known = workloads.API_VERSIONS.get(kind)
    group = version.rpartition("/")[0]
    # A custom resource may be called Deployment too; its group always has a dot.
    if known is None or version == known or "." in group:
        return []
    text = f"there is no {kind} in {version!r}"
    return [Fault(("apiVersion",), text, f"did you mean `apiVersion: {known}`?")]


def template_faults(template: Any, path: FieldPath = ()) -> Iterator[Fault]:
    """Yields the faults of a pod or pod template ({metadata, spec}) at `path`."""
    if template is None:
        yield Fault(path, "is missing", "a workload needs a pod template")
        return
    if _wrong(template, dict):
        yield _fault(path, template, dict)
        return
    yield from metadata_faults(template.get("metadata"), (*path, "metadata"))
    spec, here = template.get("spec"), (*path, "spec")
    if spec is None:
        yield Fault(here, "is missing", "a pod needs spec.containers")
        return
    if _wrong(spec, dict):
        yield _fault(here, spec, dict)
        return
    yield from _optional(spec, here, "hostNetwork", bool)
    yield from _optional(spec, here, "securityContext", dict)
    yield from _named_list(spec, here, "volumes")
    if not spec.get("containers") and not _wrong(spec.get("containers") or [], list):
        yield Fault((*here, "containers"), "is missing or empty", "a pod needs a container")
    for group in ("containers", "initContainers"):
        yield from _named_list(spec, here, group)
        for index, container in enumerate(_items(spec.get(group))):
            if isinstance(container, dict):
                yield from _container_faults(container, (*here, group, index))


def metadata_faults(metadata: Any, path: FieldPath) -> Iterator[Fault]:
    """Yields the faults of an object's metadata."""
    if metadata is None:
        return
    if _wrong(metadata, dict):
        yield _fault(path, metadata, dict)
        return
    for key in ("name", "generateName", "namespace"):
        yield from _optional(metadata, path, key, str)
    for key in ("labels", "annotations"):
        yield from _optional(metadata, path, key, dict)
        entries = metadata.get(key)
        for name, value in entries.items() if isinstance(entries, dict) else ():
            if value is not None and _wrong(value, str):
                yield _fault((*path, key, name), value, str)
    yield from _optional(metadata, path, "ownerReferences", list)
    for index, owner in enumerate(_items(metadata.get("ownerReferences"))):
        here = (*path, "ownerReferences", index)
        if _wrong(owner, dict):
            yield _fault(here, owner, dict)
            continue
        for key in ("apiVersion", "kind", "name"):
            yield from _optional(owner, here, key, str)
        yield from _optional(owner, here, "controller", bool)


def _container_faults(container: dict[str, Any], path: FieldPath) -> Iterator[Fault]:
    for key in ("image", "restartPolicy"):
        yield from _optional(container, path, key, str)
    for key in ("securityContext", "lifecycle"):
        yield from _optional(container, path, key, dict)
    for key, name in NAMED_LISTS:
        yield from _named_list(container, path, key, name)
    yield from _optional(container, path, "ports", list)
    for index, port in enumerate(_items(container.get("ports"))):
        here = (*path, "ports", index)
        if _wrong(port, dict):
            yield _fault(here, port, dict)
            continue
        yield from _optional(port, here, "name", str)
        yield from _optional(port, here, "containerPort", int)
    hooks = container.get("lifecycle")
    if isinstance(hooks, dict):
        for key in ("postStart", "preStop"):
            yield from _optional(hooks, (*path, "lifecycle"), key, dict)
            if isinstance(hooks.get(key), dict):
                yield from _probe_faults(hooks[key], (*path, "lifecycle", key))
    for key in PROBES:
        yield from _optional(container, path, key, dict)
        if isinstance(container.get(key), dict):
            yield from _probe_faults(container[key], (*path, key))


def _probe_faults(probe: dict[str, Any], path: FieldPath) -> Iterator[Fault]:
    for action in ("httpGet", "tcpSocket", "grpc"):
        yield from _optional(probe, path, action, dict)
        target = probe.get(action)
        if not isinstance(target, dict):
            continue
        here = (*path, action)
        port = target.get("port")
        if port is not None and _wrong(port, int) and _wrong(port, str):
            text = f"must be a number or a port's name, and is {kind_of(port)}"
            yield Fault((*here, "port"), text)
        for key in ("path", "host", "scheme", "service"):
            yield from _optional(target, here, key, str)
        yield from _named_list(target, here, "httpHeaders")


def _named_list(
    holder: dict[str, Any], path: FieldPath, key: str, name: str = "name"
) -> Iterator[Fault]:
    """Yields the faults of the list at `key`, which need not exist.

    Its entries must be mappings, each with text at `name`.
    """
    yield from _optional(holder, path, key, list)
    for index, entry in enumerate(_items(holder.get(key))):
        here = (*path, key, index)
        if _wrong(entry, dict):
            yield _fault(here, entry, dict)
        else:
            yield from _needed(entry, here, name)


def _needed(holder: dict[str, Any], path: FieldPath, key: str) -> Iterator[Fault]:
    """Yields a fault unless `holder` has text at `key` that is not empty."""
    value = holder.get(key)
    if value is None or value == "":
        yield Fault((*path, key), "is missing", wants=str if key in holder else None)
    elif _wrong(value, str):
        yield _fault((*path, key), value, str)


def _optional(holder: dict[str, Any], path: FieldPath, key: str, cls: type) -> Iterator[Fault]:
    value = holder.get(key)
    if value is not None and _wrong(value, cls):
        yield _fault((*path, key), value, cls)


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _wrong(value: Any, cls: type) -> bool:
    return not isinstance(value, cls) or (cls is int and isinstance(value, bool))


def _fault(path: FieldPath, value: Any, cls: type) -> Fault:
    hint = ""
    if isinstance(value, str) and cls in (dict, list) and (glued := re.fullmatch(_GLUED, value)):
        hint = f"is a blank missing after the colon? `{glued[1]}: {glued[2]}`"
    elif isinstance(value, str) and (
        (cls is bool and value in ("true", "false")) or (cls is int and value.isdecimal())
    ):
        hint = f"remove the quotes: {value}"
    elif cls is str and isinstance(value, bool | int | float):
        hint = f'quote it: "{json.dumps(value)}"'
    return Fault(path, f"must be {_NAMES[cls]}, and is {kind_of(value)}", hint, cls, value)
