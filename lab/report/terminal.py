"""Renders the records as lines of plain text, for a terminal or a log. Pure."""

from collections.abc import Iterator

from lab.records.model import ChapterRecord, Failure, RunRecord, SetupRecord, StepRecord

MARKS = {"passed": "ok", "failed": "FAILED", "not reached": "not reached"}


def step_line(step: StepRecord) -> str:
    """Return a step's line, like `ok     1.2   one listener  (proves 1)  0.4 s  breaks 1 of 1`."""
    parts = [f"{MARKS[step.outcome]:<6} {step.id:<5} {step.title}"]
    if step.proves:
        parts.append(f"(proves {', '.join(str(number) for number in step.proves)})")
    if step.outcome != "not reached":
        parts.append(f"{step.seconds:.1f} s")
    red = sum(record.turned_red and record.green_again for record in step.breaks)
    if step.breaks:
        parts.append(f"breaks {red} of {len(step.breaks)}")
        turned_red = sum(bool(claim.red_by) for claim in step.claims)
        parts.append(f"expectations {turned_red} of {len(step.claims)}")
    return "  ".join(parts)


def failure_lines(failure: Failure, indent: str = "    ") -> Iterator[str]:
    """Yield the lines about a failure: what failed, then its other fields, each with its name.

    Empty fields are left out.
    """
    rows = [
        ("", failure.what),
        ("expected", failure.expected),
        ("seen", failure.seen),
        ("difference", failure.difference),
        ("where", failure.detail),
        ("broken first", ": ".join(x for x in (failure.link, failure.diagnosis) if x)),
        ("hint", failure.hint),
        ("bundle", failure.bundle),
    ]
    for title, text in rows:
        if not text.strip():
            continue
        first, *rest = text.rstrip().splitlines()
        head = f"{title + ':':<14}" if title else ""
        yield f"{indent}{head}{first.strip() if not rest else first}"
        for line in rest:
            yield f"{indent}{' ' * len(head)}{line}"


def setup_line(chapter: ChapterRecord, setup: SetupRecord) -> str:
    """Return the line about one part of a chapter's set-up."""
    mark = "ok" if setup.failure is None else "FAILED"
    return f"{mark:<6} {chapter.number}.0   set-up: {setup.name}  {setup.seconds:.1f} s"


def failed(run: RunRecord) -> Iterator[tuple[str, Failure]]:
    """Yield a pair (name, failure) for each part of a set-up and each step that failed.

    If the run as a whole failed (`aborted`), its pair comes first. Steps that were not reached are
    left out.
    """
    if run.aborted is not None:
        yield "the run", run.aborted
    for chapter in run.chapters:
        for setup in chapter.setup:
            if setup.failure is not None:
                yield f"{chapter.number} set-up: {setup.name}", setup.failure
        for step in chapter.steps:
            if step.outcome == "failed" and step.failure is not None:
                yield f"{step.id} {step.title}", step.failure


def never_red(run: RunRecord) -> Iterator[str]:
    """Yield a line for each expectation that no break (deliberate fault) made fail.

    The line has the reason that the chapter gives, or else the expectation's place in the code.
    """
    for step in run.steps:
        for claim in step.claims:
            if not claim.red_by:
                why = f"because {claim.listed}" if claim.listed else claim.place
                yield f"{step.id} {claim.what} ({why})"


def summary(run: RunRecord) -> list[str]:
    """Return the last lines of a run's output: failures, counts of steps, proofs and breaks."""
    lines = []
    for name, failure in failed(run):
        lines += ["", f"FAILED {name}", *failure_lines(failure)]
    proven = sorted({n for step in run.steps if step.passed for n in step.proves})
    lines.append("")
    lines.append(
        f"{len(run.chapters)} chapters, {len(run.steps)} steps: {run.count('passed')} passed, "
        f"{run.count('failed')} failed, {run.count('not reached')} not reached"
    )
    if proven:
        lines.append(f"proven of the walkthrough's list: {', '.join(map(str, proven))}")
    red, tried = run.break_counts
    if run.breaks:
        lines.append(f"{red} of {tried} breaks turned their step red")
        lines.append("{} of {} expectations seen red".format(*run.claim_counts))
        lines += [f"  not seen red: {expectation}" for expectation in never_red(run)]
    return lines
