"""Watches the cluster: folds Kubernetes Services and EndpointSlices into Snapshots."""

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
"""Seconds between a first change and the Snapshot, so that it includes the changes that follow."""

T = TypeVar("T")
Key = tuple[str, str]


class Fold(Generic[T]):
    """Holds the latest value of every object of one kind.

    `read` turns an object into its value, or into None to leave it out. `on_change` is called
    after a change.
    """

    def __init__(self, read: Callable[[Object], T | None], on_change: Callable[[], None]) -> None:
        self._read = read
        self._on_change = on_change
        self.held: dict[Key, T] = {}

    def replaced(self, objects: list[Object]) -> None:
        """Replace what is held by `objects`, a complete list."""
        self.held = {}
        for item in objects:
            self._put(item)
        self._on_change()

    def changed(self, kind: str, item: Object) -> None:
        """Apply one watch event; call `on_change` only if it changes what is held."""
        key = _key(item)
        before = self.held.pop(key, None)
        if kind != "DELETED":
            self._put(item)
        if self.held.get(key) != before:
            self._on_change()

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
        """Why watches are not in step with the API server, one sentence per kind of object."""
        return [follower.problem for follower in self.followers if follower.problem]

    def serving(self, namespace: str, service: str) -> list[str]:
        """Return the addresses that get, or may still get, requests of a Service, sorted."""
        return sorted(
            endpoint.address
            for endpoint_slice in self.slices.held.values()
            if (endpoint_slice.namespace, endpoint_slice.service) == (namespace, service)
            for endpoint in endpoint_slice.endpoints
            if endpoint.ready or endpoint.serving
        )

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for follower in self.followers:
                tasks.create_task(follower.run())
            tasks.create_task(self._trust.run([follower.synced for follower in self.followers[2:]]))
            await asyncio.gather(*(follower.synced.wait() for follower in self.followers[:2]))
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
    """Cancel a task and wait until it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
