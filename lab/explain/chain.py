"""Answers the questions that decide whether a pod gets a sidecar, one line for each. Pure.

The questions are in the order in which a cluster decides them. Each question is worded so that the
answer yes leads to a sidecar. The questions after the deciding one are answered too, as if the API
server called the webhook, because once the cause of the first "no" is repaired, the next "no"
decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from lab.explain.findings.faults import faults
from lab.explain.findings.pod import LINES, decision_of, line_of, refused
from lab.explain.findings.webhook import policy
from lab.explain.situation import Entry, Situation, proxy_of
from lab.mesh import contract
from lab.mesh.injector.settings import annotations
from lab.mesh.label_selectors import Labels, LabelSelector

Answer = Literal["yes", "no", "?"]


@dataclass(frozen=True)
class Line:
    """One question and its answer.

    `key`: the question's name for programs. `entry`: name of the webhook entry that the question is
    about, "" if the question is about no entry. `decides`: whether this line decides the verdict.
    """

    key: str
    question: str
    answer: Answer
    detail: str = ""
    entry: str = ""
    decides: bool = False


def chain(situation: Situation) -> tuple[Line, ...]:
    """Returns one line for each question. verdict.py marks the deciding line afterwards."""
    return (
        *_webhook(situation),
        *_selectors(situation),
        *_called(situation),
        *_decision(situation),
        *_annotations(situation),
        *_trial(situation),
        *_pod(situation),
        *_works(situation),
    )


def _webhook(situation: Situation) -> Iterator[Line]:
    question = "a webhook that injects sidecars exists"
    if situation.entries is None:
        yield Line("configuration", question, "?", "its configuration could not be read")
    else:
        names = dict.fromkeys(entry.configuration for entry in situation.entries)
        count = len(situation.entries)
        detail = f"{', '.join(names)}, {count} entries" if names else "there is none"
        sees = any(entry.sees_pods for entry in situation.entries)
        if names and not sees:
            detail += "; no entry covers the creation of pods"
        yield Line("configuration", question, "yes" if sees else "no", detail)
    space = situation.namespace
    if space is None:
        name = situation.subject.namespace
        yield Line("namespace", f"namespace {name} exists", "?", "it could not be read")
        return
    shown = ", ".join(f"{key}={value}" for key, value in space.labels.items() if _shows(key))
    detail = f"labels: {shown or 'none that matter'}" if space.exists else ""
    answer: Answer = "yes" if space.exists else "no"
    yield Line("namespace", f"namespace {space.name} exists", answer, detail)


def _shows(key: str) -> bool:
    return "istio" in key or "inject" in key


def _selectors(situation: Situation) -> Iterator[Line]:
    if situation.entries is None:
        return
    for entry in situation.entries:
        space = (
            situation.namespace.labels
            if situation.namespace and situation.namespace.exists
            else None
        )
        whose = f"{entry.name}"
        yield _selected("namespaces", f"{whose}: namespace", entry, entry.namespaces, space)
        yield _selected("objects", f"{whose}: pod", entry, entry.objects, situation.subject.labels)


def _selected(
    key: str, question: str, entry: Entry, selector: LabelSelector, labels: Labels | None
) -> Line:
    if labels is None:
        return Line(key, question, "?", f"wants {selector}", entry.name)
    unmet = selector.unmet(labels)
    if not unmet:
        return Line(key, question, "yes", str(selector), entry.name)
    failures = "; ".join(
        f"wants {requirement}, has {_has(labels, requirement.key)}" for requirement in unmet
    )
    return Line(key, question, "no", failures, entry.name)


def _has(labels: Labels, key: str) -> str:
    return f"{key}={labels[key]}" if key in labels else "no such label"


def _called(situation: Situation) -> Iterator[Line]:
    if situation.entries is None or situation.namespace is None:
        yield Line("called", "the API server calls the webhook", "?")
        return
    matching = situation.matching
    names = ", ".join(entry.name for entry in matching)
    detail = names if matching else "no webhook entry matches this pod"
    if any(entry.conditions for entry in matching):
        detail += " (its matchConditions are not evaluated here)"
    yield Line("called", "the API server calls the webhook", "yes" if matching else "no", detail)
    for_pods = tuple(candidate for candidate in situation.entries if candidate.sees_pods)
    for entry in matching or for_pods[:1]:
        yield _reachable(situation, entry)
        if matching:
            yield _trusted(situation, entry)


def _reachable(situation: Situation, entry: Entry) -> Line:
    question = "the webhook can be reached"
    if entry.service is None:
        return Line("reachable", question, "?", f"called by URL {entry.url}", entry.name)
    service = situation.services.get(entry.service)
    where = f"Service {entry.service[0]}/{entry.service[1]}, port {entry.port}"
    if service is None:
        return Line("reachable", question, "?", f"{where}: could not be read", entry.name)
    if not service.exists:
        return Line("reachable", question, "no", f"{where}: there is no such Service", entry.name)
    count = service.ready.get(entry.port)
    if count is None:
        return Line("reachable", question, "no", f"{where}: it has no such port", entry.name)
    detail = f"{where}: {count} ready; {policy(entry)}" if not count else f"{where}: {count} ready"
    return Line("reachable", question, "yes" if count else "no", detail, entry.name)


_WORKS: Final = "the sidecar works as intended"
_TRUSTED: Final = "the API server trusts its certificate"


def _trusted(situation: Situation, entry: Entry) -> Line:
    trial = situation.trial
    if "-----BEGIN CERTIFICATE-----" not in entry.authority and entry.service:
        return Line("trust", _TRUSTED, "no", "caBundle holds no certificate", entry.name)
    if trial is None or trial.outcome in ("untried", "plain", "rejected"):
        return Line("trust", _TRUSTED, "?", "only a call to the webhook shows this", entry.name)
    if trial.outcome == "failed" and trial.webhook == entry.name:
        bad = "x509" in trial.message or "tls:" in trial.message or "root cert" in trial.message
        return Line("trust", _TRUSTED, "no" if bad else "?", trial.message[:300], entry.name)
    return Line("trust", _TRUSTED, "yes", "the dry run was answered", entry.name)


_QUESTIONS: Final = {
    "host-network": ("the pod has its own network", "hostNetwork is not set"),
    "ignored-namespace": ("the injector works in this namespace", ""),
    "own-label": ("the pod does not decline a sidecar", ""),
    "never-selector": ("no never-inject selector matches", ""),
    "always-selector": ("an always-inject selector matches", ""),
    "policy": ("the injector's policy is to inject", ""),
}


def _decision(situation: Situation) -> Iterator[Line]:
    """Yields the lines of the injector's checks, up to the check that decides.

    The checks before the deciding one have a line too, because the pod passes them. But a check
    of a selector has a line only if it decides.
    """
    decision = decision_of(situation)
    decided = line_of(decision.reason)
    for key in (*LINES, "policy"):
        question, passed = _QUESTIONS[key]
        if key == decided:
            yield Line(key, question, "yes" if decision.inject else "no", decision.sentence)
            return
        if key in ("never-selector", "always-selector"):
            continue
        yield Line(key, question, "yes", passed)


def _annotations(situation: Situation) -> Iterator[Line]:
    question = "the injector accepts the pod and its annotations"
    trial = situation.trial
    if trial is not None and trial.outcome == "refused":
        yield Line("annotations", question, "no", trial.message[:400])
        return
    bad = refused(situation)
    taken = trial is not None and trial.outcome == "injected"
    if bad is not None and not taken:
        yield Line("annotations", question, "no", bad.sentence)
    elif any(name in annotations.RULES for name in situation.subject.annotations):
        yield Line("annotations", question, "yes")


def _trial(situation: Situation) -> Iterator[Line]:
    trial = situation.trial
    question = "a dry-run create (nothing is stored) comes back with a sidecar"
    if trial is None:
        return
    answers: dict[str, tuple[Answer, str]] = {
        "injected": ("yes", ""),
        "plain": ("no", "it comes back without one"),
        "untried": ("?", trial.message[:300]),
    }
    about = f"{trial.webhook}: " if trial.webhook else ""
    answer, detail = answers.get(trial.outcome, ("no", f"{about}{trial.message[:300]}"))
    yield Line("created", question, answer, detail)


def _pod(situation: Situation) -> Iterator[Line]:
    subject = situation.subject
    if subject.origin != "live":
        return
    sidecar = proxy_of(subject.pod)
    detail = f"created {subject.created}"
    if sidecar:
        detail += f"; {contract.PROXY_CONTAINER}, {'a native sidecar' if sidecar[1] else 'classic'}"
    yield Line("age", "the pod itself has a sidecar", "yes" if sidecar else "no", detail)


def _works(situation: Situation) -> Iterator[Line]:
    """Yields the line that says whether the sidecar works, if the pod is or would be injected."""
    injected = situation.trial is not None and situation.trial.outcome == "injected"
    if situation.symptoms is None and not injected and situation.subject.origin == "live":
        return
    wrong = faults(situation)
    if wrong:
        yield Line("works", _WORKS, "no", ", ".join(fault.cause.value for fault in wrong))
    elif situation.symptoms is not None:
        yield Line("works", _WORKS, "yes" if situation.symptoms.ready else "?",
                   "" if situation.symptoms.ready else "it is not ready")  # fmt: skip
