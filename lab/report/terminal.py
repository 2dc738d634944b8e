"""Records as lines of plain text, for a terminal or a log. Pure."""

from collections.abc import Iterator

from lab.records.model import ChapterRecord, Failure, RunRecord, SetupRecord, StepRecord

MARKS = {"passed": "ok", "failed": "FAILED", "not reached": "not reached"}


def step_line(step: StepRecord) -> str:
    """For instance `ok      1.2  one listener  (proves 1)  0.4 s  break seen`."""
    parts = [f"{MARKS[step.outcome]:<6} {step.id:<5} {step.title}"]
    if step.proves:
        parts.append(f"(proves {', '.join(str(number) for number in step.proves)})")
    if step.outcome != "not reached":
        parts.append(f"{step.seconds:.1f} s")
    red = sum(one.turned_red and one.green_again for one in step.breaks)
    if step.breaks:
        parts.append(f"breaks {red} of {len(step.breaks)}")
        told = sum(bool(one.red_by) for one in step.claims)
        parts.append(f"expectations {told} of {len(step.claims)}")
    return "  ".join(parts)


def failure_lines(failure: Failure, indent: str = "    ") -> Iterator[str]:
    """What failed, expected beside seen, the first broken link, where to read on."""
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
    """One line of set-up."""
    mark = "ok" if setup.failure is None else "FAILED"
    return f"{mark:<6} {chapter.number}.0   set-up: {setup.name}  {setup.seconds:.1f} s"


def failed(run: RunRecord) -> Iterator[tuple[str, Failure]]:
    """(what it is, why) of everything that failed itself; what was not reached is left out."""
    if run.aborted is not None:
        yield "the run", run.aborted
    for chapter in run.chapters:
        for setup in chapter.setup:
            if setup.failure is not None:
                yield f"{chapter.number} set-up: {setup.name}", setup.failure
        for step in chapter.steps:
            if step.outcome == "failed" and step.failure is not None:
                yield f"{step.id} {step.title}", step.failure


def unseen(run: RunRecord) -> Iterator[str]:
    """Each expectation that no break turned red, with the reason if it is listed with one."""
    for step in run.steps:
        for one in step.claims:
            if not one.red_by:
                why = f"because {one.listed}" if one.listed else one.place
                yield f"{step.id} {one.what} ({why})"


def summary(run: RunRecord) -> list[str]:
    """The closing lines: counts, and what the breaks told."""
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
    red, tried = run.breaks_told
    if run.breaks:
        lines.append(f"{red} of {tried} breaks turned their step red")
        lines.append("{} of {} expectations seen red".format(*run.claims_told))
        lines += [f"  not seen red: {one}" for one in unseen(run)]
    return lines
