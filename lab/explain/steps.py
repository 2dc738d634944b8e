"""What to do about findings, in the order in which to do it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.explain.changes.pod import Advice, EditPod, Move, Renew, joined
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Situation
from lab.mesh.workloads import WORKLOADS


@dataclass(frozen=True)
class Step:
    """One change: in words, as lines for a shell (() when no command can do it), and for what."""

    text: str
    commands: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()


def steps(
    situation: Situation, findings: Sequence[Finding], *, renew: bool = True
) -> tuple[Step, ...]:
    """The changes of all findings in their order, the pod's own edits in one, and at the end, where
    they do not come by themselves, new pods. `renew` False: where an edit does not need them, none
    are needed.
    """
    edits = [one for one in findings if isinstance(one.change, EditPod)]
    others = [one for one in findings if one.change and one not in edits]
    ordered = sorted(others, key=lambda one: one.change.order if one.change else 0)
    made = []
    current = situation
    for one in ordered:
        assert one.change is not None
        if isinstance(one.change, Renew):
            continue
        made.append(Step(one.change.text, one.change.commands(current), (one.cause,)))
        if isinstance(one.change, Move):
            # The copy in the other namespace is new, and is what any further edit is for.
            current = replace(current, subject=replace(current.subject,
                                                       namespace=one.change.target))  # fmt: skip
    moved = any(isinstance(one.change, Move) for one in others)
    if edits:
        made.append(_edited(current, edits))
    wanted = _needs_renewal(situation, edits) and (renew or bool(edits))
    if wanted and not moved and not _advised(findings):
        change = Renew()
        causes = tuple(one.cause for one in findings if isinstance(one.change, Renew))
        made.append(Step(change.text, change.commands(current), causes))
    return tuple(made)


def _advised(findings: Sequence[Finding]) -> bool:
    return any(isinstance(one.change, Advice) and not one.change.lines for one in findings)


def _edited(situation: Situation, edits: Sequence[Finding]) -> Step:
    whole: dict[str, object] = {}
    for one in edits:
        assert isinstance(one.change, EditPod)
        whole = joined(whole, one.change.patch)
    text = ", and ".join(one.change.text for one in edits if one.change)
    edit = EditPod(whole, text)
    return Step(text, edit.commands(situation), tuple(one.cause for one in edits))


def _needs_renewal(situation: Situation, edits: Sequence[Finding]) -> bool:
    subject = situation.subject
    if subject.origin == "file":
        return False
    if not edits:
        return True
    holder = subject.holder
    # An edit makes new pods by itself, except where a controller leaves old ones alone.
    kind = WORKLOADS.get(holder.kind) if holder else None
    return holder is not None and not (kind and (kind.rolls or kind.runs_once))
