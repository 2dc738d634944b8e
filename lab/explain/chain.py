"""The chain of yes and no from a pod to its sidecar, in the order in which it is gone through.

Pure. A question is put so that yes leads to a sidecar. Lines behind the one that decides are
answered too, as if the webhook were asked: mending the first would meet the next.
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
    """One question: `key` names it for programs, `entry` the webhook's entry it is about."""

    key: str
    question: str
    answer: Answer
    detail: str = ""
    entry: str = ""
    decides: bool = False


def chain(situation: Situation) -> tuple[Line, ...]:
    """All lines; none is marked as the deciding one."""
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


def _webhook(seen: Situation) -> Iterator[Line]:
    question = "a webhook that injects sidecars is there"
    if seen.entries is None:
        yield Line("configuration", question, "?", "its configuration could not be read")
    else:
        names = dict.fromkeys(one.configuration for one in seen.entries)
        count = len(seen.entries)
        detail = f"{', '.join(names)}, {count} entries" if names else "no configuration does that"
        sees = any(one.sees_pods for one in seen.entries)
        if names and not sees:
            detail += "; none covers the creation of pods"
        yield Line("configuration", question, "yes" if sees else "no", detail)
    space = seen.namespace
    if space is None:
        name = seen.subject.namespace
        yield Line("namespace", f"namespace {name} is there", "?", "it could not be read")
        return
    shown = ", ".join(f"{key}={value}" for key, value in space.labels.items() if _shows(key))
    detail = f"labels: {shown or 'none that matter'}" if space.exists else ""
    answer: Answer = "yes" if space.exists else "no"
    yield Line("namespace", f"namespace {space.name} is there", answer, detail)


def _shows(key: str) -> bool:
    return "istio" in key or "inject" in key


def _selectors(seen: Situation) -> Iterator[Line]:
    if seen.entries is None:
        return
    for one in seen.entries:
        space = seen.namespace.labels if seen.namespace and seen.namespace.exists else None
        whose = f"{one.name}"
        yield _selected("namespaces", f"{whose}: namespace", one, one.namespaces, space)
        yield _selected("objects", f"{whose}: pod", one, one.objects, seen.subject.labels)


def _selected(
    key: str, question: str, entry: Entry, selector: LabelSelector, labels: Labels | None
) -> Line:
    if labels is None:
        return Line(key, question, "?", f"wants {selector}", entry.name)
    unmet = selector.unmet(labels)
    if not unmet:
        return Line(key, question, "yes", str(selector), entry.name)
    said = "; ".join(f"wants {one}, has {_has(labels, one.key)}" for one in unmet)
    return Line(key, question, "no", said, entry.name)


def _has(labels: Labels, key: str) -> str:
    return f"{key}={labels[key]}" if key in labels else "no such label"


def _called(seen: Situation) -> Iterator[Line]:
    if seen.entries is None or seen.namespace is None:
        yield Line("called", "the API server calls the webhook", "?")
        return
    matching = seen.matching
    names = ", ".join(one.name for one in matching)
    detail = names if matching else "no entry is meant for this pod"
    if any(one.conditions for one in matching):
        detail += " (its matchConditions are not evaluated here)"
    yield Line("called", "the API server calls the webhook", "yes" if matching else "no", detail)
    for entry in matching or (*(one for one in seen.entries if one.sees_pods),)[:1]:
        yield _reachable(seen, entry)
        if matching:
            yield _trusted(seen, entry)


def _reachable(seen: Situation, entry: Entry) -> Line:
    question = "the webhook can be reached"
    if entry.service is None:
        return Line("reachable", question, "?", f"called by URL {entry.url}", entry.name)
    service = seen.services.get(entry.service)
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


_WORKS: Final = "the sidecar works as it is meant to"
_TRUSTED: Final = "the API server trusts its certificate"


def _trusted(seen: Situation, entry: Entry) -> Line:
    trial = seen.trial
    if "-----BEGIN CERTIFICATE-----" not in entry.authority and entry.service:
        return Line("trust", _TRUSTED, "no", "caBundle holds no certificate", entry.name)
    if trial is None or trial.outcome in ("untried", "plain", "rejected"):
        return Line("trust", _TRUSTED, "?", "only a call tells", entry.name)
    if trial.outcome == "failed" and trial.webhook == entry.name:
        bad = "x509" in trial.message or "tls:" in trial.message or "root cert" in trial.message
        return Line("trust", _TRUSTED, "no" if bad else "?", trial.message[:300], entry.name)
    return Line("trust", _TRUSTED, "yes", "the dry run was answered", entry.name)


_QUESTIONS: Final = {
    "host-network": ("the pod has a network of its own", "hostNetwork is not set"),
    "ignored-namespace": ("the injector works in this namespace", ""),
    "own-label": ("the pod does not decline", ""),
    "never-selector": ("no never-inject selector matches", ""),
    "always-selector": ("an always-inject selector matches", ""),
    "policy": ("the injector's policy is to inject", ""),
}


def _decision(seen: Situation) -> Iterator[Line]:
    """The injector's steps up to the one that decided; those before it let the pod pass."""
    decision = decision_of(seen)
    decided = line_of(decision.reason)
    for key in (*LINES, "policy"):
        question, passed = _QUESTIONS[key]
        if key == decided:
            yield Line(key, question, "yes" if decision.inject else "no", decision.sentence)
            return
        if key in ("never-selector", "always-selector"):
            continue
        yield Line(key, question, "yes", passed)


def _annotations(seen: Situation) -> Iterator[Line]:
    question = "the injector takes the pod and its annotations"
    trial = seen.trial
    if trial is not None and trial.outcome == "refused":
        yield Line("annotations", question, "no", trial.message[:400])
        return
    bad = refused(seen)
    taken = trial is not None and trial.outcome == "injected"
    if bad is not None and not taken:
        yield Line("annotations", question, "no", bad.sentence)
    elif any(name in annotations.RULES for name in seen.subject.annotations):
        yield Line("annotations", question, "yes")


def _trial(seen: Situation) -> Iterator[Line]:
    trial, question = seen.trial, "a dry-run create (nothing is stored) comes back with a sidecar"
    if trial is None:
        return
    said: dict[str, tuple[Answer, str]] = {
        "injected": ("yes", ""),
        "plain": ("no", "it comes back as it went"),
        "untried": ("?", trial.message[:300]),
    }
    about = f"{trial.webhook}: " if trial.webhook else ""
    answer, detail = said.get(trial.outcome, ("no", f"{about}{trial.message[:300]}"))
    yield Line("created", question, answer, detail)


def _pod(seen: Situation) -> Iterator[Line]:
    subject = seen.subject
    if subject.origin != "live":
        return
    found = proxy_of(subject.pod)
    detail = f"made {subject.created}"
    if found:
        detail += f"; {contract.PROXY_CONTAINER}, {'a native sidecar' if found[1] else 'classic'}"
    yield Line("age", "the pod itself has a sidecar", "yes" if found else "no", detail)


def _works(seen: Situation) -> Iterator[Line]:
    """Whether it works, for what is, or would be, injected."""
    injected = seen.trial is not None and seen.trial.outcome == "injected"
    if seen.symptoms is None and not injected and seen.subject.origin == "live":
        return
    wrong = faults(seen)
    if wrong:
        yield Line("works", _WORKS, "no", ", ".join(one.cause.value for one in wrong))
    elif seen.symptoms is not None:
        yield Line("works", _WORKS, "yes" if seen.symptoms.ready else "?",
                   "" if seen.symptoms.ready else "it is not ready")  # fmt: skip
