"""Reads what the command line names: a pod, a workload, or the text of a manifest. Pure."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Final

from lab.explain.errors import ExplainError
from lab.explain.situation import Holder, Namespace, Subject
from lab.mesh.errors import DocumentError, DocumentErrors
from lab.mesh.injector import files
from lab.mesh.manifest import documents
from lab.mesh.manifest.documents import Document
from lab.mesh.workloads import WORKLOADS

KINDS: Final = {alias: kind for kind, workload in WORKLOADS.items() for alias in workload.aliases}
"""The kind for each name that a user can type, such as "Deployment" for "deploy"."""
_SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Target:
    """A pod or workload of the cluster. `namespace` is "" if the command line does not name it."""

    kind: str
    name: str
    namespace: str = ""


def is_file(argument: str, exists: bool) -> bool:
    """Returns whether the argument names a manifest and not a pod.

    A manifest is `-`, an existing file, or a name that ends in .yaml, .yml or .json. `exists`:
    whether a file with the name `argument` exists.
    """
    return argument == "-" or exists or PurePath(argument).suffix in _SUFFIXES


def target(argument: str, namespace: str) -> Target:
    """Parses POD, NAMESPACE/POD, KIND/NAME or NAMESPACE/KIND/NAME. Raises ExplainError."""
    parts = argument.split("/")
    forms = "write POD, NAMESPACE/POD, deploy/NAME (with -n NAMESPACE), or a file"
    if not all(parts) or len(parts) > 3:
        raise ExplainError(f"{argument!r} names no pod", hint=forms)
    kind, name, space = "Pod", parts[-1], namespace
    if len(parts) > 1:
        known = KINDS.get(parts[-2].lower().split(".")[0])
        if known is not None:
            kind, before = known, parts[:-2]
        elif len(parts) == 3:
            kinds = ", ".join(sorted(workload.short for workload in WORKLOADS.values()))
            raise ExplainError(
                f"{parts[1]!r} is not a kind that holds pods", hint=f"kinds: {kinds}"
            )
        else:
            before = parts[:-1]
        if before:
            if namespace and namespace != before[0]:
                raise ExplainError(
                    f"{argument} names namespace {before[0]}, but -n names {namespace}",
                    hint="name the namespace only once",
                )
            space = before[0]
    return Target(kind, name, space)


@dataclass(frozen=True)
class Manifest:
    """The content of a manifest.

    `subjects`: the pods and pod templates. `others`: kind and name of each other object.
    `namespaces`: the Namespace objects by name. `mistakes`: the errors because of which the
    injector refuses the file.
    """

    subjects: tuple[Subject, ...] = ()
    others: tuple[str, ...] = ()
    namespaces: Mapping[str, Namespace] | None = None
    mistakes: tuple[DocumentError, ...] = ()


def read(data: bytes, file: str, namespace: str, default: str) -> Manifest:
    """Reads a manifest with the injector's own code, so that both find the same pods and mistakes.

    `namespace`: the value of the option -n. `default`: the namespace if neither -n nor the file
    names one. Raises ExplainError if -n and the file name different namespaces.
    """
    try:
        found_documents = [
            document for document in documents.read(data, file) if document.value is not None
        ]
    except DocumentErrors as unreadable:
        return Manifest(mistakes=unreadable.errors)
    subjects: list[Subject] = []
    others: list[str] = []
    spaces: dict[str, Namespace] = {}
    mistakes: list[DocumentError] = []
    for document in found_documents:
        held, wrong = files.survey(document)
        mistakes += wrong
        for held_subject in held:
            subject = _subject(document, held_subject, namespace, default, file)
            alone = len(found_documents) == 1 and held_subject.path == ()
            subjects.append(replace(subject, alone=alone))
        pods = {id(held_subject.holder) for held_subject in held}
        others += _others(document.value, pods, spaces)
    return Manifest(tuple(subjects), tuple(others), spaces, tuple(mistakes))


def _others(
    value: Mapping[str, Any], pods: Set[int], spaces: dict[str, Namespace]
) -> Iterator[str]:
    """Yields kind and name of each object in a document, except pods and workloads.

    `pods`: the ids (Python's `id`) of the pod and workload objects, which are not yielded. This
    function adds each Namespace object to `spaces`.
    """
    if id(value) in pods:
        return
    items = value.get("items") if value.get("kind") == "List" else None
    if isinstance(items, list):
        for item in items:
            if isinstance(item, dict):
                yield from _others(item, pods, spaces)
        return
    meta = value.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = _name(meta)
    if value.get("kind") == "Namespace" and value.get("apiVersion") == "v1":
        spaces[name] = Namespace(name, labels=_labels(meta, name))
    yield f"{value.get('kind')} {name}"


def _name(meta: Mapping[str, Any]) -> str:
    return str(meta.get("name") or meta.get("generateName") or "?")


def _labels(meta: Mapping[str, Any], name: str) -> dict[str, str]:
    labels_field = meta.get("labels")
    labels = (
        {str(k): str(v) for k, v in labels_field.items()} if isinstance(labels_field, dict) else {}
    )
    return {**labels, "kubernetes.io/metadata.name": name}


def _subject(
    document: Document, held: files.Subject, namespace: str, default: str, file: str
) -> Subject:
    meta = held.holder.get("metadata") or {}
    own_namespace = str(meta.get("namespace") or "")
    if namespace and own_namespace and namespace != own_namespace:
        raise ExplainError(
            f"{document.place(held.path)}: the namespace is {own_namespace}, but -n names "
            f"{namespace}",
            hint="omit -n, or change the manifest",
        )
    name = _name(meta)
    return Subject(
        origin="file",
        namespace=own_namespace or namespace or default,
        name=name,
        pod=held.template,
        holder=Holder(held.holder["kind"], name, meta, held.template) if held.where else None,
        where=held.where,
        place=str(document.place((*held.path, "kind"))),
        file="" if file == "-" else file,
    )
