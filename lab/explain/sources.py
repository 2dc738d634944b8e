"""What the command line names: a pod, a workload, or the documents of a manifest. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final

from lab.explain.errors import ExplainError
from lab.explain.model import Holder, Namespace, Subject
from lab.mesh import documents, fields, workloads
from lab.mesh.documents import Document
from lab.mesh.workloads import WORKLOADS
from lab.mesh.yaml_reader import FieldPath

KINDS: Final = {alias: kind for kind, one in WORKLOADS.items() for alias in one.aliases}
"""From what people type to the kind."""
_SUFFIXES: Final = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Target:
    """Something in the cluster. `namespace` is "" where the command line does not say."""

    kind: str
    name: str
    namespace: str = ""


def is_file(given: str, exists: bool) -> bool:
    """Whether the argument means a manifest: `-`, a file that is there, or a name like one's."""
    return given == "-" or exists or PurePath(given).suffix in _SUFFIXES


def target(given: str, namespace: str) -> Target:
    """POD, NAMESPACE/POD, KIND/NAME or NAMESPACE/KIND/NAME. Raises ExplainError."""
    parts = given.split("/")
    forms = "write POD, NAMESPACE/POD, deploy/NAME (with -n NAMESPACE), or a file"
    if not all(parts) or len(parts) > 3:
        raise ExplainError(f"{given!r} names no pod", hint=forms)
    kind, name, space = "Pod", parts[-1], namespace
    if len(parts) > 1:
        known = KINDS.get(parts[-2].lower().split(".")[0])
        if known is not None:
            kind, before = known, parts[:-2]
        elif len(parts) == 3:
            kinds = ", ".join(sorted(one.short for one in WORKLOADS.values()))
            raise ExplainError(f"{parts[1]!r} is no kind that holds pods", hint=f"kinds: {kinds}")
        else:
            before = parts[:-1]
        if before:
            if namespace and namespace != before[0]:
                raise ExplainError(
                    f"two namespaces: {before[0]} and -n {namespace}", hint="name one of them"
                )
            space = before[0]
    return Target(kind, name, space)


@dataclass(frozen=True)
class Manifest:
    """What a file holds: pods and templates, the other documents (in words), its namespaces."""

    subjects: tuple[Subject, ...]
    others: tuple[str, ...] = ()
    namespaces: Mapping[str, Namespace] | None = None


def read(data: bytes, file: str, namespace: str, default: str) -> Manifest:
    """Read a manifest; `namespace` is -n's, `default` counts where neither says one.

    Raises DocumentErrors for what cannot be read, ExplainError where -n contradicts the file.
    """
    found = [one for one in documents.read(data, file) if one.value is not None]
    subjects: list[Subject] = []
    others: list[str] = []
    spaces: dict[str, Namespace] = {}
    for document in found:
        for value, path in _objects(document.value, ()):
            meta = value.get("metadata")
            meta = meta if isinstance(meta, dict) else {}
            name = str(meta.get("name") or meta.get("generateName") or "?")
            kind = value["kind"]
            if kind == "Namespace" and value["apiVersion"] == "v1":
                spaces[name] = Namespace(name, labels=_labels(meta, name))
            if workloads.of(value["apiVersion"], kind) is None:
                others.append(f"{kind} {name}")
                continue
            given = str(meta.get("namespace") or "")
            if namespace and given and namespace != given:
                raise ExplainError(
                    f"{document.place(path)}: its namespace is {given}, -n says {namespace}",
                    hint="leave -n out, or change the manifest",
                )
            alone = len(found) == 1 and path == ()
            subjects.append(
                _subject(document, value, path, given or namespace or default, file, alone)
            )
    return Manifest(tuple(subjects), tuple(others), spaces)


def _labels(meta: Mapping[str, Any], name: str) -> dict[str, str]:
    given = meta.get("labels")
    labels = {str(k): str(v) for k, v in given.items()} if isinstance(given, dict) else {}
    return {**labels, "kubernetes.io/metadata.name": name}


def _objects(
    value: Mapping[str, Any], path: FieldPath
) -> Iterator[tuple[Mapping[str, Any], FieldPath]]:
    if value.get("kind") != "List":
        yield value, path
        return
    for index, item in enumerate(value.get("items") or ()):
        if isinstance(item, dict) and not fields.object_faults(item):
            yield from _objects(item, (*path, "items", index))


def _subject(
    document: Document,
    value: Mapping[str, Any],
    path: FieldPath,
    namespace: str,
    file: str,
    alone: bool,
) -> Subject:
    workload = WORKLOADS[value["kind"]]
    where, template = workload.template, workload.pod_in(value)
    for fault in fields.template_faults(template, (*path, *where)):
        raise document.error(fault.text, fault.path, hint=fault.hint)
    meta = value.get("metadata") or {}
    name = str(meta.get("name") or meta.get("generateName") or "?")
    return Subject(
        origin="file",
        namespace=namespace,
        name=name,
        pod=template,
        holder=Holder(value["kind"], name, meta, template) if where else None,
        where=where,
        place=str(document.place((*path, "kind"))),
        file="" if file == "-" else file,
        alone=alone,
    )
