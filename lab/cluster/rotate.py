"""`lab rotate`: requests a new CA and certificate for the webhook; waits until pods serve it."""

import base64
import hashlib
import ssl
import time
import uuid
from dataclasses import dataclass

from lab.errors import ClusterError
from lab.kube.client import KubeApi
from lab.kube.errors import NotFoundError
from lab.kube.paths import Object, collection, named
from lab.kube.watch import watch
from lab.mesh import contract
from lab.progress import Task

_SECRETS = collection(("v1", "Secret"), contract.CONTROL_NAMESPACE)
SECRET = f"{_SECRETS}/{contract.WEBHOOK_SERVICE}"
"""API path of the Secret that holds the webhook's CA and certificate."""


@dataclass(frozen=True)
class Rotated:
    """One finished rotation.

    `fingerprint`: SHA-256 of the new serving certificate. `seconds`: time from the request until
    every webhook pod served that certificate.
    """

    fingerprint: str
    seconds: float


def request(api: KubeApi) -> str:
    """Request a rotation in an annotation of the webhook's Secret; returns the id of the request.

    When discovery (the server of our control plane) has made the new certificate, it writes the id
    into a second annotation. Raises ClusterError when there is no such Secret.
    """
    request_id = uuid.uuid4().hex
    body = {"metadata": {"annotations": {contract.ROTATE_ANNOTATION: request_id}}}
    try:
        api.request("PATCH", SECRET, body, "application/merge-patch+json")
    except NotFoundError as error:
        raise ClusterError(
            "there is no certificate to rotate: the lab is not up, or its mesh is Istio",
            hint="`lab status` shows the mesh, `lab up` installs ours",
        ) from error
    return request_id


def rotate(api: KubeApi, seconds: float, task: Task) -> Rotated:
    """Rotate once and wait until every webhook pod serves the new certificate.

    Raises ClusterError when the rotation takes more than `seconds`.
    """
    started = time.monotonic()
    request_id = request(api)
    why = "the Secret was not read yet"
    for secrets in watch(api, _SECRETS, seconds, named(contract.WEBHOOK_SERVICE)):
        secret = secrets[0] if secrets else None
        if (
            secret is not None
            and _annotations(secret).get(contract.ROTATE_ANNOTATION) != request_id
        ):
            # The Secret was lost and created again without our request.
            request_id = request(api)
        why = unfinished(secret, request_id)
        if not why and secret is not None:
            return Rotated(fingerprint(secret), time.monotonic() - started)
        task.update(why)
    raise ClusterError(
        f"the rotation was not complete after {seconds:.0f} s: {why}",
        hint=f"the log of deployment/{contract.DISCOVERY_SERVICE} shows what discovery waits for",
    )


def unfinished(secret: Object | None, request_id: str) -> str:
    """Returns what the rotation still waits for; "" when the rotation is complete."""
    if secret is None:
        return "the Secret is gone; discovery creates it again"
    if _annotations(secret).get(contract.ROTATED_ANNOTATION) != request_id:
        return "discovery has not rotated yet"
    if "previous.crt" in secret.get("data", {}):
        return "not every webhook serves the new certificate yet"
    return ""


def fingerprint(secret: Object) -> str:
    """Returns the SHA-256 of the Secret's serving certificate (DER) as hexadecimal digits."""
    chain = base64.b64decode(secret["data"]["tls.crt"]).decode()
    first = chain[: chain.index(ssl.PEM_FOOTER) + len(ssl.PEM_FOOTER)]
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()


def _annotations(secret: Object) -> dict[str, str]:
    return dict(secret["metadata"].get("annotations") or {})
