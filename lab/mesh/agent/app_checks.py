"""Runs the application's probes and lifecycle hooks when kubelet requests their paths.

The agent sets no time limit for a hook. It counts the hooks that are running, and before it stops
it waits until all of them have ended.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from lab.mesh.agent.probes import app_probes
from lab.mesh.grammar.probe_settings import Probe
from lab.mesh.http_server import Begin, HttpAnswer, HttpRequest

log = logging.getLogger("pilot-agent")

HOOKS: Final = "/app-lifecycle/"
"""Path prefix of the application's hooks. The agent cancels a hook when kubelet closes the
connection on which it requested the hook."""
MAX_HOOKS: Final = 32
"""How many hooks may run at the same time. A container has at most two hooks, and only kubelet has
a reason to request them."""
PRE_STOP: Final = "/prestopz"
ARRIVAL: Final = 1.0
"""Seconds that the agent, when it is asked to stop, waits for kubelet to request the application's
preStop hooks: kubelet stops all containers of a pod at the same time."""


class AppChecks:
    """Runs the application's probes and hooks when kubelet requests them from the agent."""

    def __init__(self, arrival: float = ARRIVAL) -> None:
        self._arrival = arrival
        self._asked: set[str] = set()
        self._open = 0
        self._changed = asyncio.Event()

    async def answer(
        self, check: Probe, pod_ip: str, request: HttpRequest, path: str, begin: Begin
    ) -> HttpAnswer:
        """Run `check`, which kubelet requested at `path`, and return the answer to kubelet.

        `begin` sends the status to kubelet before the application's body has arrived.
        """
        if path.startswith(HOOKS):
            return await self._hook(check, pod_ip, request, path)

        async def began(code: int) -> None:
            await begin(app_probes.status_for(code))

        verdict = await app_probes.probe(check, pod_ip, request.headers, began)
        text_answer = HttpAnswer.say(verdict.status, verdict.sentence)
        return HttpAnswer(text_answer.status, text_answer.body, cut=verdict.result == "broken")

    async def _hook(self, check: Probe, pod_ip: str, request: HttpRequest, path: str) -> HttpAnswer:
        if self._open >= MAX_HOOKS:
            return HttpAnswer.broke(f"{MAX_HOOKS} hooks are running already, which is the limit")
        self._open += 1
        self._asked.add(path)
        self._changed.set()
        try:
            if check.kind == "http":
                verdict = await app_probes.hook(check, pod_ip, request.headers)
            else:
                verdict = await app_probes.probe(check, pod_ip, request.headers)
        finally:
            self._open -= 1
            self._changed.set()
        if verdict.result == "success":
            return HttpAnswer.say(200, verdict.sentence)
        log.warning("hook %s: %s", path, verdict.sentence)
        return HttpAnswer.broke(verdict.sentence)

    @property
    def under_way(self) -> int:
        """The number of hooks that are running now."""
        return self._open

    async def stopped(self, checks: Mapping[str, Probe]) -> None:
        """Wait until kubelet has requested the preStop hooks and every hook has ended.

        `checks`: the pod's probes and hooks, by path. The wait for kubelet's requests has a time
        limit; the wait for running hooks has none.
        """
        wanted = {path for path in checks if path.startswith(HOOKS) and path.endswith(PRE_STOP)}
        try:
            async with asyncio.timeout(self._arrival):
                while not wanted <= self._asked:
                    await self._change()
        except TimeoutError:
            log.info("no preStop hook came for %s", ", ".join(sorted(wanted - self._asked)))
        while self._open:
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
