"""What `lab rotate` waits for, from the Secret alone."""

import base64
import datetime
import hashlib
from typing import Any

import pytest

from lab.cluster import rotate
from lab.mesh import contract
from lab.mesh.trust import webhook_identity as identities

NOW = datetime.datetime.now(datetime.UTC)
BEFORE = identities.made(NOW)
DURING = identities.rotated(BEFORE, NOW)


def secret(identity: identities.Identity, rotated: str) -> dict[str, Any]:
    notes = {contract.ROTATE_ANNOTATION: "mine", contract.ROTATED_ANNOTATION: rotated}
    return {"metadata": {"annotations": notes}, "data": identities.data(identity)}


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (None, "the Secret is gone; discovery creates it again"),
        (secret(BEFORE, "earlier"), "discovery has not rotated yet"),
        (secret(DURING, "mine"), "not every webhook serves the new certificate yet"),
        (secret(identities.settled(DURING), "mine"), ""),
    ],
)
def test_a_rotation_is_done_when_it_was_answered_and_the_old_authority_is_gone(
    seen: dict[str, Any] | None, says: str
) -> None:
    assert rotate.unfinished(seen, "mine") == says


def test_the_fingerprint_is_of_the_serving_certificate_not_of_its_chain() -> None:
    assert base64.b64decode(secret(DURING, "x")["data"]["tls.crt"]).count(b"BEGIN") == 2
    assert rotate.fingerprint(secret(DURING, "x")) == hashlib.sha256(DURING.leaf).hexdigest()
