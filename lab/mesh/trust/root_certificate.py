"""Keeps the root certificate in each namespace that needs it: creates and repairs its ConfigMap.

Injected pods mount the ConfigMap; until it exists, their containers do not start.
"""

import asyncio
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from lightkube.core.exceptions import ApiError
from lightkube.types import PatchType

from lab.mesh.contract import CA_CONFIG_MAP, CA_CONFIG_MAP_KEY, IGNORED_NAMESPACES
from lab.mesh.errors import DiscoveryError
from lab.mesh.kubernetes_watch import API_FAILURES, ConfigMaps, Object, PendingWrites

log = logging.getLogger("lab.mesh.trust.root_certificate")

RETRY_SECONDS: Final = 1.0
"""Seconds to wait after a failed write, and between reads of the certificate file."""
AT_ONCE: Final = 8
"""How many writes may run at the same time."""


def wants_copy(namespace: Object) -> bool:
    """Return whether injected pods may be created in this namespace, so that it needs a copy."""
    meta = namespace["metadata"]
    return meta["name"] not in IGNORED_NAMESPACES and not meta.get("deletionTimestamp")


def lacking(namespaces: dict[str, bool], copies: dict[str, str], pem: str) -> dict[str, bool]:
    """Return the namespaces whose copy is wrong (name → True) or missing (name → False).

    `namespaces`: name → whether it needs a copy. `copies`: namespace → the certificate in its copy.
    `pem`: the certificate that every copy must hold.
    """
    return {
        name: name in copies
        for name, wanted in sorted(namespaces.items())
        if wanted and copies.get(name) != pem
    }


def read_root(path: Path) -> str:
    """Return the PEM text in the file. Raises DiscoveryError if it cannot be read or is not PEM."""
    try:
        pem = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as failure:
        raise DiscoveryError(f"no root certificate: {failure}", hint="see --root-cert") from failure
    if "BEGIN CERTIFICATE" not in pem:
        raise DiscoveryError(f"{path} holds no PEM certificate", hint="see --root-cert")
    return pem


@dataclass
class _Held:
    """A sink that holds the latest copies or namespaces, and sets `wake` at every change.

    If `by_copy`, it receives ConfigMaps, and `texts` is: namespace → the certificate in its copy.
    Otherwise it receives namespaces, and `bools` is: name → whether the namespace needs a copy.
    """

    wake: asyncio.Event
    by_copy: bool

    def __post_init__(self) -> None:
        self.bools: dict[str, bool] = {}
        self.texts: dict[str, str] = {}
        self.pending = PendingWrites()

    def replaced(self, objects: list[Object]) -> None:
        """Replace what is held by `objects`, a new complete list."""
        self.bools, self.texts = {}, {}
        self.pending.listed()
        for item in objects:
            self._put(item)
        self.wake.set()

    def changed(self, kind: str, item: Object) -> None:
        """Apply one watch event; `kind` is ADDED, MODIFIED or DELETED."""
        if self.by_copy:
            self.pending.reported(item["metadata"]["namespace"], item)
        if kind == "DELETED":
            meta = item["metadata"]
            self.bools.pop(meta["name"], None)
            self.texts.pop(meta.get("namespace", ""), None)
        else:
            self._put(item)
        self.wake.set()

    def _put(self, item: Object) -> None:
        meta = item["metadata"]
        if self.by_copy:
            text = (item.get("data") or {}).get(CA_CONFIG_MAP_KEY, "")
            self.texts[meta["namespace"]] = text
        else:
            self.bools[meta["name"]] = wants_copy(item)


@dataclass
class Trust:
    """Keeps each namespace's copy of the root certificate up to date.

    `root`: the file of the certificate; it is read again after each second without changes.
    """

    client: Any  # AsyncClient, whose overloads do not know generic resources
    root: Path
    config_map: str = CA_CONFIG_MAP
    written: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.pem = read_root(self.root)
        self.namespaces = _Held(self.wake, by_copy=False)
        self.copies = _Held(self.wake, by_copy=True)

    async def run(self, synced: list[asyncio.Event]) -> None:
        """Write copies that are missing or wrong whenever something changes, until cancelled.

        It begins when all events of `synced` are set: then both lists are complete.
        """
        for event in synced:
            await event.wait()
        while True:
            self.wake.clear()
            lack = lacking(self.namespaces.bools, self.copies.texts, self.pem)
            limit = asyncio.Semaphore(AT_ONCE)
            behind = self.copies.pending.behind
            await asyncio.gather(
                *(
                    self._write(limit, name, there)
                    for name, there in lack.items()
                    if not behind(name)
                )
            )
            try:
                async with asyncio.timeout(RETRY_SECONDS):
                    await self.wake.wait()
            except TimeoutError:
                self._read_again()

    def _read_again(self) -> None:
        try:
            self.pem = read_root(self.root)
        except DiscoveryError as failure:
            log.warning("keeping the last root certificate: %s", failure.message)

    async def _write(self, limit: asyncio.Semaphore, namespace: str, there: bool) -> None:
        content: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.config_map, "namespace": namespace},
            "data": {CA_CONFIG_MAP_KEY: self.pem},
        }
        async with limit:
            try:
                write = self._repair if there else self._create
                answer = await write(namespace, content)
            except API_FAILURES as failure:
                log.warning("root certificate of namespace %s: %s", namespace, failure)
                return
        self.written += 1
        self.copies.pending.wrote(namespace, answer)
        log.info("root certificate %s in %s", "repaired" if there else "created", namespace)

    async def _create(self, namespace: str, content: Object) -> Object:
        try:
            return cast(
                Object, await self.client.create(ConfigMaps(**content), namespace=namespace)
            )
        except ApiError as refused:
            if refused.status.code != 409:
                raise
            return await self._repair(namespace, content)

    async def _repair(self, namespace: str, content: Object) -> Object:
        patch = {"data": content["data"]}
        try:
            answer = await self.client.patch(
                ConfigMaps,
                self.config_map,
                patch,
                namespace=namespace,
                patch_type=PatchType.MERGE,
            )
        except ApiError as refused:
            if refused.status.code != 404:
                raise
            answer = await self.client.create(ConfigMaps(**content), namespace=namespace)
        return cast(Object, answer)
