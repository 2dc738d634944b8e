"""What to change so that a pod is injected: each change as a command, and its effect. Pure.

`apply` gives the situation after the change; what the API server answered before it is no longer
known then. Commands are for a POSIX shell, made of kubectl for this very cluster.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from lab.explain.selectors import Changes, changed
from lab.explain.situation import Namespace, Object, Situation
from lab.mesh.workloads import WORKLOADS

_JOB_LABELS: Final = (
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
)


class Change(Protocol):
    """One thing to change. `order`: those of lower order come first. `text` says it in words."""

    @property
    def order(self) -> int:
        """When it is to be done among others."""

    @property
    def text(self) -> str:
        """In words, without the command."""

    def apply(self, situation: Situation) -> Situation:
        """The situation after it."""

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Lines for a shell; () when no command can do it."""


@dataclass(frozen=True)
class Advice:
    """What a person must do; there is no command that does it."""

    text: str
    order: int = 0
    lines: tuple[str, ...] = ()

    def apply(self, situation: Situation) -> Situation:
        """Nothing is known of the situation after it: as it was."""
        return situation

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """The lines it was made with."""
        return self.lines


@dataclass(frozen=True)
class LabelNamespace:
    """Set and remove labels of the pod's namespace."""

    labels: Changes
    order: int = 10

    @property
    def text(self) -> str:
        """In words."""
        return f"{_told(self.labels)} on the namespace"

    def apply(self, situation: Situation) -> Situation:
        """With the labels."""
        before = situation.namespace or Namespace(situation.subject.namespace)
        space = replace(before, labels=changed(before.labels, self.labels))
        return replace(situation, namespace=space, trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """`kubectl label namespace`."""
        words = [f"{key}-" if value is None else f"{key}={value}" for key, value in
                 self.labels.items()]  # fmt: skip
        name = situation.subject.namespace
        over = ["--overwrite"] if any(value is not None for value in self.labels.values()) else []
        return (kubectl(situation, "label", "namespace", name, *words, *over),)


@dataclass(frozen=True)
class CreateNamespace:
    """Make the pod's namespace, which is not there."""

    order: int = 9
    text: str = "make the namespace"

    def apply(self, situation: Situation) -> Situation:
        """With an empty namespace."""
        name = situation.subject.namespace
        space = Namespace(name, labels={"kubernetes.io/metadata.name": name})
        return replace(situation, namespace=space, trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """`kubectl create namespace`."""
        return (kubectl(situation, "create", "namespace", situation.subject.namespace),)


@dataclass(frozen=True)
class EditPod:
    """A JSON merge patch of the pod, or of its template: None removes."""

    patch: Mapping[str, Any]
    text: str
    order: int = 20

    def apply(self, situation: Situation) -> Situation:
        """With the pod as it will be."""
        subject = situation.subject
        pod = merge(subject.pod, self.patch)
        return replace(situation, subject=replace(subject, pod=pod), trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """`kubectl patch` on what a pod is made from; () where that is not known."""
        subject = situation.subject
        space = ("-n", subject.namespace)
        if subject.origin == "file":
            if not subject.alone or not subject.file:
                return ()
            patch_text = _json(_nested(subject.where, self.patch))
            edit = (
                f"kubectl patch --local -f {shlex.quote(subject.file)} --type merge -p {patch_text}"
            )
            return (f"{edit} -o yaml | {kubectl(situation, 'apply', *space, '-f', '-')}",)
        holder = subject.holder
        if holder is None:
            return (_again(situation, "pod", subject.name, self.patch),)
        if holder.kind not in WORKLOADS:
            return ()
        whole_patch = _nested(WORKLOADS[holder.kind].template, self.patch)
        if holder.kind == "Job":
            return (_again(situation, "job", holder.name, merge(_JOB_RESET, whole_patch)),)
        line = kubectl(situation, *space, "patch", holder.kind.lower(), holder.name)
        return (f"{line} --type merge -p {_json(whole_patch)}",)


@dataclass(frozen=True)
class Renew:
    """Make the pods anew: injection happens only when a pod is created."""

    order: int = 30
    text: str = "make the pods anew: a pod is injected when it is created, never later"

    def apply(self, situation: Situation) -> Situation:
        """Selectors and decision stay as they are."""
        return situation

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """The command for the kind of workload; () for a CronJob, whose next run is new anyway."""
        subject, holder = situation.subject, situation.subject.holder
        space = ("-n", subject.namespace)
        if holder is None:
            return (_again(situation, "pod", subject.name, {}),)
        if holder.kind in WORKLOADS and WORKLOADS[holder.kind].rolls:
            name = f"{holder.kind.lower()}/{holder.name}"
            return (kubectl(situation, *space, "rollout", "restart", name),)
        if holder.kind == "Job":
            return (_again(situation, "job", holder.name, _JOB_RESET),)
        if holder.kind == "CronJob":
            return ()
        if subject.origin == "live":
            return (kubectl(situation, *space, "delete", "pod", subject.name),)
        chosen = ",".join(f"{key}={value}" for key, value in sorted(subject.labels.items()))
        return (kubectl(situation, *space, "delete", "pods", "-l", chosen),)


@dataclass(frozen=True)
class Move:
    """Make the workload in a namespace that may be injected: this one never is."""

    target: str
    labels: Changes
    order: int = 5

    @property
    def text(self) -> str:
        """In words."""
        return f"run it in another namespace, for instance {self.target}"

    def apply(self, situation: Situation) -> Situation:
        """In the other namespace, which carries the labels."""
        subject = replace(situation.subject, namespace=self.target)
        base = {"kubernetes.io/metadata.name": self.target}
        space = Namespace(self.target, labels=changed(base, self.labels))
        return replace(situation, subject=subject, namespace=space, trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Make and label the namespace, then a copy of the workload there."""
        subject, holder = situation.subject, situation.subject.holder
        words = [f"{key}={value}" for key, value in self.labels.items() if value is not None]
        lines = [
            kubectl(situation, "create", "namespace", self.target),
            kubectl(situation, "label", "namespace", self.target, *words),
        ]
        patch = {"metadata": {"namespace": self.target, "resourceVersion": None, "uid": None}}
        kind, name = (holder.kind, holder.name) if holder else ("Pod", subject.name)
        if subject.origin == "file":
            if not subject.alone or not subject.file:
                return ()
            there = f"kubectl patch --local -f {shlex.quote(subject.file)} --type merge"
            there += f" -p {_json({'metadata': {'namespace': self.target}})} -o yaml"
        elif kind in WORKLOADS:
            copy_patch = merge(_JOB_RESET, patch) if kind == "Job" else patch
            copy_patch = (
                merge({"spec": {"nodeName": None}}, copy_patch) if kind == "Pod" else copy_patch
            )
            read = kubectl(situation, "-n", subject.namespace, "get", kind.lower(), name)
            there = (
                f"{read} -o json | kubectl patch --local -f - --type merge -p {_json(copy_patch)}"
            )
            there += " -o json"
        else:
            return ()
        lines.append(f"{there} | {kubectl(situation, 'create', '-f', '-')}")
        return tuple(lines)


def kubectl(situation: Situation, *words: str) -> str:
    """A line that calls kubectl for the situation's cluster."""
    return shlex.join([*situation.kubectl, *words])


def merge(target: Object, patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386) applied."""
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            inner = result.get(key)
            result[key] = merge(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """One merge patch that does both, the second after the first; None stays None."""
    result = dict(first)
    for key, value in second.items():
        inner = result.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[key] = joined(inner, value) if both else value  # type: ignore[arg-type]
    return result


_JOB_RESET: Final[dict[str, Any]] = {
    "spec": {
        "selector": None,
        "template": {"metadata": {"labels": dict.fromkeys(_JOB_LABELS)}},
    }
}
"""What the API server added to a Job and does not take back."""


def _again(situation: Situation, kind: str, name: str, patch: Mapping[str, Any]) -> str:
    """Delete and create an object whose pods cannot be changed in place."""
    read = kubectl(situation, "-n", situation.subject.namespace, "get", kind, name, "-o", "json")
    edit = f" | kubectl patch --local -f - --type merge -p {_json(patch)} -o json" if patch else ""
    return f"{read}{edit} | {kubectl(situation, 'replace', '--force', '-f', '-')}"


def _nested(where: tuple[str, ...], patch: Mapping[str, Any]) -> dict[str, Any]:
    nested = dict(patch)
    for key in reversed(where):
        nested = {key: nested}
    return nested


def _json(value: object) -> str:
    return shlex.quote(json.dumps(value, separators=(",", ":")))


def _told(labels: Changes) -> str:
    return ", ".join(
        f"remove the label {key}" if value is None else f"set the label {key}={value}"
        for key, value in labels.items()
    )
