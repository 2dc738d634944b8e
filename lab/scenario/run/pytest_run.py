"""Run the chapters under pytest: the one place that knows its arguments."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from lab.mesh.errors import SidecarLabError
from lab.paths import LabPaths
from lab.records.model import RunRecord
from lab.report.files import write_reports
from lab.scenario.run import find_chapters
from lab.scenario.run.failures import failure_of

WORKERS = 3
"""Chapters that run side by side. One waits a quarter of its time: two leave a core of two idle."""


END_SECONDS = 60.0
"""How long an interrupted run may take to put things in order; a second Ctrl-C ends that wait."""


def pytest_arguments(
    name: str,
    *,
    breaks: bool = False,
    only: str = "",
    workers: int = WORKERS,
    more: Sequence[str] = (),
) -> list[str]:
    """Arguments for `python -m pytest`; `only` are chapter numbers ("1,3-5"), "" means all."""
    arguments = [
        "-p",
        "lab.scenario.run.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "--tb=no",
    ]
    arguments += ["-rN", f"--lab-name={name}", f"--chapters={only}"]
    if breaks:
        arguments.append("--breaks")
    if workers > 1:
        arguments += ["-n", str(workers), "--dist", "loadfile"]
    return [*arguments, *more, *(str(file) for file in find_chapters.files())]


def run(arguments: Sequence[str]) -> int:
    """Run pytest in a process of its own, on this terminal; its exit code.

    An interrupt of this process is handed on, once, and the end of what it interrupts is waited
    for. Raises KeyboardInterrupt then.
    """
    argv = [sys.executable, "-m", "lab.scenario", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # A group of its own: a Ctrl-C reaches this process alone, so that pytest hears of it once.
    process = subprocess.Popen(argv, env=environment, process_group=0)
    try:
        return process.wait()
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            process.wait(END_SECONDS)
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def report_abort(paths: LabPaths, trouble: SidecarLabError, begun: str, seconds: float) -> None:
    """Reports of a run that ended before its first chapter: the lab could not be set up."""
    paths.make()
    failure = failure_of(trouble)
    record = RunRecord("", paths.name, begun, seconds, aborted=failure)
    write_reports(paths.records, record)
