"""Watches the cluster: collects Kubernetes Services and EndpointSlices into Snapshots."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from lightkube import AsyncClient

from lab.mesh.discovery.api_objects import Reading, service_from, slice_from
from lab.mesh.discovery.snapshot import Service, Slice, Snapshot
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

LOG_LINES: Final = 50
LOG_SECONDS: Final = 10.0
MOST_PROBLEMS: Final = 5
"""How many reasons are kept for one object at most."""
log = logging.getLogger("lab.mesh.discovery.registry")
T = TypeVar("T")
Key = tuple[str, str]


class Fold(Generic[T]):
    """Holds the latest value of every object of one kind.

    `read` turns an object into its value. `on_change` is called after a change. `problems`: key of
    an object → the reasons why the object or parts of it are left out. They are logged when they
    change.
    """

    def __init__(
        self, kind: str, read: Callable[[Object], Reading[T]], on_change: Callable[[], None]
    ) -> None:
        self.kind = kind
        self._read = read
        self._on_change = on_change
        self.held: dict[Key, T] = {}
        self.problems: dict[Key, tuple[str, ...]] = {}
        self._log = LimitedLog()

    def replaced(self, objects: list[Object]) -> None:
        """Replace what is held by `objects`, a new complete list, and call `on_change`."""
        before, self.held, self.problems = self.problems, {}, {}
        for item in objects:
            self._put(item, before.get(_key(item), ()))
        self._on_change()

    def changed(self, kind: str, item: Object) -> None:
        """Apply one watch event; call `on_change` only if a value in `held` changes."""
        key = _key(item)
        before = self.held.pop(key, None)
        known = self.problems.pop(key, ())
        if kind != "DELETED":
            self._put(item, known)
        if self.held.get(key) != before:
            self._on_change()

    def _put(self, item: Object, known: tuple[str, ...]) -> None:
        key = _key(item)
        reading = self._read(item)
        if reading.value is not None:
            self.held[key] = reading.value
        if reading.problems:
            self.problems[key] = reading.problems[:MOST_PROBLEMS]
            if self.problems[key] != known:
                self._log.warning(_line(self.kind, key, reading))


class LimitedLog:
    """Writes at most LOG_LINES warnings in LOG_SECONDS, and only counts the others.

    Without the limit, a user who changes an object again and again could fill the log.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = now()
        self._written = self._suppressed = 0

    def warning(self, line: str) -> None:
        """Write the line, or count it."""
        if self._now() - self._began > LOG_SECONDS:
            if self._suppressed:
                log.warning("%d more lines about objects were not written", self._suppressed)
            self._began, self._written, self._suppressed = self._now(), 0, 0
        if self._written < LOG_LINES:
            self._written += 1
            log.warning("%s", line)
        else:
            self._suppressed += 1


class Registry:
    """Watches the cluster and publishes a Snapshot whenever its content changed."""

    def __init__(
        self, client: AsyncClient, publish: Callable[[Snapshot], None], trust: Trust
    ) -> None:
        self._publish = publish
        self._dirty = asyncio.Event()
        self._trust = trust
        self.services: Fold[Service] = Fold("Service", service_from, self._dirty.set)
        self.slices: Fold[Slice] = Fold("EndpointSlice", slice_from, self._dirty.set)
        name = {"metadata.name": trust.config_map}
        self.followers = [
            Follower(client, Services, self.services),
            Follower(client, Slices, self.slices),
            Follower(client, Namespaces, trust.namespaces, namespace=None),
            Follower(client, ConfigMaps, trust.copies, fields=name),
        ]

    @property
    def problems(self) -> list[str]:
        """Why data may be out of date: a sentence for each watch that fails, [] if none does."""
        return [follower.problem for follower in self.followers if follower.problem]

    def serving(self, namespace: str, service: str) -> list[str]:
        """Return the addresses to which a Service's requests go, or may still go, sorted."""
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


def _line(kind: str, key: Key, reading: Reading[T]) -> str:
    what = "a part is left out" if reading.value is not None else "left out"
    more = len(reading.problems) - MOST_PROBLEMS
    rest = f"; and {more} more" if more > 0 else ""
    return f"{kind} {'/'.join(key)}: {what}: {'; '.join(reading.problems[:MOST_PROBLEMS])}{rest}"


def _key(item: Object) -> Key:
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


async def stopped(task: "asyncio.Task[None]") -> None:
    """Cancel a task and wait until it has ended."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
