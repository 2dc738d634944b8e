"""Changes to a pod, its workload or its namespace, each with its commands and its effect. Pure.

`apply` returns the situation after the change. It removes the API server's earlier answers (the dry
run and the FailedCreate events), because they are no longer true then. `commands` returns lines for
a POSIX shell, with kubectl options for the situation's cluster.
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
    """A change that `lab explain` proposes, with its shell commands and its effect."""

    @property
    def order(self) -> int:
        """The change's place in the order of all changes: lower numbers come first."""

    @property
    def text(self) -> str:
        """What the reader should do, in words, without the command."""

    def apply(self, situation: Situation) -> Situation:
        """Returns the situation after the change."""

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Returns lines for a shell, () if no command can make the change."""


@dataclass(frozen=True)
class Advice:
    """Advice to a person, whose effect on the situation is not known.

    `lines`: shell commands that help the person, () if there are none.
    """

    text: str
    order: int = 0
    lines: tuple[str, ...] = ()

    def apply(self, situation: Situation) -> Situation:
        """Returns the situation unchanged, because the effect is not known."""
        return situation

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Returns `lines`."""
        return self.lines


@dataclass(frozen=True)
class LabelNamespace:
    """Sets and removes labels of the pod's namespace; the value None removes a label."""

    labels: Changes
    order: int = 10

    @property
    def text(self) -> str:
        """The label changes in words."""
        return f"{_label_changes(self.labels)} on the namespace"

    def apply(self, situation: Situation) -> Situation:
        """Returns the situation with the namespace's new labels."""
        before = situation.namespace or Namespace(situation.subject.namespace)
        space = replace(before, labels=changed(before.labels, self.labels))
        return replace(situation, namespace=space, trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Returns one `kubectl label namespace` command."""
        words = [f"{key}-" if value is None else f"{key}={value}" for key, value in
                 self.labels.items()]  # fmt: skip
        name = situation.subject.namespace
        over = ["--overwrite"] if any(value is not None for value in self.labels.values()) else []
        return (kubectl(situation, "label", "namespace", name, *words, *over),)


@dataclass(frozen=True)
class CreateNamespace:
    """Creates the pod's namespace, which does not exist."""

    order: int = 9
    text: str = "create the namespace"

    def apply(self, situation: Situation) -> Situation:
        """Returns the situation with the new namespace, which has no labels of its own."""
        name = situation.subject.namespace
        space = Namespace(name, labels={"kubernetes.io/metadata.name": name})
        return replace(situation, namespace=space, trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Returns one `kubectl create namespace` command."""
        return (kubectl(situation, "create", "namespace", situation.subject.namespace),)


@dataclass(frozen=True)
class EditPod:
    """Applies a JSON merge patch to the pod or its pod template; the value None removes a key."""

    patch: Mapping[str, Any]
    text: str
    order: int = 20

    def apply(self, situation: Situation) -> Situation:
        """Returns the situation with the patched pod."""
        subject = situation.subject
        pod = merge(subject.pod, self.patch)
        return replace(situation, subject=replace(subject, pod=pod), trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Returns the command that patches the manifest, the workload, or the pod or Job.

        A manifest is patched and then applied. Pods and Jobs are deleted and created again. Returns
        () if no command can make the change, for instance for a file with several documents.
        """
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
    """Recreates the pods, because injection happens only when a pod is created."""

    order: int = 30
    text: str = "recreate the pods: a pod is injected when it is created, never later"

    def apply(self, situation: Situation) -> Situation:
        """Returns the situation unchanged: the selectors and the decision stay the same."""
        return situation

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Returns the command that recreates the pods.

        Returns () for a CronJob, because each of its runs creates new pods.
        """
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
    """Copies the workload to another namespace, because pods in the present one get no sidecar."""

    target: str
    labels: Changes
    order: int = 5

    @property
    def text(self) -> str:
        """The move in words."""
        return f"run the workload in another namespace, for instance {self.target}"

    def apply(self, situation: Situation) -> Situation:
        """Returns the situation with the pod in the other namespace, which has `labels`."""
        subject = replace(situation.subject, namespace=self.target)
        base = {"kubernetes.io/metadata.name": self.target}
        space = Namespace(self.target, labels=changed(base, self.labels))
        return replace(situation, subject=subject, namespace=space, trial=None, refusals=())

    def commands(self, situation: Situation) -> tuple[str, ...]:
        """Returns lines that create and label the namespace and copy the workload there.

        Returns () if the workload cannot be copied by a command.
        """
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
    """Returns a shell line that calls kubectl with `words` for the situation's cluster."""
    return shlex.join([*situation.kubectl, *words])


def merge(target: Object, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `target` after a JSON merge patch (RFC 7386)."""
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
    """Returns one merge patch that has the effect of `first` followed by `second`.

    None values are kept, because None in a merge patch removes the key.
    """
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
"""A merge patch that removes what the API server adds to a Job and rejects in a new Job."""


def _again(situation: Situation, kind: str, name: str, patch: Mapping[str, Any]) -> str:
    """Returns a shell line that deletes an object and creates it again with `patch` applied.

    Pods and Jobs need this, because the pod spec of an existing Pod or Job cannot be changed.
    """
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


def _label_changes(labels: Changes) -> str:
    return ", ".join(
        f"remove the label {key}" if value is None else f"set the label {key}={value}"
        for key, value in labels.items()
    )
