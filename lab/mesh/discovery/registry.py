"""The cluster, watched: Kubernetes Services and EndpointSlices folded into Snapshots."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from lightkube import AsyncClient

from lab.mesh.discovery.snapshot import Service, Slice, Snapshot, service_from, slice_from
from lab.mesh.kubernetes_watch import (
    ConfigMaps,
    Follower,
    Namespaces,
    Object,
    Services,
    Slices,
)
from lab.mesh.trust.root_certificate import Trust

DEBOUNCE_SECONDS: Final = 0.05
"""After a first change, how long others are waited for before one Snapshot is made of all."""

T = TypeVar("T")
Key = tuple[str, str]


class Fold(Generic[T]):
    """The latest of every object of one kind, read by `read`; None is an object left out."""

    def __init__(self, read: Callable[[Object], T | None], told: Callable[[], None]) -> None:
        self._read = read
        self._told = told
        self.held: dict[Key, T] = {}

    def replaced(self, objects: list[Object]) -> None:
        """Take `objects` for all there are: what a new list says."""
        self.held = {}
        for item in objects:
            self._put(item)
        self._told()

    def changed(self, kind: str, item: Object) -> None:
        """Fold one watch event in; nobody is told of a change that leaves us as we were."""
        key = _key(item)
        before = self.held.pop(key, None)
        if kind != "DELETED":
            self._put(item)
        if self.held.get(key) != before:
            self._told()

    def _put(self, item: Object) -> None:
        value = self._read(item)
        if value is not None:
            self.held[_key(item)] = value


class Registry:
    """Watches the cluster and publishes a Snapshot whenever it differs from the last."""

    def __init__(
        self, client: AsyncClient, publish: Callable[[Snapshot], None], trust: Trust
    ) -> None:
        self._publish = publish
        self._dirty = asyncio.Event()
        self._trust = trust
        self.services: Fold[Service] = Fold(service_from, self._dirty.set)
        self.slices: Fold[Slice] = Fold(slice_from, self._dirty.set)
        name = {"metadata.name": trust.config_map}
        self.followers = [
            Follower(client, Services, self.services),
            Follower(client, Slices, self.slices),
            Follower(client, Namespaces, trust.namespaces, namespace=None),
            Follower(client, ConfigMaps, trust.copies, fields=name),
        ]

    @property
    def problems(self) -> list[str]:
        """Why watching is not in step with the API server, one sentence a kind."""
        return [follower.problem for follower in self.followers if follower.problem]

    def serving(self, namespace: str, service: str) -> list[str]:
        """Addresses that get, or may still get, requests of a Service."""
        return sorted(
            endpoint.address
            for one in self.slices.held.values()
            if (one.namespace, one.service) == (namespace, service)
            for endpoint in one.endpoints
            if endpoint.ready or endpoint.serving
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for follower in self.followers:
                tasks.create_task(follower.run())
            tasks.create_task(self._trust.run([each.synced for each in self.followers[2:]]))
            await asyncio.gather(*(each.synced.wait() for each in self.followers[:2]))
            tasks.create_task(self._publish_changes())

    async def _publish_changes(self) -> None:
        last = ""
        while True:
            await self._dirty.wait()
            if last:
                await asyncio.sleep(DEBOUNCE_SECONDS)
            self._dirty.clear()
            snapshot = Snapshot(
                services=tuple(self.services.held.values()), slices=tuple(self.slices.held.values())
            )
            if snapshot.version != last:
                last = snapshot.version
                self._publish(snapshot)


def _key(item: Object) -> Key:
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


async def stopped(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it is gone."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
