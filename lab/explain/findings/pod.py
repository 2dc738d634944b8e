"""Finds what in a pod's own spec, labels and annotations prevents a sidecar. Pure."""

from typing import Any, Final

from lab.explain.changes.pod import Advice, Change, EditPod, Move
from lab.explain.findings.causes import Cause, Finding
from lab.explain.selectors import Changes, repair
from lab.explain.situation import INJECTION_KEYS, Situation, Subject
from lab.explain.thought import think
from lab.mesh import contract
from lab.mesh.errors import AnnotationError
from lab.mesh.injector.decision import Decision, Reason, decide

ELSEWHERE: Final = "meshed-apps"
"""Name that `lab explain` proposes for a new namespace in which pods are injected."""


def decision_of(situation: Situation) -> Decision:
    """Returns what the injector decides about the pod if the API server calls the webhook."""
    subject = situation.subject
    return decide(subject.pod, subject.namespace, situation.settings.policy)


def declined(situation: Situation) -> Finding | None:
    """Returns why the injector decides against a sidecar, None if it decides for one."""
    decision = decision_of(situation)
    if decision.inject:
        return None
    reason, subject = decision.reason, situation.subject
    line = line_of(reason)
    key = contract.INJECT_POD_LABEL
    if reason is Reason.HOST_NETWORK:
        edit = EditPod({"spec": {"hostNetwork": None}}, "remove hostNetwork from the pod's spec")
        return Finding(Cause.HOST_NETWORK, line, decision.sentence, edit)
    if reason is Reason.IGNORED_NAMESPACE:
        move = Move(ELSEWHERE, opening_labels(situation))
        return Finding(Cause.IGNORED_NAMESPACE, line, decision.sentence, move)
    if reason is Reason.DECLINED:
        where = "label" if key in subject.labels else "annotation"
        place = place_of(subject, where)
        sentence = f"{place} {key}=false: the pod declines a sidecar"
        edit = EditPod(metadata(f"{where}s", key, None), f"remove {key} from the pod's {where}s")
        line = "objects" if where == "label" and not situation.matching else line
        return Finding(Cause.POD_DECLINES, line, sentence, edit)
    change: Change
    if reason in (Reason.POLICY_DISABLED, Reason.POLICY_UNKNOWN):
        change = ask(subject)
    else:
        change = Advice("change the pod's labels, or the selectors in the injector's configuration")
    return Finding(Cause.POLICY, line, decision.sentence, change)


LINES: Final[dict[str, frozenset[Reason]]] = {
    "host-network": frozenset({Reason.HOST_NETWORK}),
    "ignored-namespace": frozenset({Reason.IGNORED_NAMESPACE}),
    "own-label": frozenset({Reason.ASKED, Reason.DECLINED}),
    "never-selector": frozenset({Reason.NEVER_SELECTOR}),
    "always-selector": frozenset({Reason.ALWAYS_SELECTOR}),
}
"""For each line of the injector's decision, by the line's key: the reasons that the line shows.

The order is that of the decision. The line "policy", which comes last, shows all other reasons.
"""


def line_of(reason: Reason) -> str:
    """Returns the key of the line of the chain that shows this reason for a decision."""
    return next((key for key, reasons in LINES.items() if reason in reasons), "policy")


def refused(situation: Situation) -> Finding | None:
    """Returns why the injector refuses the pod with an error, None if it does not."""
    refusal = think(situation).refusal
    if refusal is None:
        return None
    if isinstance(refusal, AnnotationError):
        return refused_annotation(situation.subject, refusal.annotation, refusal.message)
    sentence = f"the injector refuses the pod: {refusal.message}"
    advice = Advice(refusal.hint or "change the pod as the injector's message says")
    return Finding(Cause.INJECTOR_REFUSES, "annotations", sentence, advice, refused=True)


def refused_annotation(subject: Subject, name: str, message: str) -> Finding:
    """Returns the finding about an annotation whose value is refused with `message`."""
    edit = EditPod(
        metadata("annotations", name, None),
        f"remove the annotation {name}, or give it a value that is accepted",
    )
    return Finding(Cause.BAD_ANNOTATION, "annotations", message, edit, refused=True)


def misplaced_wish(situation: Situation) -> Finding | None:
    """Returns the finding about a request for a sidecar that no selector can see, else None.

    Examples: an annotation instead of a label, a label of the workload instead of its template, a
    misspelt label.
    """
    subject = situation.subject
    key = contract.INJECT_POD_LABEL
    wish = subject.labels.get(key)
    if wish is not None:
        if wish == "true":
            return None
        sentence = f"{place_of(subject, 'label')} {key}={wish!r}: only true and false mean anything"
        return Finding(Cause.POD_LABEL_VALUE, "objects", sentence, ask(subject))
    if subject.annotations.get(key) == "true":
        sentence = (
            f"{key}=true is an annotation: the API server's selectors look at labels alone, "
            "so the webhook is not called"
        )
        return Finding(Cause.POD_LABEL_IS_ANNOTATION, "objects", sentence, ask(subject))
    holder = subject.holder
    if holder is not None:
        meta = holder.metadata
        for kind in ("labels", "annotations"):
            if (meta.get(kind) or {}).get(key) == "true":
                sentence = (
                    f"{key}=true is a {kind[:-1]} of {holder.kind} {holder.name} itself, not of "
                    "its pod template: the pods never get it"
                )
                return Finding(Cause.POD_LABEL_MISPLACED, "objects", sentence, ask(subject))
    for near in subject.labels:
        if near not in INJECTION_KEYS and is_near(near, (key,)):
            sentence = f"the pod's label {near} means nothing; {key} was probably meant"
            patch = {"metadata": {"labels": {near: None, key: subject.labels[near]}}}
            edit = EditPod(patch, f"rename the pod's label {near} to {key}")
            return Finding(Cause.POD_LABEL_TYPO, "objects", sentence, edit)
    return None


def ask(subject: Subject) -> EditPod:
    """Returns the change that gives the pod the label with which it asks for a sidecar."""
    where = "pod" if subject.origin == "live" and subject.holder is None else "pod template"
    text = f"set the label {contract.INJECT_POD_LABEL}=true in the {where}'s metadata"
    return EditPod(metadata("labels", contract.INJECT_POD_LABEL, "true"), text)


def metadata(kind: str, key: str, value: str | None) -> dict[str, Any]:
    """Returns a merge patch that sets one label or annotation, or removes it if `value` is None.

    `kind`: "labels" or "annotations".
    """
    return {"metadata": {kind: {key: value}}}


def place_of(subject: Subject, what: str) -> str:
    """Returns the start of a sentence, such as "the pod template has the label"."""
    where = "pod" if subject.origin == "live" else "pod template" if subject.where else "pod"
    return f"the {where} has the {what}"


def opening_labels(situation: Situation) -> Changes:
    """Returns the labels that a new namespace needs, so that its pods are injected."""
    for entry in situation.entries or ():
        if entry.sees_pods and entry.objects.matches({}):
            changes = repair(entry.namespaces, {})
            if changes:
                return changes
    return {contract.INJECTION_LABEL: "enabled"}


def is_near(key: str, wanted: tuple[str, ...]) -> bool:
    """Returns whether a label's key looks like a misspelling of one of the wanted keys."""
    from difflib import get_close_matches

    plain = key.lower().replace("_", "-")
    return bool(get_close_matches(plain, wanted, n=1, cutoff=0.85))
