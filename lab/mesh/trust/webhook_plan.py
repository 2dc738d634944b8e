"""Decides which change is needed next so that API servers trust the webhook. Does no I/O.

The decision depends on the present Secret, the present webhook configuration and the last valid
identity, but not on earlier decisions. So a controller that is restarted continues where it
stopped.
"""

import base64
import binascii
import datetime
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lab.mesh.contract import (
    CONTROL_NAMESPACE,
    ROTATE_ANNOTATION,
    ROTATED_ANNOTATION,
    WEBHOOK_SERVICE,
)
from lab.mesh.trust import webhook_identity as identities
from lab.mesh.trust.webhook_identity import Identity

Object = dict[str, Any]


class Action(Enum):
    """What a change does to the Secret. The values are used in the metric and in log lines."""

    NONE = ""
    """The Secret stays as it is."""
    MADE = "made"
    """A new identity is written, whose CA no API server trusts yet."""
    PUT_BACK = "put back"
    """The last valid identity is written again."""
    ROTATED = "rotated"
    """The identity that follows the present one is written."""
    SETTLED = "settled"
    """The present identity is written without the older CAs."""


@dataclass(frozen=True)
class TrustChange:
    """The next change: what is written to the Secret and to the webhook configuration.

    `identity`: the desired certificate and CA. `action`: what happens to the Secret. `reason`: why
    it happens, "" for NONE and SETTLED. `wrong_entries`: names of the webhook entries whose
    caBundle has to be written. `rotation`: the request for a rotation (a value of
    ROTATE_ANNOTATION) that this change fulfils, None if it fulfils none.
    """

    identity: Identity
    action: Action
    reason: str
    wrong_entries: tuple[str, ...]
    rotation: str | None = None

    @property
    def bundle_first(self) -> bool:
        """Whether the bundle is written before the Secret.

        This is so only for a new identity (MADE), which API servers must trust before a webhook
        serves it. In all other cases the Secret is written first, and only if nobody has changed it
        since the decision. So no bundle can hold a CA that was never stored.
        """
        return self.action is Action.MADE


def plan(
    secret: Object | None,
    configuration: Object | None,
    last: Identity | None,
    now: datetime.datetime,
) -> TrustChange:
    """Return the next change. `last`: the last valid identity, used if the Secret is lost."""
    held = identities.read(secret.get("data") or {}) if secret else None
    problem = identities.problem(held, now)
    asked = rotation_asked(secret)
    rotation = None
    if held is None or problem:
        # `last` is preferred: API servers and webhooks have it already.
        if last is not None and not identities.problem(last, now):
            identity, action, reason = last, Action.PUT_BACK, problem
        else:
            identity = identities.made(now, _trusted(configuration))
            action, reason = Action.MADE, problem
    elif asked is not None and not held.previous:
        identity, rotation = identities.rotated(held, now), asked
        action, reason = Action.ROTATED, "asked for"
    elif identities.due(held, now) and not held.previous:
        identity = identities.rotated(held, now)
        action, reason = Action.ROTATED, "near its end"
    else:
        identity, action, reason = held, Action.NONE, ""
    return TrustChange(identity, action, reason, wrong_entries(configuration, identity), rotation)


def rotation_asked(secret: Object | None) -> str | None:
    """Return the value of ROTATE_ANNOTATION; None if it is absent or fulfilled already."""
    notes = ((secret or {}).get("metadata") or {}).get("annotations") or {}
    asked = notes.get(ROTATE_ANNOTATION)
    return asked if asked and asked != notes.get(ROTATED_ANNOTATION) else None


def wrong_entries(configuration: Object | None, identity: Identity) -> tuple[str, ...]:
    """Return the names of webhook entries that call our Service without `identity`'s bundle."""
    wanted = encoded_bundle(identity)
    return tuple(
        hook["name"]
        for hook in (configuration or {}).get("webhooks") or ()
        if _is_ours(hook) and hook["clientConfig"].get("caBundle") != wanted
    )


def encoded_bundle(identity: Identity) -> str:
    """Return the identity's CA bundle in base64, as a webhook configuration holds it."""
    return base64.b64encode(identity.bundle.encode()).decode()


def secret_of(identity: Identity, before: Object | None, rotation: str | None, name: str) -> Object:
    """Return the Secret to write, with this identity.

    `before`: the present Secret; its type, labels and other annotations are kept. `rotation`: the
    request for a rotation that is now fulfilled, None if none is.
    """
    meta = (before or {}).get("metadata") or {}
    notes = dict(meta.get("annotations") or {})
    if rotation is not None:
        notes[ROTATED_ANNOTATION] = rotation
    kept = {key: meta[key] for key in ("labels", "resourceVersion") if key in meta}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        # The type of a Secret cannot be changed, so the type of an existing one stays.
        "type": (before or {}).get("type") or "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": CONTROL_NAMESPACE, "annotations": notes, **kept},
        "data": identities.data(identity),
    }


def _is_ours(hook: Object) -> bool:
    service = hook["clientConfig"].get("service") or {}
    return (service.get("namespace"), service.get("name")) == (CONTROL_NAMESPACE, WEBHOOK_SERVICE)


def _trusted(configuration: Object | None) -> str:
    """Return all CA certificates in our webhook entries' caBundles, as one PEM text."""
    certificates: dict[str, None] = {}
    for hook in (configuration or {}).get("webhooks") or ():
        if not _is_ours(hook):
            continue
        try:
            text = base64.b64decode(hook["clientConfig"].get("caBundle") or "").decode("ascii")
        except (binascii.Error, ValueError):
            continue
        certificates |= dict.fromkeys(identities.blocks(text))
    return "".join(certificates)
