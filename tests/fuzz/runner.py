"""Many cases in worker processes, bounded in count and time."""

import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fuzz.cases import Cases, Kind, signature

BATCH: Final = 200
"""Cases in one piece of work."""
PATIENCE: Final = 300.0
"""Seconds without any batch done after which workers count as hung."""


@dataclass
class Finding:
    """Cases that failed for what looks like one cause; `index` is the first of `count`."""

    problem: str
    index: int
    count: int = 1


@dataclass
class Found:
    """What became of the cases of one kind."""

    done: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Finding] = field(default_factory=dict)
    asked: int = 0
    over_https: int = 0
    seconds: float = 0.0
    hung: bool = False

    def add(self, other: "Found") -> None:
        """Take in a batch."""
        self.done += other.done
        self.outcomes += other.outcomes
        self.asked += other.asked
        self.over_https += other.over_https
        for key, finding in other.findings.items():
            if known := self.findings.get(key):
                known.count += finding.count
            else:
                self.findings[key] = finding


_cases: list[Cases] = []


def _start(kind: Kind, seed: str, kubeconfig: Path | None, below: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _cases.append(Cases(kind, seed, kubeconfig, below))


def _end_with_parent() -> None:
    """A parent that was killed cannot end its workers, and what they print to is never closed."""
    if parent := multiprocessing.parent_process():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _batch(start: int, count: int) -> Found:
    cases, found = _cases[0], Found()
    asked, https = cases.judge.asked if cases.judge else 0, cases.over_https
    for index in range(start, start + count):
        verdict = cases.look(cases.make(index), sampled=cases.is_sampled(index))
        found.done += 1
        found.outcomes[verdict.outcome] += 1
        if verdict.problem:
            one = Finding(verdict.problem, index)
            found.add(Found(findings={signature(verdict.problem): one}))
    found.asked = (cases.judge.asked if cases.judge else 0) - asked
    found.over_https = cases.over_https - https
    return found


def run(
    kind: Kind, count: int, seed: str, seconds: float, workers: int, kubeconfig: Path | None
) -> Iterator[Found]:
    """Judge `count` cases in at most `seconds`; yields what is known, growing, the last is all.

    Raises OSError when the API server is gone or a worker died.
    """
    started, whole = time.monotonic(), Found()
    context = multiprocessing.get_context("spawn")
    below = Path(tempfile.mkdtemp(prefix="sidecar-lab-fuzz-"))
    pool = ProcessPoolExecutor(workers, context, _start, (kind, seed, kubeconfig, below))
    todo = iter(range(0, count, BATCH))
    running: set[Future[Found]] = set()
    try:
        while True:
            late = time.monotonic() - started > seconds
            while not late and len(running) < workers * 2:
                if (start := next(todo, None)) is None:
                    break
                running.add(pool.submit(_batch, start, min(BATCH, count - start)))
            if not running:
                return
            done, running = wait(running, PATIENCE, FIRST_COMPLETED)
            whole.hung = not done
            for one in done:
                whole.add(one.result())
            whole.seconds = time.monotonic() - started
            yield whole
            if whole.hung:
                return
    except BrokenProcessPool as died:
        raise OSError("a worker died: out of memory, or a crash of the interpreter") from died
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
            process.join()
        shutil.rmtree(below, ignore_errors=True)
