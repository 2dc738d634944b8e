"""Kubelet's own prober beside the agent's, case by case: directly, and through the agent."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from lab.cluster.build import go_programs
from lab.cluster.images.ensure import host_go
from lab.cluster.versions import DEFAULT
from lab.mesh.agent.app_checks import HOOKS
from lab.progress import Progress
from tests.probers import locations, table, through
from tests.probers.servers import Case, running

TOGETHER = 24
"""Cases at once: each is a server with its threads."""


class Outcome(NamedTuple):
    """What came of it: servers, Locations, and how they differ, in sentences."""

    cases: int
    locations: int
    differences: tuple[str, ...]


def program(progress: Progress) -> Path:
    """Kubelet's prober, built where it is not. Raises BuildError."""
    component = go_programs.prober(DEFAULT)
    with progress.task("program: kubelet's prober") as task:
        return go_programs.build(component, *host_go(), task).path / "prober"


def compare(progress: Progress, *, record: bool = False) -> Outcome:
    """Every case by kubelet, by the agent, and by kubelet through the agent."""
    prober = program(progress)
    logging.getLogger("pilot-agent").setLevel(logging.ERROR)
    listed = table.cases()
    with progress.task("probes: kubelet") as task:
        kubelet = _by_kubelet(prober, listed)
        if record:
            table.record(kubelet)
        task.update("the agent")
        agent = table.ours(listed, TOGETHER)
        task.update("kubelet through the agent")
        both = _through_agent(prober, listed)
    differences = [*_differ("the agent", kubelet, agent, reasons=True)]
    differences += _differ("kubelet through the agent", kubelet, both, reasons=False)
    differences += _differ(
        "the record of kubelet's verdicts", kubelet, table.recorded(), reasons=True
    )
    wanted = locations.pairs()
    differences += locations.differ(prober, wanted)
    return Outcome(len(listed), len(wanted), tuple(differences))


def _differ(
    who: str, kubelet: Mapping[str, table.Found], other: Mapping[str, table.Found], *, reasons: bool
) -> Iterator[str]:
    for name in sorted(kubelet.keys() | other.keys()):
        right, found = kubelet.get(name), other.get(name)
        alike = right == found if reasons else right and found and right.result == found.result
        if not alike:
            yield f"{name}: kubelet {_told(right)}, {who} {_told(found)}"


def _told(found: table.Found | None) -> str:
    return " ".join(part for part in found if part) if found else "nothing"


def _parts(listed: list[Case]) -> Iterator[list[Case]]:
    for at in range(0, len(listed), TOGETHER):
        yield listed[at : at + TOGETHER]


def _by_kubelet(prober: Path, listed: list[Case]) -> dict[str, table.Found]:
    found: dict[str, table.Found] = {}
    for part in _parts(listed):
        with ExitStack() as stack:
            ports = [stack.enter_context(running(case)).port for case in part]
            tasks = [
                table.task(case, port, case.host) for case, port in zip(part, ports, strict=True)
            ]
            found |= table.kubelets(prober, tasks)
    return found


def _through_agent(prober: Path, listed: list[Case]) -> dict[str, table.Found]:
    found: dict[str, table.Found] = {}
    for part in _parts(listed):
        with ExitStack() as stack:
            asked = {}
            for number, case in enumerate(part):
                path = f"{HOOKS if case.hook else '/app-health/'}{number}/x"
                asked[path] = (case, stack.enter_context(running(case)).port)
            port = stack.enter_context(through.agent(asked))
            tasks = []
            for path, (case, _) in asked.items():
                action = {"httpGet": {"path": path}}
                rewritten = Case(case.name, action, case.serve, case.hook, case.timeout)
                tasks.append(table.task(rewritten, port, "127.0.0.1"))
            found |= table.kubelets(prober, tasks)
    return found


def told(outcome: Outcome) -> str:
    """What a reader gets to see."""
    lines = [
        f"probers: {outcome.cases} cases, each by the agent and through it, and "
        f"{outcome.locations} Locations; {len(outcome.differences)} disagreements with kubelet"
    ]
    return "\n".join([*lines, *(f"  {text}" for text in outcome.differences)])
