"""Turns findings into repair steps in the order in which the reader should do them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.explain.changes.pod import Advice, EditPod, Move, Renew, joined
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Situation
from lab.mesh.workloads import WORKLOADS


@dataclass(frozen=True)
class RepairStep:
    """One step of the repair. `commands`: lines for a shell, () if no command can do the step.

    `causes`: the causes that the step removes.
    """

    text: str
    commands: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()


def steps(
    situation: Situation, findings: Sequence[Finding], *, renew: bool = True
) -> tuple[RepairStep, ...]:
    """Returns the repair steps for all findings, ordered by the `order` of their changes.

    All edits of the pod are joined into one step, which follows the other steps. The last step
    recreates the pods. It is left out for a manifest, for a workload that is moved, for a
    controller that recreates the pods after an edit, and if a person must follow advice first.
    `renew`: whether the pods must be recreated even without an edit.
    """
    edits = [finding for finding in findings if isinstance(finding.change, EditPod)]
    others = [finding for finding in findings if finding.change and finding not in edits]
    ordered = sorted(others, key=lambda finding: finding.change.order if finding.change else 0)
    planned = []
    current = situation
    for finding in ordered:
        assert finding.change is not None
        if isinstance(finding.change, Renew):
            continue
        planned.append(
            RepairStep(finding.change.text, finding.change.commands(current), (finding.cause,))
        )
        if isinstance(finding.change, Move):
            # Later edits apply to the new copy in the other namespace.
            subject = replace(current.subject, namespace=finding.change.target)
            current = replace(current, subject=subject)
    moved = any(isinstance(finding.change, Move) for finding in others)
    if edits:
        planned.append(_edited(current, edits))
    wanted = _needs_renewal(situation, edits) and (renew or bool(edits))
    if wanted and not moved and not _advised(findings):
        change = Renew()
        causes = tuple(finding.cause for finding in findings if isinstance(finding.change, Renew))
        planned.append(RepairStep(change.text, change.commands(current), causes))
    return tuple(planned)


def _advised(findings: Sequence[Finding]) -> bool:
    return any(
        isinstance(finding.change, Advice) and not finding.change.lines for finding in findings
    )


def _edited(situation: Situation, edits: Sequence[Finding]) -> RepairStep:
    patch: dict[str, object] = {}
    for edit_finding in edits:
        assert isinstance(edit_finding.change, EditPod)
        patch = joined(patch, edit_finding.change.patch)
    text = ", and ".join(edit_finding.change.text for edit_finding in edits if edit_finding.change)
    edit = EditPod(patch, text)
    return RepairStep(
        text, edit.commands(situation), tuple(edit_finding.cause for edit_finding in edits)
    )


def _needs_renewal(situation: Situation, edits: Sequence[Finding]) -> bool:
    subject = situation.subject
    if subject.origin == "file":
        return False
    if not edits:
        return True
    holder = subject.holder
    # A controller replaces the pods after an edit, unless its kind leaves old pods unchanged.
    kind = WORKLOADS.get(holder.kind) if holder else None
    return holder is not None and not (kind and (kind.rolls or kind.runs_once))
