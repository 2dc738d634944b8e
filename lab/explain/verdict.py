"""Derives an explanation from a situation: verdict, cause, deciding line and repair steps. Pure.

This module applies the change for the first cause to the situation and judges the result again. It
repeats this until a pod would be injected or the effect of a change is not known. So it finds the
further causes too, and the order of the changes.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from lab.explain import notes
from lab.explain.chain import Line, chain
from lab.explain.changes.pod import Advice, Renew
from lab.explain.findings.causes import Cause, Finding
from lab.explain.findings.faults import faults
from lab.explain.findings.labels import nearest, unmatched
from lab.explain.findings.pod import decision_of, declined, line_of, refused
from lab.explain.findings.webhook import called
from lab.explain.situation import Situation, proxy_of
from lab.explain.steps import RepairStep, steps
from lab.mesh import contract
from lab.mesh.errors import DocumentError

LIMIT: Final = 8
"""`plan` stops after this number of findings."""


class Verdict(Enum):
    """The answer for one pod. The value is the text that `lab explain` prints."""

    INJECTED = "injected"
    WOULD = "would be injected"
    NOT = "not injected"
    WOULD_NOT = "would not be injected"
    FAULTY = "injected, with a fault"
    WOULD_FAULTY = "would be injected, with a fault"
    REFUSED = "cannot be created"
    UNKNOWN = "cannot tell"

    @property
    def exit_code(self) -> int:
        """0: injected. 1: not injected. 2: not known. 3: injected, with a fault."""
        return _CODES.get(self.name, 1)


_WRONG: Final = {Verdict.INJECTED: Verdict.FAULTY, Verdict.WOULD: Verdict.WOULD_FAULTY}
_CODES: Final = {"INJECTED": 0, "WOULD": 0, "UNKNOWN": 2, "FAULTY": 3, "WOULD_FAULTY": 3}


@dataclass(frozen=True)
class Explanation:
    """The explanation of one pod or pod template, as render.py prints it."""

    title: str
    namespace: str
    name: str
    origin: str
    verdict: Verdict
    sentence: str
    cause: Cause | None = None
    others: tuple[Finding, ...] = ()
    lines: tuple[Line, ...] = ()
    steps: tuple[RepairStep, ...] = ()
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    place: str = ""


def judge(situation: Situation) -> Explanation:
    """Returns the explanation of one pod or pod template."""
    verdict, finding, sentence = _verdict(situation)
    todo: tuple[RepairStep, ...] = ()
    findings: tuple[Finding, ...] = ()
    after = situation
    if finding is not None:
        findings, after = plan(situation, finding)
        todo = steps(situation, findings)
    elif verdict is not Verdict.NOT and (wrong := faults(situation)):
        todo = steps(
            situation, wrong, renew=any(fault.cause is Cause.WEBHOOK_BUILD for fault in wrong)
        )
        if verdict in _WRONG:
            verdict, finding, sentence = _WRONG[verdict], wrong[0], wrong[0].sentence
        findings = wrong if finding else (wrong[0], *wrong)
    lines = _marked(situation, chain(situation), finding, after)
    subject = situation.subject
    return Explanation(
        title=subject.title,
        namespace=subject.namespace,
        name=subject.name,
        origin=subject.origin,
        verdict=verdict,
        sentence=sentence,
        cause=finding.cause if finding else None,
        others=findings[1:],
        lines=lines,
        steps=todo,
        notes=tuple(notes.notes(situation, injected=verdict.exit_code in (0, 3))),
        unknown=situation.unknown,
        place=subject.place,
    )


def unreadable(mistake: DocumentError) -> Explanation:
    """Returns the explanation of a manifest that the injector or API server rejects."""
    hint = (RepairStep(mistake.hint),) if mistake.hint else ()
    return Explanation(
        title="the manifest",
        namespace="",
        name="",
        origin="file",
        verdict=Verdict.REFUSED,
        sentence=mistake.problem,
        cause=Cause.MANIFEST,
        steps=hint,
        place=str(mistake.place),
    )


def find(situation: Situation) -> Finding | None:
    """Returns why the pod would get no sidecar if it were created now; None if it would get one.

    None is also returned if no reason is known.
    """
    if situation.trial is not None and situation.trial.outcome == "injected":
        return None
    finding = declined(situation) or unmatched(situation) or called(situation)
    if finding is None and _ignorant(situation):
        # It is not known whether the API server calls the injector, but its refusal is known.
        return refused(situation)
    return finding


def _verdict(situation: Situation) -> tuple[Verdict, Finding | None, str]:
    subject = situation.subject
    there = proxy_of(subject.pod) is not None
    stamped = contract.STATUS_ANNOTATION in subject.annotations
    if there and subject.origin == "live":
        return Verdict.INJECTED, None, notes.origin(situation)
    finding = find(situation)
    if there and stamped and not (finding and finding.refused):
        return Verdict.INJECTED, None, notes.origin(situation)
    if subject.origin == "live":
        if finding is None and _ignorant(situation):
            sentence = "it has no sidecar; the reason is not known"
            return Verdict.NOT, None, sentence
        late = finding or _late(situation)
        return Verdict.NOT, late, late.sentence
    if finding is not None:
        return (
            (Verdict.REFUSED if finding.refused else Verdict.WOULD_NOT),
            finding,
            finding.sentence,
        )
    outcome = situation.trial.outcome if situation.trial else ""
    if outcome == "injected":
        return Verdict.WOULD, None, _yes(situation)
    if outcome == "plain":
        return Verdict.WOULD_NOT, None, "a dry run came back without a sidecar"
    if _ignorant(situation):
        sentence = (
            "the injector would inject it; whether the API server calls the injector is not known"
        )
        return Verdict.UNKNOWN, None, sentence
    return Verdict.WOULD, None, _yes(situation)


def _ignorant(situation: Situation) -> bool:
    return situation.entries is None or situation.namespace is None


def _yes(situation: Situation) -> str:
    names = ", ".join(entry.name for entry in situation.matching)
    by = f"{names} matches it, and " if names else ""
    return f"{by}{decision_of(situation).sentence}"


def _late(situation: Situation) -> Finding:
    """Returns why an existing pod has no sidecar although a new pod would get one."""
    subject, space = situation.subject, situation.namespace
    times = [(entry.since, f"the webhook's configuration {entry.configuration} was created")
             for entry in situation.matching]  # fmt: skip
    if space is not None:
        times += [
            (space.since[key], f"the namespace got its label {key}={space.labels[key]}")
            for entry in situation.matching
            for key in entry.namespaces.keys
            if key in space.since and key in space.labels
        ]
    latest = max(times, default=("", ""))
    if subject.created and subject.created <= latest[0]:
        sentence = (
            f"the pod is older than the change that injects it: it was created {subject.created}, "
            f"and {latest[1]} {latest[0]}"
        )
        return Finding(Cause.POD_OLDER, "age", sentence, Renew())
    policies = {entry.ignores_failure for entry in situation.matching}
    why = (
        "the webhook did not answer then (failurePolicy Ignore), or the labels were different"
        if True in policies
        else "the labels or the webhook's configuration were different then"
    )
    sentence = f"a new pod would be injected, this one, created {subject.created}, was not: {why}"
    return Finding(Cause.WEBHOOK_MISSED, "age", sentence, Renew())


def plan(situation: Situation, first: Finding) -> tuple[tuple[Finding, ...], Situation]:
    """Returns the findings, beginning with `first`, and the situation after their changes.

    Each following finding is the cause that remains when the earlier changes have been applied. The
    search ends if none remains, at a change whose effect is not known, or after LIMIT findings.
    """
    findings = [first]
    current = situation
    while len(findings) < LIMIT:
        change = findings[-1].change
        if change is None or isinstance(change, Advice | Renew):
            break
        current = change.apply(current)
        following = find(current)
        if following is None or following in findings:
            break
        findings.append(following)
    return tuple(findings), current


def _marked(
    situation: Situation, lines: tuple[Line, ...], finding: Finding | None, after: Situation
) -> tuple[Line, ...]:
    index = _deciding(situation, lines, finding, after)
    if index is None:
        return lines
    chosen = replace(lines[index], decides=True)
    if finding is not None and chosen.answer != "no":
        # The line alone looks right or is not known, but the finding shows that it fails.
        detail = "; ".join(filter(None, (chosen.detail, finding.sentence)))
        chosen = replace(chosen, answer="no", detail=detail)
    return (*lines[:index], chosen, *lines[index + 1 :])


def _deciding(
    situation: Situation, lines: tuple[Line, ...], finding: Finding | None, after: Situation
) -> int | None:
    if finding is None:
        if situation.subject.origin == "live" and proxy_of(situation.subject.pod) is None:
            return None
        decision = decision_of(situation)
        wanted = line_of(decision.reason) if decision.inject else "age"
        return next((i for i, line in enumerate(lines) if line.key == wanted), None)
    near = after.matching[0] if after.matching else None
    if near is None and (close := nearest(situation)) is not None:
        near = close.entry
    same = [i for i, line in enumerate(lines) if line.key == finding.line]
    about = [i for i in same if near is not None and lines[i].entry == near.name]
    for choice in (about, same):
        for i in choice:
            if lines[i].answer == "no":
                return i
    return next(iter([*about, *same]), None)
