"""The controller against an API server in memory, where answers may come late.

A write's answer may reach the controller after the watch told of what somebody wrote next.
"""

import asyncio
import contextlib
import copy
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from lab.mesh.contract import ROTATE_ANNOTATION, ROTATED_ANNOTATION, WEBHOOK_SERVICE
from lab.mesh.kubernetes_watch import Object, Secrets, WebhookConfigurations
from lab.mesh.trust import webhook_identity as identities
from lab.mesh.trust.webhook_trust import WebhookTrust

DEADLINE = 20.0


class Listing:
    """What is there, and as of which version."""

    def __init__(self, objects: list[Object], version: int) -> None:
        self.objects, self.resourceVersion = objects, str(version)

    async def __aiter__(self) -> AsyncIterator[Object]:
        for one in self.objects:
            yield copy.deepcopy(one)


class Api:
    """One object of a kind at most; every change is told to watches before its writer hears."""

    def __init__(self) -> None:
        self.version = 1
        self.held: dict[Any, Object] = {}
        self.log: list[tuple[int, Any, str, Object]] = []
        self.news = asyncio.Condition()
        self.late = False
        self.meanwhile: Callable[[], Object] | None = None

    async def store(self, kind: Any, item: Object | None) -> Object:
        """Set, or with None delete, the object of a kind."""
        self.version += 1
        stored = copy.deepcopy(self.held[kind] if item is None else item)
        stored["metadata"]["resourceVersion"] = str(self.version)
        event = "DELETED" if item is None else "MODIFIED" if kind in self.held else "ADDED"
        if item is None:
            del self.held[kind]
        else:
            self.held[kind] = stored
        async with self.news:
            self.log.append((self.version, kind, event, stored))
            self.news.notify_all()
        return copy.deepcopy(stored)

    async def answered(self, kind: Any, item: Object) -> Object:
        """A write whose answer, with `late`, comes when all else was heard."""
        answer = await self.store(kind, item)
        if kind is Secrets and self.meanwhile is not None:
            change, self.meanwhile = self.meanwhile, None
            await self.store(Secrets, change())
        if self.late:
            await asyncio.sleep(0.05)
        return answer

    def list(self, kind: Any, **_: object) -> Listing:
        return Listing([self.held[kind]] if kind in self.held else [], self.version)

    async def watch(
        self, kind: Any, *, resource_version: str, **_: object
    ) -> AsyncIterator[tuple[str, Object]]:
        seen = int(resource_version)
        while True:
            async with self.news:
                while not (fresh := [entry for entry in self.log if entry[0] > seen]):
                    await self.news.wait()
            for version, of, event, item in fresh:
                seen = version
                if of is kind:
                    yield event, copy.deepcopy(item)

    async def create(self, item: Object, **_: object) -> Object:
        if Secrets in self.held:
            raise httpx2.HTTPError("409 already exists")
        return await self.answered(Secrets, item)

    async def replace(self, item: Object, **_: object) -> Object:
        held = self.held.get(Secrets, {"metadata": {"resourceVersion": None}})
        if held["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            raise httpx2.HTTPError("409 conflict")
        return await self.answered(Secrets, item)

    async def patch(self, kind: Any, _name: str, change: Object, **_: object) -> Object:
        item = copy.deepcopy(self.held[kind])
        if item["metadata"]["resourceVersion"] != change["metadata"]["resourceVersion"]:
            raise httpx2.HTTPError("409 conflict")
        for hook in change["webhooks"]:
            for mine in item["webhooks"]:
                if mine["name"] == hook["name"]:
                    mine["clientConfig"] |= hook["clientConfig"]
        return await self.answered(kind, item)

    def asked(self, rotation: str) -> Object:
        """The Secret as it is, with a rotation asked for."""
        item = copy.deepcopy(self.held[Secrets])
        item["metadata"]["annotations"] |= {ROTATE_ANNOTATION: rotation}
        return item

    async def until(self, reached: Callable[[Object], bool]) -> None:
        """Wait until the Secret is there and as asked."""
        async with asyncio.timeout(DEADLINE), self.news:
            await self.news.wait_for(lambda: Secrets in self.held and reached(self.held[Secrets]))


def answers(rotation: str) -> Callable[[Object], bool]:
    def reached(secret: Object) -> bool:
        return bool(secret["metadata"]["annotations"].get(ROTATED_ANNOTATION) == rotation)

    return reached


def settled(secret: Object) -> bool:
    held = identities.read(secret["data"])
    return held is not None and not held.previous


@contextlib.asynccontextmanager
async def controlled(folder: Path) -> AsyncIterator[Api]:
    """A controller, an API server, and one webhook that serves what the Secret holds."""
    api = Api()
    service = {"namespace": "sidecar-lab", "name": WEBHOOK_SERVICE}
    hooks = [{"name": "a.x", "clientConfig": {"service": service}}]
    await api.store(WebhookConfigurations, {"metadata": {}, "webhooks": hooks})
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    async def follow() -> None:
        async for _, item in api.watch(Secrets, resource_version="0"):
            held = identities.read(item["data"])
            assert held is not None
            pair = folder / "pair.pem"
            pair.write_text(held.chain + held.key)
            context.load_cert_chain(pair)

    async def served(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trust = WebhookTrust(api, lambda: ["127.0.0.1"], port=port)
    async with server, asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(follow()), tasks.create_task(trust.run())]
        await api.until(settled)
        yield api
        for task in running:
            task.cancel()


@pytest.mark.parametrize("late", [False, True])
def test_a_rotation_asked_for_while_a_write_is_being_answered_is_heard(
    late: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with controlled(tmp_path) as api:
            api.late = late
            # The request for the second comes with the write of the first, for the third with
            # the write that settles the second, and so on.
            await api.store(Secrets, api.asked("0"))
            for turn in range(1, 5):
                api.meanwhile = lambda turn=turn: api.asked(str(turn))
                await api.until(answers(str(turn)))
            await api.until(settled)

    asyncio.run(scenario())


@pytest.mark.parametrize("late", [False, True])
def test_a_secret_deleted_at_any_moment_of_a_rotation_is_put_back(
    late: bool, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with controlled(tmp_path) as api:
            api.late = late
            for turn in range(6):
                await api.store(Secrets, api.asked(str(turn)))
                await asyncio.sleep(0.02 * turn)
                await api.store(Secrets, None)
                await api.until(settled)
                held = identities.read(api.held[Secrets]["data"])
                assert held is not None
                hook = api.held[WebhookConfigurations]["webhooks"][0]
                assert "caBundle" in hook["clientConfig"]

    asyncio.run(scenario())
