"""Writes the notes of an explanation: facts besides the cause that help the reader. Pure."""

from collections.abc import Iterator

from lab.explain.findings.faults import remarks
from lab.explain.findings.pod import decision_of
from lab.explain.situation import REVISION_LABEL, Situation, proxy_of
from lab.explain.thought import think
from lab.mesh import contract
from lab.mesh.injector.settings import annotations
from lab.mesh.workloads import WORKLOADS


def origin(situation: Situation) -> str:
    """Returns a sentence about where a pod's sidecar comes from."""
    if by_hand(situation):
        return "it was injected before it reached the API server: its manifest holds the sidecar"
    if situation.subject.origin == "file":
        return "the manifest holds a sidecar and its status annotation already"
    names = ", ".join(entry.name for entry in situation.matching)
    if names:
        return f"it has a sidecar; {names} matches it, and {decision_of(situation).sentence}"
    return "it has a sidecar, though no webhook entry matches such a pod now"


def by_hand(situation: Situation) -> bool:
    """Returns whether the sidecar was in the manifest already, for instance from `kube-inject`."""
    subject = situation.subject
    if subject.holder is not None and subject.origin == "live":
        return proxy_of(subject.holder.template) is not None
    if subject.origin == "template":
        return proxy_of(subject.pod) is not None
    applied = subject.annotations.get("kubectl.kubernetes.io/last-applied-configuration", "")
    return f'"name":"{contract.PROXY_CONTAINER}"' in applied.replace(" ", "")


def notes(situation: Situation, *, injected: bool) -> Iterator[str]:
    """Yields the notes, the most important first. `injected`: whether the pod gets a sidecar."""
    subject = situation.subject
    warnings_of_trial = situation.trial.warnings if situation.trial is not None else ()
    warned = think(situation).warnings
    yield from warned
    yield from remarks(situation)
    holder = subject.holder
    workload = WORKLOADS.get(holder.kind) if holder is not None else None
    if workload is not None and workload.runs_once and injected and not _native(situation):
        key = annotations.NATIVE_SIDECAR
        yield (
            f"a {workload.kind} with a classic sidecar never completes: the proxy keeps running "
            f'after the app ends; set the annotation {key}="true" in its pod template'
        )
    stamped = contract.STATUS_ANNOTATION in subject.annotations
    if stamped and proxy_of(subject.pod) is None:
        yield (
            f"the annotation {contract.STATUS_ANNOTATION} claims an injection, but there is no "
            f"{contract.PROXY_CONTAINER}: it was copied from another pod; remove it"
        )
    yield from _workload(situation)
    yield from _webhook(situation)
    # The webhook runs the same injector, so its warnings may repeat these.
    yield from (warning for warning in warnings_of_trial if warning not in warned)


def _native(situation: Situation) -> bool:
    sidecar = proxy_of(situation.subject.pod)
    if sidecar is not None:
        return sidecar[1]
    if situation.trial is not None and situation.trial.outcome == "injected":
        return situation.trial.native
    return situation.subject.annotations.get(annotations.NATIVE_SIDECAR) == "true"


def _workload(situation: Situation) -> Iterator[str]:
    subject = situation.subject
    if subject.holder is None or subject.holder.kind == "Pod":
        return
    own_annotations = subject.holder.metadata.get("annotations") or {}
    lost = [
        key
        for key in own_annotations
        if key in annotations.RULES and key not in subject.annotations
    ]
    if lost:
        yield (
            f"annotations of {subject.holder.kind} {subject.holder.name} itself, which have no "
            f"effect: {', '.join(lost)}; only annotations of the pod template count"
        )
    labels = subject.holder.metadata.get("labels") or {}
    if labels.get(contract.INJECT_POD_LABEL) == "false" and not subject.labels.get(
        contract.INJECT_POD_LABEL
    ):
        yield (
            f"{contract.INJECT_POD_LABEL}=false on {subject.holder.kind} {subject.holder.name} "
            "itself has no effect; only labels of the pod template count"
        )


def _webhook(situation: Situation) -> Iterator[str]:
    matching = situation.matching
    if len({entry.configuration for entry in matching}) > 1 or len(matching) > 1:
        names = ", ".join(entry.name for entry in matching)
        yield f"several webhook entries match this pod, and each of them injects it: {names}"
    for entry in matching:
        if entry.ignores_failure:
            yield (
                f"{entry.name} has failurePolicy Ignore: when it does not answer, pods start "
                "without a sidecar and without an error"
            )
            break
    labels = situation.namespace.labels if situation.namespace else {}
    if matching and contract.INJECTION_LABEL in labels and REVISION_LABEL in labels:
        yield (
            f"the namespace has both {contract.INJECTION_LABEL} and {REVISION_LABEL}; "
            f"the webhook entry that matches is {matching[0].name}"
        )
