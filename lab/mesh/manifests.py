"""Manifests in, manifests with sidecars out: which kinds hold a pod, and where. Pure.

Pod, ReplicationController, Deployment, DaemonSet, ReplicaSet, StatefulSet, Job, CronJob, and
List of any of them; every other document passes byte for byte.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lab.mesh import annotations as names
from lab.mesh import documents, fields, injection
from lab.mesh.decision import decide
from lab.mesh.documents import Document
from lab.mesh.errors import AnnotationError, DocumentError, DocumentErrors
from lab.mesh.sidecar import Owner, Settings
from lab.mesh.yaml_reader import FieldPath

TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    "Pod": (),
    "ReplicationController": ("spec", "template"),
    "Deployment": ("spec", "template"),
    "DaemonSet": ("spec", "template"),
    "ReplicaSet": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
"""Where each kind keeps its pod template; fields.API_VERSIONS says in which API it is served."""


@dataclass
class Outcome:
    """Every file's documents, injected where a pod is in them, and what a user should know."""

    files: list[list[Document]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    injected: int = 0

    def text(self) -> Iterator[str]:
        """The resulting stream, a piece for each document."""
        return documents.join(self.files)


def inject_files(sources: Sequence[tuple[str, bytes]], settings: Settings) -> Outcome:
    """Read and inject (file name, content) pairs.

    Raises DocumentErrors with every mistake of every file; then there is no outcome at all.
    """
    outcome = Outcome()
    errors: list[DocumentError] = []
    for file, data in sources:
        try:
            read = documents.read(data, file)
        except DocumentErrors as found:
            errors += found.errors
            continue
        result = []
        for document in read:
            changed, faults = _inject_document(document, settings, outcome)
            errors += faults
            result.append(changed)
        outcome.files.append(result)
    if errors:
        raise DocumentErrors(errors)
    return outcome


def _inject_document(
    document: Document, settings: Settings, outcome: Outcome
) -> tuple[Document, list[DocumentError]]:
    if document.value is None:
        return document, []
    errors: list[DocumentError] = []
    value = _inject_object(document.value, (), document, settings, outcome, errors)
    changed = value is not document.value and not errors
    return (document.rewritten(value) if changed else document), errors


def _inject_object(
    value: Mapping[str, Any],
    path: FieldPath,
    document: Document,
    settings: Settings,
    outcome: Outcome,
    errors: list[DocumentError],
) -> Mapping[str, Any]:
    """The object with its pods injected; the very same object where nothing changes."""
    kind = value["kind"]
    if value["apiVersion"] != fields.API_VERSIONS.get(kind):
        return value
    if kind == "List":
        return _inject_list(value, path, document, settings, outcome, errors)
    where = TEMPLATES[kind]
    metadata = value.get("metadata")
    template: Any = value
    for index, key in enumerate(where):
        template = template.get(key)
        if not isinstance(template, dict) and index < len(where) - 1:
            errors.append(document.error("must be a mapping", (*path, *where[: index + 1])))
            return value
    faults = list(fields.metadata_faults(metadata, (*path, "metadata"))) if where else []
    faults += fields.template_faults(template, (*path, *where))
    if faults:
        errors += (document.error(f.text, f.path, hint=f.hint) for f in faults)
        return value
    name = (metadata or {}).get("name") or ((metadata or {}).get("generateName") or "").rstrip("-")
    namespace = (metadata or {}).get("namespace") or "default"
    decision = decide(template, namespace, settings.policy)
    if decision.inject:
        bad = list(names.check((template.get("metadata") or {}).get("annotations") or {}))
        errors += (_annotation_error(document, (*path, *where), error) for error in bad)
        if bad:
            return value
    owner = Owner(name, kind, value["apiVersion"]) if where else owner_of(template)
    try:
        result = injection.inject(template, namespace, owner, settings)
    except AnnotationError as error:
        errors.append(_annotation_error(document, (*path, *where), error))
        return value
    said = f"{document.place((*path, 'kind'))}: {kind} {name}"
    if not result.decision.inject:
        outcome.notes.append(f"{said} is not injected: {result.decision.sentence}")
        return value
    outcome.injected += 1
    outcome.notes += (f"{said}: {warning}" for warning in result.warnings)
    return _replaced(value, where, result.template)


def _inject_list(
    value: Mapping[str, Any],
    path: FieldPath,
    document: Document,
    settings: Settings,
    outcome: Outcome,
    errors: list[DocumentError],
) -> Mapping[str, Any]:
    items = value.get("items") or []
    if not isinstance(items, list):
        errors.append(document.error("must be a list", (*path, "items")))
        return value
    result = []
    for index, item in enumerate(items):
        here = (*path, "items", index)
        faults = (
            fields.object_faults(item)
            if isinstance(item, dict)
            else [fields.Fault((), f"not a Kubernetes object, but {fields.kind_of(item)}")]
        )
        if faults:
            errors += (document.error(f.text, (*here, *f.path), hint=f.hint) for f in faults)
            continue
        result.append(_inject_object(item, here, document, settings, outcome, errors))
    if len(result) == len(items) and all(a is b for a, b in zip(result, items, strict=True)):
        return value
    return {**value, "items": result}


def owner_of(pod: Mapping[str, Any]) -> Owner:
    """The workload of a pod, from its controller: the Deployment behind a ReplicaSet, the
    CronJob behind a Job, else the controller, else the pod itself.
    """
    metadata = pod.get("metadata") or {}
    own = metadata.get("name") or (metadata.get("generateName") or "").rstrip("-")
    for owner in metadata.get("ownerReferences") or ():
        if not owner.get("controller") or not owner.get("name") or not owner.get("kind"):
            continue
        name, kind = owner["name"], owner["kind"]
        version = owner.get("apiVersion") or "v1"
        hash_ = (metadata.get("labels") or {}).get("pod-template-hash")
        if kind == "ReplicaSet" and hash_ and name.endswith(f"-{hash_}"):
            return Owner(name.removesuffix(f"-{hash_}"), "Deployment", version)
        head, dash, digits = name.rpartition("-")
        # A CronJob names its Jobs by the minute, in eight digits or more.
        if kind == "Job" and dash and digits.isdecimal() and len(digits) >= 8:
            return Owner(head, "CronJob", version)
        return Owner(name, kind, version)
    return Owner(own)


def _annotation_error(document: Document, path: FieldPath, error: AnnotationError) -> DocumentError:
    here = (*path, "metadata", "annotations", error.annotation)
    return document.error(error.message, here)


def _replaced(value: Mapping[str, Any], where: Sequence[str], template: Any) -> Mapping[str, Any]:
    """A copy of `value` with another template, keys in their order."""
    if not where:
        return dict(template)
    inner = _replaced(value[where[0]], where[1:], template)
    return {**value, where[0]: inner}
