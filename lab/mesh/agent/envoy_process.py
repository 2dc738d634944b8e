"""Runs Envoy as a child process: starts, watches, restarts and stops it; reaps every orphan.

The agent is PID 1 of its container, so it becomes the parent of every orphaned process. Only
`Reaper` calls waitpid, for all children.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lab.mesh.agent.start import Backoff, ending, spawn
from lab.mesh.errors import EnvoyError

log = logging.getLogger("pilot-agent")


class Reaper:
    """Collects the wait status of every child that ends, and sets the future that `expect` made.

    `early`: pid of a child that was started before this object was created, and that may end before
    `expect` is called.
    """

    def __init__(self, early: int | None = None) -> None:
        self._early = early
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._ended: dict[int, int] = {}
        self.orphans = 0

    def install(self) -> None:
        """Handle SIGCHLD from now on, and reap the children that have ended already."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)
        self.reap()

    def expect(self, pid: int) -> asyncio.Future[int]:
        """Return a future that will hold the wait status of child `pid`.

        Call `expect` right after the child's start; otherwise the child may count as an orphan.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if pid in self._ended:
            future.set_result(self._ended.pop(pid))
        else:
            self._waiting[pid] = future
        return future

    def reap(self) -> None:
        """Reap every child that has ended: one SIGCHLD may stand for several children."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            future = self._waiting.pop(pid, None)
            if future is not None and not future.done():
                future.set_result(status)
            elif pid == self._early:
                self._ended[pid] = status
            else:
                self.orphans += 1
                log.debug("reaped orphan %d, which %s", pid, ending(status))


@dataclass
class Child:
    """One process of Envoy; `ended` is the future of its wait status."""

    pid: int
    ended: asyncio.Future[int]
    started: float = field(default_factory=time.monotonic)
    expected_to_end: bool = False


class Supervisor:
    """Keeps one Envoy running until `stop` is called.

    `argv` is the command line of the next start; `prepare` and `replace` change it. `first_pid`:
    pid of an Envoy that was started already. `on_start` is called at every start, before the agent
    can query the new Envoy.
    """

    def __init__(
        self,
        argv: Sequence[str],
        reaper: Reaper,
        *,
        first_pid: int | None = None,
        backoff: Backoff | None = None,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.argv = tuple(argv)
        self._reaper = reaper
        self._first_pid = first_pid
        self._backoff = backoff or Backoff()
        self._on_start = on_start
        self._stopping = asyncio.Event()
        self._child: Child | None = None
        self.starts = 0
        self.unexpected_exits = 0

    @property
    def pid(self) -> int | None:
        """Envoy's pid; None while Envoy is not running."""
        return self._child.pid if self._child and not self._child.ended.done() else None

    async def run(self) -> None:
        """Start Envoy, and start it again whenever it ends, until `stop` is called.

        Raises EnvoyError when no retries are left.
        """
        while not self._stopping.is_set():
            child = self._start()
            status = await child.ended
            if child.expected_to_end:
                log.info("Envoy (pid %d) %s", child.pid, ending(status))
                continue
            self.unexpected_exits += 1
            lived = time.monotonic() - child.started
            how = f"Envoy (pid {child.pid}) {ending(status)} after {lived:.1f} s"
            delay = self._backoff.delay(lived)
            if delay is None:
                raise EnvoyError(f"{how}; no retries are left", hint="Envoy's log above shows why")
            log.warning("%s; starting it again in %.1f s", how, delay)
            try:
                await asyncio.wait_for(self._stopping.wait(), delay)
            except TimeoutError:
                continue

    def prepare(self, argv: Sequence[str]) -> None:
        """Use `argv` for the next start; the running Envoy is not restarted."""
        self.argv = tuple(argv)

    async def replace(self, argv: Sequence[str], grace: float) -> None:
        """Stop the running Envoy (SIGKILL after `grace` seconds); `run` then starts `argv`."""
        self.prepare(argv)
        await self._end(grace)

    async def stop(self, grace: float) -> None:
        """Stop Envoy for good: SIGTERM, and SIGKILL if it still runs after `grace` seconds."""
        self._stopping.set()
        await self._end(grace)

    def signal(self, number: int) -> None:
        """Send the signal `number` to Envoy if it is running."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, number)

    def _start(self) -> Child:
        self._on_start()
        pid = self._first_pid if self._first_pid is not None else spawn(self.argv)
        self._first_pid = None
        self._child = Child(pid, self._reaper.expect(pid))
        self.starts += 1
        log.info("Envoy runs as pid %d (start %d)", pid, self.starts)
        return self._child

    async def _end(self, grace: float) -> None:
        child = self._child
        if child is None or child.ended.done():
            return
        child.expected_to_end = True
        # The pid is still ours: only the reaper calls waitpid, and it would have set the future.
        os.kill(child.pid, signal.SIGTERM)
        done, _ = await asyncio.wait({child.ended}, timeout=grace)
        if not done:
            log.warning("Envoy (pid %d) did not end within %.1f s: SIGKILL", child.pid, grace)
            os.kill(child.pid, signal.SIGKILL)
            await child.ended
