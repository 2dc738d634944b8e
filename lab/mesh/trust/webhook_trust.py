"""Keeps API servers trusting the webhook: its certificate, its authority, and the caBundle.

Watches the Secret that the webhooks serve from, the webhook configuration, and the webhooks'
endpoints. What is lost or damaged is put back; a rotation that is asked for by annotation, or
due, goes through without a refused admission (lab/mesh/trust/webhook_identity.py says how).
"""

import asyncio
import contextlib
import datetime
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from lightkube.types import PatchType

from lab.mesh.contract import (
    CONTROL_NAMESPACE,
    WEBHOOK_CONFIGURATION,
    WEBHOOK_PORT,
    WEBHOOK_SERVICE,
)
from lab.mesh.kubernetes_watch import API_FAILURES, Follower, Object, Secrets, WebhookConfigurations
from lab.mesh.trust import webhook_identity as identities
from lab.mesh.trust import webhook_plan
from lab.mesh.trust.webhook_identity import Identity

log = logging.getLogger("lab.mesh.trust.webhook_trust")

LOOK_SECONDS: Final = 0.2
"""Between two looks at which certificate the webhooks serve, and before a failed write again."""
RENEWAL_SECONDS: Final = 3600.0
"""With nothing to do, how often the dates are looked at."""
HANDSHAKE_SECONDS: Final = 2.0
"""How long one webhook may take to show its certificate."""


@dataclass
class Latest:
    """A sink that holds the one object it is told of.

    Only a watch tells of objects in the order in which they were. The answer to a write may come
    after the watch's word of what somebody wrote next, so it is not held: `wrote` only says what
    the watch has yet to tell of. Versions are ordered:
    https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
    """

    wake: asyncio.Event
    item: Object | None = None
    version: int = 0
    awaited: int = 0

    @property
    def behind(self) -> bool:
        """Whether a write of ours is not seen yet."""
        return self.version < self.awaited

    def wrote(self, answer: Object) -> None:
        """The API server answered a write with this object."""
        self.awaited = _version(answer)

    def replaced(self, objects: list[Object]) -> None:
        """These are all there are."""
        self.item = objects[0] if objects else None
        # A list that is older than our write is followed by a watch that tells of it.
        self.version = self.awaited = 0
        self.wake.set()

    def changed(self, kind: str, item: Object) -> None:
        """One object was ADDED, MODIFIED or DELETED."""
        self.item = None if kind == "DELETED" else item
        self.version = _version(item)
        self.wake.set()


def _version(item: Object) -> int:
    return int(item["metadata"]["resourceVersion"])


@dataclass
class WebhookTrust:
    """The controller. `addresses` gives the webhooks' addresses as they are now."""

    client: Any  # AsyncClient, whose overloads do not know generic resources
    addresses: Callable[[], Iterable[str]]
    port: int = WEBHOOK_PORT
    counts: Counter[str] = field(default_factory=Counter)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    last: Identity | None = None

    def __post_init__(self) -> None:
        self.secret = Latest(self.wake)
        self.configuration = Latest(self.wake)
        self.followers = [
            Follower(
                self.client,
                Secrets,
                self.secret,
                fields={"metadata.name": WEBHOOK_SERVICE},
                namespace=CONTROL_NAMESPACE,
            ),
            Follower(
                self.client,
                WebhookConfigurations,
                self.configuration,
                fields={"metadata.name": WEBHOOK_CONFIGURATION},
                namespace=None,
            ),
        ]

    async def run(self) -> None:
        """Do what is to be done whenever something changes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for follower in self.followers:
                tasks.create_task(follower.run())
            await asyncio.gather(*(follower.synced.wait() for follower in self.followers))
            while True:
                self.wake.clear()
                wait = await self._reconcile()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self.wake.wait()

    async def _reconcile(self) -> float:
        """One round; how many seconds until the next if nothing changes meanwhile."""
        if self.secret.behind or self.configuration.behind:
            return RENEWAL_SECONDS
        now = datetime.datetime.now(datetime.UTC)
        secret = self.secret.item
        todo = webhook_plan.plan(secret, self.configuration.item, self.last, now)
        try:
            if todo.wrong_entries and todo.bundle_first:
                await self._patch(todo)
            if todo.why:
                await self._write(todo.identity, secret, todo.rotation, todo.why)
            if todo.wrong_entries and not todo.bundle_first:
                await self._patch(todo)
        except API_FAILURES as failure:
            log.warning("webhook trust: %s", failure)
            return LOOK_SECONDS
        self.last = todo.identity
        if todo.why or not todo.identity.previous:
            return RENEWAL_SECONDS
        if self.wake.is_set() or not await self._everyone_serves(todo.identity):
            return LOOK_SECONDS
        try:
            await self._write(identities.settled(todo.identity), secret, None, "settled")
        except API_FAILURES as failure:
            log.warning("webhook trust: %s", failure)
        return LOOK_SECONDS

    async def _patch(self, todo: webhook_plan.Plan) -> None:
        bundle = webhook_plan.encoded_bundle(todo.identity)
        hooks = [
            {"name": name, "clientConfig": {"caBundle": bundle}} for name in todo.wrong_entries
        ]
        version = (self.configuration.item or {})["metadata"]["resourceVersion"]
        answer = await self.client.patch(
            WebhookConfigurations,
            WEBHOOK_CONFIGURATION,
            # With the version: an entry that was removed meanwhile must not come back.
            {"metadata": {"resourceVersion": version}, "webhooks": hooks},
            patch_type=PatchType.STRATEGIC,
        )
        self.configuration.wrote(answer)
        self.counts["bundles"] += 1
        log.info("caBundle written for %s", ", ".join(todo.wrong_entries))

    async def _write(
        self, identity: Identity, secret: Object | None, rotation: str | None, why: str
    ) -> None:
        """Write the Secret unless it changed since `secret`. Raises one of API_FAILURES."""
        wanted = Secrets(**webhook_plan.secret_of(identity, secret, rotation, WEBHOOK_SERVICE))
        if secret is None:
            answer = await self.client.create(wanted, namespace=CONTROL_NAMESPACE)
        else:
            answer = await self.client.replace(wanted, namespace=CONTROL_NAMESPACE)
        self.secret.wrote(answer)
        self.last = identity
        self.counts[why.partition(":")[0]] += 1
        log.info("webhook certificate %s", why)

    async def _everyone_serves(self, identity: Identity) -> bool:
        """Whether each webhook that gets requests shows this identity's certificate."""
        addresses = list(self.addresses())
        shown = await asyncio.gather(*(self._shown(one) for one in addresses))
        return bool(shown) and all(one == identity.leaf for one in shown)

    async def _shown(self, address: str) -> bytes | None:
        """The certificate that a webhook serves, DER; None when it does not answer."""
        # Not verified: only what is shown is asked for, nothing is sent.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                _, writer = await asyncio.open_connection(address, self.port, ssl=context)
        except (OSError, TimeoutError):
            return None
        try:
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.close()
        return bytes(shown) if shown else None
