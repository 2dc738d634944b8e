"""The agent's answers to kubelet about the application: probes and lifecycle hooks by their path.

A hook takes as long as it takes, so it is known here which ones are under way: the agent that is
told to stop stays for them.
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
"""Below it are the application's hooks; they stop when whoever asked has gone."""
MAX_HOOKS: Final = 32
"""Hooks at once. A pod has one of a kind for each container; nobody else has a reason to ask."""
PRE_STOP: Final = "/prestopz"
ARRIVAL: Final = 1.0
"""Seconds after the agent is told to stop within which the application's preStop hooks come:
kubelet stops all containers of a pod at once."""


class AppChecks:
    """Asks the application what kubelet asks the agent."""

    def __init__(self, arrival: float = ARRIVAL) -> None:
        self._arrival = arrival
        self._asked: set[str] = set()
        self._open = 0
        self._changed = asyncio.Event()

    async def answer(
        self, check: Probe, pod_ip: str, request: HttpRequest, path: str, begin: Begin
    ) -> HttpAnswer:
        """What to answer about `check`, which is asked for at `path`."""
        if path.startswith(HOOKS):
            return await self._hook(check, pod_ip, request, path)

        async def began(code: int) -> None:
            await begin(app_probes.status_for(code))

        found = await app_probes.probe(check, pod_ip, request.headers, began)
        told = HttpAnswer.say(found.status, found.sentence)
        return HttpAnswer(told.status, told.body, cut=found.result == "broken")

    async def _hook(self, check: Probe, pod_ip: str, request: HttpRequest, path: str) -> HttpAnswer:
        if self._open >= MAX_HOOKS:
            return HttpAnswer.broke(f"{MAX_HOOKS} hooks are under way")
        self._open += 1
        self._asked.add(path)
        self._changed.set()
        try:
            if check.kind == "http":
                found = await app_probes.hook(check, pod_ip, request.headers)
            else:
                found = await app_probes.probe(check, pod_ip, request.headers)
        finally:
            self._open -= 1
            self._changed.set()
        if found.result == "success":
            return HttpAnswer.say(200, found.sentence)
        log.warning("hook %s: %s", path, found.sentence)
        return HttpAnswer.broke(found.sentence)

    @property
    def under_way(self) -> int:
        """Hooks that have begun and not ended."""
        return self._open

    async def stopped(self, checks: Mapping[str, Probe]) -> None:
        """Return when the application's preStop hooks have come, if they come, and ended."""
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
