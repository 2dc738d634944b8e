"""A finding of `lab doctor`; findings as JSON and text, and those that may make `up` fail."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """One line of `lab doctor`: a name, what was observed (`seen`), a verdict, and a fix.

    `fix` is ignored when the verdict is "ok".
    """

    name: str
    seen: str
    verdict: Verdict
    fix: str = ""


AFFECTS: Mapping[str, tuple[str, ...]] = {
    step: tuple(names.split(", "))
    for step, names in {
        "preflight": "disk",
        "docker": "cgroup, disk, wsl",  # the step's own errors name the rest
        "images": "disk, memory, storage driver, registry, go, kubectl, proxy, docker product",
        "cluster": "inotify instances, inotify watches, cgroup, capabilities, netfilter, "
        "address pool, docker product, disk, memory, storage driver, proxy, wsl",
        "control plane": "inotify instances, inotify watches, netfilter, disk, memory, proxy",
        "ready": "inotify instances, inotify watches, netfilter, disk, memory, proxy",
    }.items()
}
"""Step of `lab up` → names of the findings that may make it fail, the most likely first."""


def affecting(findings: Sequence[Finding], step: str) -> list[Finding]:
    """Returns the findings that may make the step fail: verdict "fail" first, then "warn"."""
    names = AFFECTS.get(step, ())
    bad = [finding for finding in findings if finding.name in names and finding.verdict != "ok"]
    return sorted(bad, key=lambda finding: (finding.verdict != "fail", names.index(finding.name)))


def as_json(findings: Sequence[Finding]) -> str:
    """Returns the findings as JSON."""
    return json.dumps([asdict(finding) for finding in findings], indent=1)


def text(findings: Sequence[Finding]) -> str:
    """Returns the findings as text: one line for each finding, and a line with its fix below."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict:<5} {finding.name:<18} {finding.seen}")
        if finding.fix and finding.verdict != "ok":
            lines.append(f"{'':<24} fix: {finding.fix}")
    return "\n".join(lines)
