"""Follows one kind of Kubernetes object: lists the objects, then watches them for changes.

Objects are plain dicts as the API server writes them.
"""

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, cast

import httpx2
import msgspec
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import create_global_resource, create_namespaced_resource

from lab.mesh.errors import DiscoveryError

log = logging.getLogger("lab.mesh.discovery.registry")

Namespaces: Final = create_global_resource("", "v1", "Namespace", "namespaces")
Services: Final = create_namespaced_resource("", "v1", "Service", "services")
Slices: Final = create_namespaced_resource(
    "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"
)
ConfigMaps: Final = create_namespaced_resource("", "v1", "ConfigMap", "configmaps")
Secrets: Final = create_namespaced_resource("", "v1", "Secret", "secrets")
WebhookConfigurations: Final = create_global_resource(
    "admissionregistration.k8s.io",
    "v1",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
)

QUIET_SECONDS: Final = 60.0
"""A watch without events for this long is opened again: its connection may be dead."""
BACKOFF_SECONDS: Final = (0.1, 2.0)
"""First and longest wait after a failure, in seconds. The wait doubles and has a random part."""
STEADY_SECONDS: Final = 5.0
"""A watch that lasted this long was healthy, so the back-off starts again."""
API_FAILURES: Final = (
    httpx2.HTTPError,
    httpx2.StreamError,
    msgspec.MsgspecError,
    ConfigError,
    OSError,
)
"""Exceptions of a request to the API server: refusals, broken connections, truncated JSON."""

Object = dict[str, Any]


class Sink(Protocol):
    """Receives the objects of one kind."""

    def replaced(self, objects: list[Object]) -> None:
        """Take `objects` as the complete list."""

    def changed(self, kind: str, item: Object) -> None:
        """Apply one watch event; `kind` is ADDED, MODIFIED or DELETED."""


class PendingWrites:
    """Our writes that the watch has not reported yet, by a key of the object.

    Only a watch delivers states in their order: the answer to a write may arrive after the watch's
    report of what somebody else wrote next. So an answer is never taken for the object's state; the
    object only counts as unknown until the watch reports the write, or a later state. Versions are
    ordered: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """

    def __init__(self) -> None:
        self._written: dict[str, int] = {}
        self._reported: dict[str, int] = {}

    def wrote(self, key: str, answer: Object) -> None:
        """Record the API server's answer to a write of ours."""
        self._written[key] = _version(answer)

    def reported(self, key: str, item: Object) -> None:
        """Record a state, also that of a deleted object, that the watch reported."""
        # Kept also without a write of ours: its answer may still be under way.
        self._reported[key] = _version(item)

    def listed(self) -> None:
        """Forget all writes: a complete list was taken, and a watch follows it."""
        self._written.clear()
        self._reported.clear()

    def behind(self, key: str) -> bool:
        """Whether a write of ours to this object is not reported yet."""
        return self._reported.get(key, 0) < self._written.get(key, 0)


def _version(item: Object) -> int:
    return int(item["metadata"]["resourceVersion"])


@dataclass
class Follower:
    """Lists and watches one kind of object, and passes each change to `sink`.

    `fields`: a field selector. `namespace`: "*" for all, None for a kind without namespaces.
    `quiet`: seconds without events after which the watch is opened again. `synced`: set when the
    first list has arrived. `problem`: why the sink may be out of date, "" if it is not.
    """

    client: Any  # AsyncClient, whose overloads do not know generic resources
    kind: Any
    sink: Sink
    fields: dict[str, str] | None = None
    namespace: str | None = "*"
    quiet: float = QUIET_SECONDS
    synced: asyncio.Event = field(default_factory=asyncio.Event)
    problem: str = "not asked yet"

    async def run(self) -> None:
        """List and watch until cancelled; after a failure, wait and list again."""
        wait = BACKOFF_SECONDS[0]
        while True:
            started = time.monotonic()
            try:
                version = await self._list()
                await self._watch(version)
            except API_FAILURES as failure:
                self.problem = f"{self.kind.__name__}: {failure or type(failure).__name__}"
                expired = isinstance(failure, ApiError) and failure.status.code == 410
                (log.info if expired else log.warning)("watch ended, listing again: %s", self)
            if time.monotonic() - started > STEADY_SECONDS:
                wait = BACKOFF_SECONDS[0]
            await asyncio.sleep(wait * (0.5 + random.random() / 2))  # noqa: S311 - only spreads load
            wait = min(wait * 2, BACKOFF_SECONDS[1])

    def __str__(self) -> str:
        return self.problem

    async def _list(self) -> str:
        listing = self.client.list(
            self.kind, chunk_size=500, fields=self.fields, namespace=self.namespace
        )
        objects = [cast(Object, item) async for item in listing]
        self.sink.replaced(objects)
        self.problem = ""
        self.synced.set()
        return cast(str, listing.resourceVersion)

    async def _watch(self, version: str) -> None:
        while True:
            events = self.client.watch(
                self.kind, resource_version=version, fields=self.fields, namespace=self.namespace
            )
            async with contextlib.aclosing(cast("_Events", events)) as stream:
                with contextlib.suppress(TimeoutError):
                    while True:
                        async with asyncio.timeout(self.quiet):
                            kind, item = await anext(stream)
                        version = item["metadata"]["resourceVersion"]
                        self.sink.changed(kind, item)


class _Events(Protocol):
    """The real type of lightkube's watch: an asynchronous generator."""

    def __aiter__(self) -> AsyncIterator[tuple[str, Object]]: ...
    def __anext__(self) -> Any: ...
    async def aclose(self) -> None: ...


def connect(kubeconfig: Path | None = None) -> AsyncClient:
    """Return a client of the API server.

    It uses the first of these that is present: `kubeconfig`, the pod's service account, and
    $KUBECONFIG. Raises DiscoveryError if none is present, or if the first one cannot be used.
    """
    try:
        if kubeconfig is not None:
            config = KubeConfig.from_file(kubeconfig)
        elif "KUBERNETES_SERVICE_HOST" in os.environ:
            config = KubeConfig.from_service_account()
        elif "KUBECONFIG" in os.environ:
            config = KubeConfig.from_file(os.environ["KUBECONFIG"])
        else:
            raise DiscoveryError(
                "no access to a Kubernetes API: not in a pod, and no kubeconfig given",
                hint="pass --kubeconfig FILE or set KUBECONFIG",
            )
        return AsyncClient(config=config, trust_env=False)
    except (ConfigError, OSError, KeyError, msgspec.MsgspecError) as failure:
        raise DiscoveryError(
            f"no access to a Kubernetes API: {failure}", hint="check --kubeconfig and its contents"
        ) from failure
