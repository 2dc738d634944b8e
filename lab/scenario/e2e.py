"""Run the chapters under pytest: the one place that knows its arguments."""

import os
import subprocess
import sys
from collections.abc import Sequence

from lab.mesh.errors import SidecarLabError
from lab.paths import LabPaths
from lab.report.files import write_reports
from lab.report.records import RunRecord
from lab.scenario import chapters
from lab.scenario.failures import failure_of

WORKERS = 2
"""Chapters that run side by side. They mostly wait for the cluster, which is busy itself."""


def pytest_arguments(
    name: str,
    *,
    breaks: bool = False,
    only: str = "",
    workers: int = WORKERS,
    more: Sequence[str] = (),
) -> list[str]:
    """Arguments for `python -m pytest`; `only` are chapter numbers ("1,3-5"), "" means all."""
    arguments = ["-p", "lab.scenario.plugin", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    arguments += ["-rN", f"--lab-name={name}", f"--chapters={only}"]
    if breaks:
        arguments.append("--breaks")
    if workers > 1:
        arguments += ["-n", str(workers), "--dist", "loadfile"]
    return [*arguments, *more, *(str(file) for file in chapters.files())]


def run(arguments: Sequence[str]) -> int:
    """Run pytest in a process of its own, on this terminal; its exit code."""
    argv = [sys.executable, "-m", "pytest", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.run(argv, env=environment, check=False).returncode


def report_abort(paths: LabPaths, trouble: SidecarLabError, begun: str, seconds: float) -> None:
    """Reports of a run that ended before its first chapter: the lab could not be set up."""
    failure = failure_of(trouble)
    record = RunRecord("", paths.name, begun, seconds, aborted=failure)
    write_reports(paths.records, record)
