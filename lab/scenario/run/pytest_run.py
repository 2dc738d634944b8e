"""Runs the chapters under pytest. Only this module knows pytest's arguments."""

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
"""How many chapters run at the same time. A chapter spends a quarter of its time waiting, so two
chapters would not keep a machine with two cores busy."""


END_SECONDS = 60.0
"""Time limit for an interrupted run to clean up; a second Ctrl-C ends the wait."""


def pytest_arguments(
    name: str,
    *,
    breaks: bool = False,
    only: str = "",
    workers: int = WORKERS,
    more: Sequence[str] = (),
) -> list[str]:
    """Return the arguments for `python -m lab.scenario` that run chapters on the lab `name`.

    `only` selects chapters, for instance "1,3-5"; "" selects all. `more` are further arguments for
    pytest.
    """
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
    """Run pytest in a separate process on this terminal and return pytest's exit code.

    An interrupt (Ctrl-C) is passed on to pytest once. Then this function waits up to END_SECONDS
    for the end of pytest, and raises KeyboardInterrupt.
    """
    argv = [sys.executable, "-m", "lab.scenario", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # With a process group of its own, pytest gets a Ctrl-C only from this process, once.
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


def report_abort(paths: LabPaths, error: SidecarLabError, begun: str, seconds: float) -> None:
    """Write the reports of a run that ended before its first chapter, because of `error`."""
    paths.make()
    failure = failure_of(error)
    record = RunRecord("", paths.name, begun, seconds, aborted=failure)
    write_reports(paths.records, record)
