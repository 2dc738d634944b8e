"""What is to be done so that API servers trust the webhook; pure.

Read from what is there (Secret, webhook configuration) and what was sound last; nothing of it
depends on what was done before, so a controller that is restarted goes on where it was.
"""

import base64
import binascii
import datetime
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Plan:
    """`identity` is what shall hold. `why` is said when the Secret is written ("": it is not).

    `wrong_entries` names those of the configuration whose caBundle is to be written. `rotation` is
    the request that this answers, None when nobody asked.
    """

    identity: Identity
    why: str
    wrong_entries: tuple[str, ...]
    rotation: str | None = None

    @property
    def bundle_first(self) -> bool:
        """Whether the bundle is to be written before the Secret.

        Else after it: the Secret is only written as long as it is what the plan was made from,
        so that no bundle is written for an identity that never came to be.
        """
        return self.why.startswith("made")


def plan(
    secret: Object | None,
    configuration: Object | None,
    last: Identity | None,
    now: datetime.datetime,
) -> Plan:
    """The next thing to do. `last`: the last sound identity seen, used where the Secret is lost."""
    held = identities.read(secret.get("data") or {}) if secret else None
    bad = identities.trouble(held, now)
    asked = rotation_asked(secret)
    rotation = None
    if held is None or bad:
        # With the same content nobody notices: a new one would have to reach everyone first.
        if last is not None and not identities.trouble(last, now):
            identity, why = last, f"put back: {bad}"
        else:
            identity, why = identities.made(now, _trusted(configuration)), f"made: {bad}"
    elif asked is not None and not held.previous:
        identity, why, rotation = identities.rotated(held, now), "rotated: asked for", asked
    elif identities.due(held, now) and not held.previous:
        identity, why = identities.rotated(held, now), "rotated: near its end"
    else:
        identity, why = held, ""
    return Plan(identity, why, wrong_entries(configuration, identity), rotation)


def rotation_asked(secret: Object | None) -> str | None:
    """The request for a rotation that is not answered yet."""
    notes = ((secret or {}).get("metadata") or {}).get("annotations") or {}
    asked = notes.get(ROTATE_ANNOTATION)
    return asked if asked and asked != notes.get(ROTATED_ANNOTATION) else None


def wrong_entries(configuration: Object | None, identity: Identity) -> tuple[str, ...]:
    """Names of the entries that call our Service and do not hold just this identity's bundle."""
    wanted = encoded_bundle(identity)
    return tuple(
        hook["name"]
        for hook in (configuration or {}).get("webhooks") or ()
        if _is_ours(hook) and hook["clientConfig"].get("caBundle") != wanted
    )


def encoded_bundle(identity: Identity) -> str:
    """The bundle as a webhook configuration holds it."""
    return base64.b64encode(identity.bundle.encode()).decode()


def secret_of(identity: Identity, before: Object | None, rotation: str | None, name: str) -> Object:
    """The Secret to write. The caller's other annotations and labels stay as they were."""
    meta = (before or {}).get("metadata") or {}
    notes = dict(meta.get("annotations") or {})
    if rotation is not None:
        notes[ROTATED_ANNOTATION] = rotation
    kept = {key: meta[key] for key in ("labels", "resourceVersion") if key in meta}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        # A Secret's type cannot be changed; another's is left as it is.
        "type": (before or {}).get("type") or "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": CONTROL_NAMESPACE, "annotations": notes, **kept},
        "data": identities.data(identity),
    }


def _is_ours(hook: Object) -> bool:
    service = hook["clientConfig"].get("service") or {}
    return (service.get("namespace"), service.get("name")) == (CONTROL_NAMESPACE, WEBHOOK_SERVICE)


def _trusted(configuration: Object | None) -> str:
    """All that API servers trust now, as one PEM text."""
    seen: dict[str, None] = {}
    for hook in (configuration or {}).get("webhooks") or ():
        if not _is_ours(hook):
            continue
        try:
            text = base64.b64decode(hook["clientConfig"].get("caBundle") or "").decode("ascii")
        except (binascii.Error, ValueError):
            continue
        seen |= dict.fromkeys(identities.blocks(text))
    return "".join(seen)
