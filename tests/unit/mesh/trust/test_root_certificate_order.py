"""A copy of the root certificate is never forgotten, in whatever order answers and events come."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lab.mesh.contract import CA_CONFIG_MAP_KEY
from lab.mesh.kubernetes_watch import Object, PendingWrites
from lab.mesh.trust.root_certificate import Trust

PEM = "-----BEGIN CERTIFICATE-----\nroot\n-----END CERTIFICATE-----\n"


def copy_of(version: int, text: str = PEM) -> Object:
    meta = {"name": "root", "namespace": "shop", "resourceVersion": str(version)}
    return {"metadata": meta, "data": {CA_CONFIG_MAP_KEY: text}}


def space(version: int = 1) -> Object:
    return {"metadata": {"name": "shop", "resourceVersion": str(version)}}


class Api:
    """Answers creations; `meanwhile` runs after one was done and before its writer hears of it."""

    def __init__(self, meanwhile: Callable[[int], Awaitable[None]]) -> None:
        self.version, self.created = 10, 0
        self.meanwhile = meanwhile

    async def create(self, wanted: Any, *, namespace: str) -> Object:
        self.version += 10
        self.created += 1
        await self.meanwhile(self.version)
        return copy_of(self.version)


def run(tmp_path: Path, meanwhile: Callable[[Trust, int], None], creations: int) -> int:
    """Let the keeper work until so many copies were created, or two seconds long."""
    root = tmp_path / "root.pem"
    root.write_text(PEM)

    async def go() -> int:
        async def first_time(version: int) -> None:
            if api.created == 1:
                meanwhile(trust, version)

        api = Api(first_time)
        trust = Trust(api, root)
        trust.namespaces.replaced([space()])
        task = asyncio.create_task(trust.run([]))
        end = asyncio.get_running_loop().time() + 2
        while api.created < creations and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        task.cancel()
        return api.created

    return asyncio.run(go())


def test_a_copy_that_is_deleted_before_the_writer_hears_of_its_creation_is_created_again(
    tmp_path: Path,
) -> None:
    def deleted(trust: Trust, version: int) -> None:
        trust.copies.changed("ADDED", copy_of(version))
        trust.copies.changed("DELETED", copy_of(version + 1))

    assert run(tmp_path, deleted, creations=2) == 2


def test_a_copy_is_created_once_however_late_the_watch_reports_it(tmp_path: Path) -> None:
    assert run(tmp_path, lambda trust, version: None, creations=2) == 1


def test_a_complete_list_ends_the_wait_for_a_report(tmp_path: Path) -> None:
    pending = PendingWrites()
    pending.wrote("shop", copy_of(20))
    assert pending.behind("shop")
    assert not pending.behind("other")
    pending.reported("shop", copy_of(19))
    assert pending.behind("shop")
    pending.reported("shop", copy_of(20))
    assert not pending.behind("shop")
    pending.wrote("shop", copy_of(30))
    pending.listed()
    assert not pending.behind("shop")
    pending.reported("shop", copy_of(41))
    pending.wrote("shop", copy_of(40))  # the answer comes late
    assert not pending.behind("shop")
