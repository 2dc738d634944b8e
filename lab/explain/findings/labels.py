"""Finds why no entry of a webhook configuration matches a pod. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.explain.changes.pod import (
    Advice,
    Change,
    CreateNamespace,
    EditPod,
    LabelNamespace,
)
from lab.explain.changes.webhook import reinstall
from lab.explain.findings.causes import Cause, Finding
from lab.explain.findings.pod import is_near, misplaced_wish
from lab.explain.selectors import Changes, repair
from lab.explain.situation import REVISION_LABEL, Entry, Situation
from lab.mesh import contract
from lab.mesh.label_selectors import Labels

_KEYS = (contract.INJECTION_LABEL, REVISION_LABEL)


@dataclass(frozen=True)
class Nearest:
    """A webhook entry, and the changes of labels after which the entry matches the pod."""

    entry: Entry
    namespace: Changes
    pod: Changes


def unmatched(situation: Situation) -> Finding | None:
    """Returns why no webhook entry matches the pod.

    Returns None if an entry matches, or if the entries or the namespace are not known.
    """
    space, entries = situation.namespace, situation.entries
    if space is None or entries is None or situation.matching:
        return None
    if not entries:
        sentence = "no MutatingWebhookConfiguration of this cluster injects sidecars"
        return Finding(Cause.NO_CONFIGURATION, "configuration", sentence, _absent(situation))
    if not space.exists:
        sentence = f"there is no namespace {space.name}"
        return Finding(
            Cause.NAMESPACE_ABSENT, "namespace", sentence, CreateNamespace(), refused=True
        )
    if not any(entry.sees_pods for entry in entries):
        sentence = "no webhook entry has a rule that covers the creation of pods"
        return Finding(Cause.RULES, "configuration", sentence, _absent(situation))
    wish = misplaced_wish(situation)
    if wish is not None and wish.change is not None and _helps(wish.change, situation):
        return wish
    return _by_labels(situation, space.labels, nearest(situation))


def nearest(situation: Situation) -> Nearest | None:
    """Returns the webhook entry that matches after the fewest changes of labels.

    Changes of the namespace are preferred to changes of the pod. Returns None if no change of
    labels makes an entry match.
    """
    spaces = situation.namespace.labels if situation.namespace else {}
    candidates = []
    for entry in situation.entries or ():
        space = repair(entry.namespaces, spaces)
        pod = repair(entry.objects, situation.subject.labels)
        if entry.sees_pods and space is not None and pod is not None:
            candidates.append(Nearest(entry, space, pod))
    revision = REVISION_LABEL in spaces and contract.INJECTION_LABEL not in spaces

    def far(candidate: Nearest) -> tuple[int, int, bool]:
        # A namespace with a revision label keeps a revision label.
        strays = revision and REVISION_LABEL not in candidate.namespace
        return (
            len(candidate.pod),
            len(candidate.namespace) + strays,
            contract.INJECTION_LABEL not in (candidate.namespace),
        )

    return min(candidates, key=far, default=None)


def _helps(change: Change, situation: Situation) -> bool:
    after = change.apply(situation)
    return bool(after.matching) or nearest(after) != nearest(situation)


def _absent(situation: Situation) -> Change:
    return reinstall(situation)


def _by_labels(situation: Situation, labels: Labels, near: Nearest | None) -> Finding:
    subject = situation.subject
    name = subject.namespace
    change = _change(near)
    value = labels.get(contract.INJECTION_LABEL)
    revision = labels.get(REVISION_LABEL)
    known = revisions(situation.entries or ())
    listed = ", ".join(known) or "none"
    if value is not None and revision is not None:
        sentence = (
            f"namespace {name} has both {contract.INJECTION_LABEL}={value} and "
            f"{REVISION_LABEL}={revision}: the first disables the second"
        )
        wanted: Changes = {contract.INJECTION_LABEL: None}
        if revision in known and value != "disabled":
            change = LabelNamespace(wanted)
        return Finding(Cause.BOTH_LABELS, "namespaces", sentence, change)
    if value == "disabled":
        sentence = (
            f"namespace {name} declines: it has the label {contract.INJECTION_LABEL}=disabled"
        )
        return Finding(Cause.NAMESPACE_DECLINES, "namespaces", sentence, change)
    if value is not None:
        expected = _expected(situation, contract.INJECTION_LABEL)
        sentence = (
            f"namespace {name} has the label {contract.INJECTION_LABEL}={value}; "
            f"the webhook looks for {expected}"
        )
        return Finding(Cause.NAMESPACE_LABEL_VALUE, "namespaces", sentence, change)
    for whose, named in ((f"namespace {name}", revision), ("the pod", _rev(subject.labels))):
        if named is not None and named not in known:
            sentence = (
                f"{whose} names the revision {named} ({REVISION_LABEL}); "
                f"installed revisions: {listed}"
            )
            if whose == "the pod":
                change = _revised(situation, known)
            elif not known and isinstance(change, LabelNamespace):
                change = LabelNamespace({REVISION_LABEL: None, **change.labels})
            line = "objects" if whose == "the pod" else "namespaces"
            return Finding(Cause.REVISION_UNKNOWN, line, sentence, change)
    for typed in labels:
        if typed not in _KEYS and is_near(typed, _KEYS):
            sentence = (
                f"namespace {name} has the label {typed}, which means nothing; "
                f"{contract.INJECTION_LABEL} was probably meant"
            )
            if isinstance(change, LabelNamespace):
                change = LabelNamespace({**change.labels, typed: None})
            return Finding(Cause.NAMESPACE_LABEL_TYPO, "namespaces", sentence, change)
    holder = subject.holder.metadata if subject.holder else {}
    for whose, own_labels in (("pod", subject.labels), ("workload", holder.get("labels") or {})):
        if contract.INJECTION_LABEL in own_labels:
            sentence = (
                f"{contract.INJECTION_LABEL} is a label of the {whose}; "
                f"it has an effect only as a label of the namespace, and {name} does not have it"
            )
            return Finding(Cause.NAMESPACE_LABEL_MISPLACED, "namespaces", sentence, change)
    sentence = (
        f"namespace {name} has no label that asks for injection, and the pod does not ask either"
    )
    return Finding(Cause.NAMESPACE_UNLABELLED, "namespaces", sentence, change)


def _rev(labels: Labels) -> str | None:
    return labels.get(REVISION_LABEL)


def _change(near: Nearest | None) -> Change:
    if near is None:
        return Advice(
            "run the pod in another namespace: no change of labels makes a webhook entry match here"
        )
    if near.namespace:
        return LabelNamespace(near.namespace)
    settings = ", ".join(
        f"remove {key}" if value is None else f"set {key}={value}"
        for key, value in near.pod.items()
    )
    return EditPod({"metadata": {"labels": dict(near.pod)}}, f"{settings} in the pod's labels")


def _revised(situation: Situation, known: Sequence[str]) -> Change:
    """Returns the change that corrects the pod's revision label.

    The new value is an installed revision whose webhook then matches the pod. If there is none, the
    change removes the label.
    """
    key = REVISION_LABEL
    for value in (*known, None):
        text = f"remove {key} from the pod's labels" if value is None else f"set {key}={value}"
        edit = EditPod({"metadata": {"labels": {key: value}}}, text)
        if edit.apply(situation).matching:
            return edit
    return replace(edit, patch={"metadata": {"labels": {key: None}}})


def _expected(situation: Situation, key: str) -> str:
    values = [v for entry in situation.entries or () for v in entry.namespaces.known(key)]
    return " or ".join(f"{key}={value}" for value in dict.fromkeys(values)) or "other labels"


def revisions(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Returns the revisions for which the selectors of the webhook entries look."""
    values = [
        value
        for entry in entries
        for selector in (entry.namespaces, entry.objects)
        for value in selector.known(REVISION_LABEL)
    ]
    return tuple(dict.fromkeys(values))
