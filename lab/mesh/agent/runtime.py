"""Runs the agent: supervises Envoy, forwards xDS, answers HTTP, watches the configuration."""

import asyncio
import logging
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from lab.mesh.agent import settings
from lab.mesh.agent.app_checks import HOOKS, AppChecks
from lab.mesh.agent.app_sockets import application_in_use
from lab.mesh.agent.envoy_admin import EnvoyAdmin, Verdict
from lab.mesh.agent.envoy_process import Reaper, Supervisor
from lab.mesh.agent.http_client import FetchError
from lab.mesh.agent.settings import AgentPlan, Flags
from lab.mesh.agent.start import HANDLED_SIGNALS, Signature, signature, write_revision
from lab.mesh.agent.xds_passthrough import XdsPassthrough
from lab.mesh.errors import BootstrapError
from lab.mesh.http_server import METRICS, Begin, HttpAnswer, HttpRequest, HttpServer, exposition

log = logging.getLogger("pilot-agent")

WATCH_INTERVAL = 0.5
"""Seconds between checks of the watched files. Each check is a few stat calls, because Python's
standard library has no inotify."""
APPLICATION_INTERVAL = 0.2
"""Seconds between two checks whether the application has closed its sockets."""
POLL_INTERVAL = 0.02
"""Seconds between requests to Envoy while a readiness probe waits, and while Envoy drains."""
KILL_GRACE = 0.5
"""Seconds from SIGTERM to SIGKILL when Envoy is stopped; it normally ends in milliseconds."""


@dataclass(frozen=True)
class Started:
    """What the agent prepared before it loaded asyncio.

    `file_signature`: the signature of the watched files. `xds`, `http`: the sockets that listen for
    Envoy's xDS and for HTTP. `config`: the bootstrap file with which Envoy was started. `in_pod`:
    whether the agent runs in a pod. There, each socket that belongs neither to the agent nor to
    Envoy is the application's.
    """

    flags: Flags
    plan: AgentPlan
    file_signature: Signature
    xds: socket.socket
    http: socket.socket
    envoy_pid: int
    config: Path
    in_pod: bool = False


class Agent:
    """Runs one agent. `run` returns when the agent was asked to stop and Envoy has ended."""

    def __init__(self, started: Started, ready_hold: float) -> None:
        self._flags, self._plan = started.flags, started.plan
        self._file_signature = started.file_signature
        self._revision = 0
        self._ready_hold = ready_hold
        self._started_at = time.time()
        self._reaper = Reaper(started.envoy_pid)
        self._supervisor = Supervisor(
            self._plan.arguments(self._flags.binary_path, started.config),
            self._reaper,
            first_pid=started.envoy_pid,
            on_start=self._envoy_starts,
        )
        self._xds = XdsPassthrough(started.xds, self._plan.upstream)
        self._http = HttpServer(started.http, self._answer, abandoned=HOOKS)
        self._checks = AppChecks()
        self._admin = EnvoyAdmin(self._flags.admin_port, self._flags.stats_port)
        self._in_pod = started.in_pod
        self._was_ready = self._draining = False
        self._stop, self._at_once = asyncio.Event(), asyncio.Event()
        self._reload_requested = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run until a stop signal or a POST to /quitquitquit.

        Raises EnvoyError when Envoy dies more often than the retries allow.
        """
        loop = asyncio.get_running_loop()
        self._reaper.install()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._handle_stop_signal, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload_requested.set)
        loop.add_signal_handler(signal.SIGUSR1, self._supervisor.signal, signal.SIGUSR1)
        loop.add_signal_handler(signal.SIGUSR2, self._supervisor.signal, signal.SIGUSR2)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)
        await self._xds.start()
        await self._http.start()
        envoy = asyncio.ensure_future(self._supervisor.run())
        watch = asyncio.ensure_future(self._watch())
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((envoy, watch, stop), return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                # A reload in progress must not start the Envoy that is about to be stopped.
                watch.cancel()
                await asyncio.wait({watch})
                await self._wind_down(envoy)
            for task in (envoy, watch):
                if task.done() and not task.cancelled():
                    task.result()
        finally:
            watch.cancel()
            stop.cancel()
            for task in self._background:
                task.cancel()
            await self._supervisor.stop(KILL_GRACE)
            await self._xds.close()
            self._http.close()

    def _handle_stop_signal(self, number: int) -> None:
        log.info("received %s", signal.Signals(number).name)
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()

    async def _wind_down(self, envoy: asyncio.Task[None]) -> None:
        self._draining = True
        drain = asyncio.ensure_future(self._drain_and_hooks())
        at_once = asyncio.ensure_future(self._at_once.wait())
        await asyncio.wait((drain, at_once, envoy), return_when=asyncio.FIRST_COMPLETED)
        drain.cancel()
        at_once.cancel()
        await self._supervisor.stop(KILL_GRACE)
        await asyncio.wait({envoy})

    async def _drain_and_hooks(self) -> None:
        """Drain Envoy, and wait until the application has ended.

        This means that its preStop hooks, which kubelet runs through this agent, have ended, and
        that the application has closed its sockets.
        """
        await asyncio.gather(
            self._drain(), self._outlive(), self._checks.stopped(self._plan.probes)
        )

    async def _outlive(self) -> None:
        """Wait for the termination drain duration, and until the application closes its sockets.

        If the application never closes them, kubelet ends the wait after the pod's grace period.
        Outside a pod, return at once, because there the agent does not know which sockets are the
        application's.
        """
        if not self._in_pod:
            return
        await asyncio.sleep(self._plan.termination_drain)
        while application_in_use((os.getpid(), self._supervisor.pid or 0)):
            await asyncio.sleep(APPLICATION_INTERVAL)
        log.info("the application has closed its sockets")

    async def _drain(self) -> None:
        """Drain Envoy until no connection is active, for at most the termination drain duration."""
        limit = self._plan.termination_drain
        if not self._supervisor.pid:
            return
        try:
            await self._admin.drain()
            deadline = time.monotonic() + limit
            while (active := await self._admin.connections()) and time.monotonic() < deadline:
                await asyncio.sleep(POLL_INTERVAL)
        except FetchError as failed:
            log.warning("not drained: %s", failed.message)
            return
        log.info("drained; %d connections were still active", active)

    # --- configuration ---------------------------------------------------------------------

    async def _watch(self) -> None:
        paths = settings.watched(self._flags)
        while True:
            try:
                await asyncio.wait_for(self._reload_requested.wait(), WATCH_INTERVAL)
            except TimeoutError:
                if signature(paths) == self._file_signature:
                    continue
            self._reload_requested.clear()
            before, self._file_signature = self._file_signature, signature(paths)
            ca = paths.index(Path(self._flags.root_cert))
            await self._reload(ca_changed=before[ca] != self._file_signature[ca])

    async def _reload(self, *, ca_changed: bool) -> None:
        try:
            plan = settings.decide(
                settings.read(self._flags), starting=bool(self._plan.passed_over)
            )
            if plan.passed_over != self._plan.passed_over and plan.passed_over:
                raise BootstrapError(plan.passed_over)
            rewrite = (plan.bootstrap, plan.envoy) != (self._plan.bootstrap, self._plan.envoy)
            if rewrite:
                config = write_revision(
                    Path(self._flags.config_path), self._revision + 1, plan.bootstrap
                )
        except BootstrapError as bad:
            log.error("the changed configuration is not used: %s", bad.message)
            return
        old, self._plan = self._plan, plan
        if ca_changed or plan.upstream != old.upstream:
            log.info("the address or the CA of discovery changed; Envoy's xDS reconnects")
            await self._xds.reset(plan.upstream)
        if not rewrite:
            log.info("configuration read again: Envoy's part of it has not changed")
            return
        self._revision += 1
        argv = plan.arguments(self._flags.binary_path, config)
        if plan.of_envoy == old.of_envoy:
            log.info("labels changed: the next Envoy starts with %s", config)
            self._supervisor.prepare(argv)
            return
        log.info("configuration changed: Envoy is restarted with %s", config)
        await self._drain()
        await self._supervisor.replace(argv, KILL_GRACE)

    def _envoy_starts(self) -> None:
        self._was_ready = False  # a new Envoy has received nothing yet

    # --- HTTP ------------------------------------------------------------------------------

    async def _answer(self, request: HttpRequest, begin: Begin) -> HttpAnswer:
        path = request.path.partition("?")[0]
        posts = {"/quitquitquit": self._quit, "/drain": self._drain_now}
        if path in posts:
            if request.method != "POST":
                return HttpAnswer.say(405, f"{path} takes POST")
            if not request.local:
                return HttpAnswer.say(403, f"{path} is answered on loopback only")
            return posts[path]()
        if request.method not in ("GET", "HEAD"):
            return HttpAnswer.say(405, f"{path} takes GET")
        if path == "/healthz/ready":
            verdict = await self._ready()
            return HttpAnswer.say(200 if verdict.ready else 503, verdict.reason or "ready")
        if path == "/healthz/live":
            return HttpAnswer.say(200, "the agent is running")
        if path in ("/metrics", "/stats/prometheus"):
            return HttpAnswer(200, await self._metrics(), METRICS)
        probe = self._plan.probes.get(path)
        if probe is not None:
            return await self._checks.answer(probe, self._plan.pod_ip, request, path, begin)
        return HttpAnswer.say(404, f"{path} is not served here")

    async def _ready(self) -> Verdict:
        """Return whether the pod is ready; while Envoy starts, wait at most `ready_hold` seconds.

        The wait is useful because kubelet probes once a second: if "not ready" is sent 50 ms before
        Envoy is ready, the pod becomes ready a second later.
        """
        if self._draining:
            return Verdict(False, "draining")
        if self._was_ready:
            return await self._admin.live()
        deadline = time.monotonic() + self._ready_hold
        while True:
            starts = self._supervisor.starts
            verdict = await self._admin.verdict()
            if verdict.ready and starts == self._supervisor.starts:
                if not self._was_ready:
                    log.info(
                        "Envoy is ready %.2f s after the agent", time.time() - self._started_at
                    )
                self._was_ready = True
            if verdict.ready or self._draining or time.monotonic() >= deadline:
                return verdict
            await asyncio.sleep(POLL_INTERVAL)

    def _quit(self) -> HttpAnswer:
        log.info("/quitquitquit")
        self._at_once.set()
        self._stop.set()
        return HttpAnswer.say(200, "ending")

    def _drain_now(self) -> HttpAnswer:
        self._draining = True
        task = asyncio.ensure_future(self._drain())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return HttpAnswer.say(200, "draining")

    async def _metrics(self) -> bytes:
        own = exposition(self._samples())
        try:
            return own + await self._admin.prometheus()
        except FetchError as silent:
            log.debug("metrics without Envoy's: %s", silent.message)
            return own

    def _samples(self) -> dict[str, tuple[str, str, float]]:
        xds, envoy = self._xds, self._supervisor
        rows: list[tuple[str, str, str, float]] = [
            ("start_time_seconds", "gauge", "When the agent started.", self._started_at),
            ("resident_memory_bytes", "gauge", "Resident memory of the agent.", _resident()),
            ("envoy_up", "gauge", "1 while Envoy runs.", float(envoy.pid is not None)),
            ("envoy_starts_total", "counter", "Starts of Envoy.", envoy.starts),
            ("envoy_failures_total", "counter", "Times Envoy died.", envoy.unexpected_exits),
            ("envoy_revision", "gauge", "Number of the bootstrap.", self._revision),
            ("orphans_total", "counter", "Orphans reaped.", self._reaper.orphans),
            ("xds_active", "gauge", "Open xDS connections.", xds.active),
            ("xds_connections_total", "counter", "xDS connections of Envoy.", xds.connections),
            ("xds_failures_total", "counter", "Discovery was not reached.", xds.failures),
            ("xds_sent_bytes_total", "counter", "Bytes to discovery.", xds.to_discovery),
            ("xds_received_bytes_total", "counter", "Bytes from discovery.", xds.to_envoy),
        ]
        return {f"sidecar_agent_{name}": (kind, text, value) for name, kind, text, value in rows}


def _resident() -> float:
    """Return the resident memory of this process in bytes; 0 where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * float(os.sysconf("SC_PAGE_SIZE"))


def serve(started: Started, ready_hold: float) -> None:
    """Run the agent until it ends. Raises EnvoyError."""

    async def main() -> None:
        await Agent(started, ready_hold).run()

    asyncio.run(main())
