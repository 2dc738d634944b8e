"""Adds sidecars to manifests, or removes them. Pure.

This module changes only objects whose kind is in workloads.py, also inside a List. It copies every
other document byte for byte.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lab.mesh import contract, workloads
from lab.mesh.errors import AnnotationError, DocumentError, DocumentErrors, UnfitError
from lab.mesh.injector import inject, notes, uninject
from lab.mesh.injector.owners import owner_of
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.pod_settings import Owner, Settings
from lab.mesh.manifest import documents, field_types, nulls
from lab.mesh.manifest.documents import Document
from lab.mesh.manifest.reading import FieldPath
from lab.mesh.workloads import WORKLOADS, Workload


class Outcome:
    """The documents of all files after an injection or its removal, and notes for the user.

    `injected` counts the pods and pod templates that were changed.
    """

    def __init__(self) -> None:
        self.files: list[list[Document]] = []
        self.notes: list[str] = []
        self.injected = 0

    def text(self) -> Iterator[str]:
        """Yields the text of all documents as one stream, piece by piece."""
        return documents.join(self.files)


class Subject(NamedTuple):
    """One pod or pod template.

    `holder`: the object that contains the template, or the Pod itself. `path`: the path of `holder`
    in the document. `where`: the path of the template inside `holder`; () for a Pod. `owner`: the
    workload to which the pods belong.
    """

    template: Mapping[str, Any]
    namespace: str
    owner: Owner
    where: tuple[str, ...]
    holder: Mapping[str, Any]
    path: FieldPath


class Change(NamedTuple):
    """The result of an action (injection or its removal) on one pod or pod template.

    `template`: the new template; None if the old one stays. `notes`: texts for the user, which
    continue a line that begins with the object's place, kind and name.
    """

    template: Mapping[str, Any] | None
    notes: tuple[str, ...] = ()


Action = Callable[[Subject], Change]
"""A function that takes a subject with checked field types and returns the change to make.

Raises AnnotationError or UnfitError.
"""


def inject_files(sources: Sequence[tuple[str, bytes]], settings: Settings) -> Outcome:
    """Injects the pods and pod templates in `sources`, which are pairs (file name, content).

    Raises DocumentErrors with all mistakes of all files; in that case no file is injected.
    """

    def action(subject: Subject) -> Change:
        result = inject.inject_checked(subject.template, subject.namespace, subject.owner, settings)
        misplaced = notes.misplaced(subject.holder, WORKLOADS[subject.holder["kind"]])
        sentences = _notes((*result.warnings, *misplaced))
        if not result.decision.inject:
            return Change(None, (f" is not injected: {result.decision.sentence}", *sentences))
        return Change(result.template, sentences)

    return _change_files(sources, action)


def uninject_files(sources: Sequence[tuple[str, bytes]]) -> Outcome:
    """Removes the sidecars from `sources`, which are pairs (file name, content).

    Raises DocumentErrors as `inject_files` does.
    """

    def action(subject: Subject) -> Change:
        template = nulls.resolved(subject.template)
        if not uninject.was_injected(template):
            return Change(None, (f" was not injected: it has no {contract.STATUS_ANNOTATION}",))
        lost = uninject.not_undone(template)
        return Change(uninject.strip(template), _notes(lost))

    return _change_files(sources, action)


def survey(document: Document) -> tuple[list[Subject], list[DocumentError]]:
    """Returns the pods and pod templates of one document, and mistakes; changes nothing.

    The mistakes are those that `inject_files` finds before it decides whether to inject a pod.
    """
    subjects: list[Subject] = []

    def action(subject: Subject) -> Change:
        subjects.append(subject._replace(template=nulls.resolved(subject.template)))
        return Change(None)

    walk = _Walk(document, action, Outcome())
    if document.value is not None:
        walk.visit(document.value, ())
    return subjects, walk.errors


def _change_files(sources: Sequence[tuple[str, bytes]], action: Action) -> Outcome:
    outcome = Outcome()
    errors: list[DocumentError] = []
    for file, data in sources:
        try:
            read = documents.read(data, file)
        except DocumentErrors as unreadable:
            errors += unreadable.errors
            continue
        result = []
        for document in read:
            walk = _Walk(document, action, outcome)
            value = walk.visit(document.value, ()) if document.value is not None else None
            errors += walk.errors
            changed = value is not document.value and not walk.errors
            result.append(document.rewritten(value) if changed else document)
        outcome.files.append(result)
    if errors:
        raise DocumentErrors(errors)
    return outcome


class _Walk:
    """Injects each pod and pod template of one document, or undoes that; collects the mistakes."""

    def __init__(self, document: Document, action: Action, outcome: Outcome) -> None:
        self.document, self.action, self.outcome = document, action, outcome
        self.errors: list[DocumentError] = []

    def visit(self, value: Mapping[str, Any], path: FieldPath) -> Mapping[str, Any]:
        """Returns the object with its pods changed; the same object if nothing changes."""
        kind = value["kind"]
        if (value["apiVersion"], kind) == workloads.LIST:
            return self.visit_list(value, path)
        workload = workloads.of(value["apiVersion"], kind)
        subject = self.subject(value, workload, path) if workload else None
        if subject is None:
            return value
        here = (*path, *subject.where)
        annotations = nulls.texts((subject.template.get("metadata") or {}).get("annotations"))
        try:
            change = self.action(subject)
        except UnfitError as unfit:
            where = (*here, *unfit.path)
            self.errors.append(self.document.error(unfit.message, where, hint=unfit.hint))
            return value
        except AnnotationError as first:
            bad = list(names.check(annotations)) or [first]
            self.errors += (_annotation_error(self.document, here, error) for error in bad)
            return value
        if change.notes:
            name = _name(value.get("metadata") or {})
            prefix = f"{self.document.place((*path, 'kind'))}: {kind} {name}"
            self.outcome.notes += (prefix + note for note in change.notes)
        if change.template is None:
            return value
        self.outcome.injected += 1
        return _replaced(value, subject.where, change.template)

    def subject(
        self, value: Mapping[str, Any], workload: Workload, path: FieldPath
    ) -> Subject | None:
        """Returns the pod or pod template of a workload.

        Returns None if it has mistakes, after adding them to `errors`.
        """
        where = workload.template
        metadata = value.get("metadata")
        template: Any = value
        for index, key in enumerate(where):
            template = template.get(key)
            if not isinstance(template, dict) and index < len(where) - 1:
                at = (*path, *where[: index + 1])
                self.errors.append(self.document.error("must be a mapping", at))
                return None
        faults = list(field_types.metadata_faults(metadata, (*path, "metadata"))) if where else []
        faults += field_types.template_faults(template, (*path, *where))
        if faults:
            self.errors += map(self.document.fault, faults)
            return None
        known = metadata or {}
        name = known.get("name") or ""
        owner = Owner(name, workload.kind, workload.api_version) if where else owner_of(template)
        space = known.get("namespace") or "default"
        return Subject(template, space, owner, where, value, path)

    def visit_list(self, value: Mapping[str, Any], path: FieldPath) -> Mapping[str, Any]:
        """Returns a List with its items changed; the same object if nothing changes."""
        items = value.get("items") or []
        if not isinstance(items, list):
            self.errors.append(self.document.error("must be a list", (*path, "items")))
            return value
        result = []
        for index, item in enumerate(items):
            here = (*path, "items", index)
            faults = (
                field_types.object_faults(item)
                if isinstance(item, dict)
                else [
                    field_types.Fault(
                        (), f"not a Kubernetes object, but {field_types.kind_of(item)}"
                    )
                ]
            )
            if faults:
                self.errors += (self.document.fault(fault, here) for fault in faults)
                continue
            result.append(self.visit(item, here))
        if len(result) == len(items) and all(a is b for a, b in zip(result, items, strict=True)):
            return value
        return {**value, "items": result}


def _annotation_error(document: Document, path: FieldPath, error: AnnotationError) -> DocumentError:
    here = (*path, "metadata", "annotations", error.annotation)
    return document.error(error.message, here)


def _replaced(value: Mapping[str, Any], where: Sequence[str], template: Any) -> Mapping[str, Any]:
    """Returns a copy of `value` with `template` at the path `where`; keeps the order of keys."""
    if not where:
        return dict(template)
    inner = _replaced(value[where[0]], where[1:], template)
    return {**value, where[0]: inner}


def _notes(sentences: Sequence[str]) -> tuple[str, ...]:
    return tuple(f": {sentence}" for sentence in sentences)


def _name(metadata: Mapping[str, Any]) -> str:
    """Returns the name of an object for a message."""
    return str(metadata.get("name") or metadata.get("generateName") or "without a name")
