"""Maintains the webhook's certificate, its CA and the caBundle, so that API servers trust it.

It watches the Secret from which the webhooks serve, and the webhook configuration. It restores a
lost or damaged Secret or caBundle. It rotates the certificate when an annotation requests it, or
before it expires; meanwhile no admission is refused (lab/mesh/trust/webhook_identity.py says why).
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
from lab.mesh.kubernetes_watch import (
    API_FAILURES,
    Follower,
    Object,
    PendingWrites,
    Secrets,
    WebhookConfigurations,
)
from lab.mesh.trust import webhook_identity as identities
from lab.mesh.trust import webhook_plan
from lab.mesh.trust.webhook_identity import Identity
from lab.mesh.trust.webhook_plan import Action, TrustChange

log = logging.getLogger("lab.mesh.trust.webhook_trust")

LOOK_SECONDS: Final = 0.2
"""Seconds between checks of the webhooks' certificates, and from a failed write to the next."""
RENEWAL_SECONDS: Final = 3600.0
"""Seconds between checks of the certificates' expiry when nothing else happens."""
HANDSHAKE_SECONDS: Final = 2.0
"""Seconds that one webhook may take to show its certificate."""


@dataclass
class Latest:
    """A sink that holds the latest state of a single object."""

    wake: asyncio.Event
    item: Object | None = None
    pending: PendingWrites = field(default_factory=PendingWrites)

    @property
    def behind(self) -> bool:
        """Whether the watch has not delivered our last write yet."""
        return self.pending.behind("")

    def wrote(self, answer: Object) -> None:
        """Record the API server's answer to our own write."""
        self.pending.wrote("", answer)

    def replaced(self, objects: list[Object]) -> None:
        """Handle a new complete list: `item` becomes its first object, None if it is empty."""
        self.item = objects[0] if objects else None
        self.pending.listed()
        self.wake.set()

    def changed(self, kind: str, item: Object) -> None:
        """Apply one watch event; `kind` is ADDED, MODIFIED or DELETED."""
        self.item = None if kind == "DELETED" else item
        self.pending.reported("", item)
        self.wake.set()


@dataclass
class WebhookTrust:
    """The controller that maintains the webhook's Secret and its webhook configuration.

    `addresses` returns the current addresses of the webhooks, whose TLS port is `port`. `counts`:
    the number of writes of each kind. `last`: the last valid identity.
    """

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
        """Correct Secret and configuration whenever one of them changes, until cancelled."""
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
        """Make the next change, if any; return the seconds after which to check again.

        A change of the Secret or of the configuration ends this wait early.
        """
        if self.secret.behind or self.configuration.behind:
            return RENEWAL_SECONDS
        now = datetime.datetime.now(datetime.UTC)
        secret = self.secret.item
        change = webhook_plan.plan(secret, self.configuration.item, self.last, now)
        try:
            if change.wrong_entries and change.bundle_first:
                await self._patch(change)
            if change.action is not Action.NONE:
                await self._write(change, secret)
            if change.wrong_entries and not change.bundle_first:
                await self._patch(change)
        except API_FAILURES as failure:
            log.warning("webhook trust: %s", failure)
            return LOOK_SECONDS
        self.last = change.identity
        if change.action is not Action.NONE or not change.identity.previous:
            return RENEWAL_SECONDS
        if self.wake.is_set() or not await self._everyone_serves(change.identity):
            return LOOK_SECONDS
        try:
            await self._write(
                TrustChange(identities.settled(change.identity), Action.SETTLED, "", ()), secret
            )
        except API_FAILURES as failure:
            log.warning("webhook trust: %s", failure)
        return LOOK_SECONDS

    async def _patch(self, change: TrustChange) -> None:
        bundle = webhook_plan.encoded_bundle(change.identity)
        hooks = [
            {"name": name, "clientConfig": {"caBundle": bundle}} for name in change.wrong_entries
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
        log.info("caBundle written for %s", ", ".join(change.wrong_entries))

    async def _write(self, change: TrustChange, secret: Object | None) -> None:
        """Write the Secret.

        `secret`: the Secret as it was when the change was decided, None if there was none. Raises
        one of API_FAILURES, also when somebody has written the Secret since then; then nothing is
        written.
        """
        content = webhook_plan.secret_of(change.identity, secret, change.rotation, WEBHOOK_SERVICE)
        wanted = Secrets(**content)
        if secret is None:
            answer = await self.client.create(wanted, namespace=CONTROL_NAMESPACE)
        else:
            answer = await self.client.replace(wanted, namespace=CONTROL_NAMESPACE)
        self.secret.wrote(answer)
        self.last = change.identity
        label = change.action.value
        self.counts[label] += 1
        why = f"{label}: {change.reason}" if change.reason else label
        log.info("webhook certificate %s", why)

    async def _everyone_serves(self, identity: Identity) -> bool:
        """Return whether each webhook that gets requests serves this identity's certificate.

        Returns False if no webhook gets requests.
        """
        addresses = list(self.addresses())
        shown = await asyncio.gather(*(self._shown(address) for address in addresses))
        return bool(shown) and all(certificate == identity.leaf for certificate in shown)

    async def _shown(self, address: str) -> bytes | None:
        """Return the certificate that a webhook serves, in DER; None if nothing answers."""
        # Not verified: the certificate is only read, and nothing is sent.
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
