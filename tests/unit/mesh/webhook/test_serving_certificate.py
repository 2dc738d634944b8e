"""The webhook's certificate from a Secret: the last usable one stays in use."""

import base64
import datetime
import ssl
from typing import Any

import pytest

from lab.mesh.errors import SidecarLabError
from lab.mesh.trust import webhook_identity as identities
from lab.mesh.webhook.serving_certificate import SecretCertificate
from tests.unit import handshake

NOW = datetime.datetime.now(datetime.UTC)


def secret(identity: identities.Identity, **data: str) -> dict[str, Any]:
    return {"data": {**identities.data(identity), **data}}


def served(certificate: SecretCertificate) -> bytes | None:
    """What a handshake shows."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname, theirs.verify_mode = False, ssl.CERT_NONE
    return handshake.shown(certificate.context, theirs)


def told(certificate: SecretCertificate) -> list[tuple[str, str]]:
    said: list[tuple[str, str]] = []
    certificate._say = lambda event, why: said.append((event, why))
    return said


def test_each_usable_secret_is_served_and_a_deleted_one_goes_on() -> None:
    certificate = SecretCertificate("mesh/webhook")
    said = told(certificate)
    first = identities.made(NOW)
    second = identities.rotated(first, NOW)
    certificate.replaced([])
    assert not certificate._first.is_set()
    certificate.replaced([secret(first)])
    assert certificate._first.is_set()
    assert served(certificate) == first.leaf
    certificate.changed("MODIFIED", secret(second))
    certificate.changed("MODIFIED", secret(second))
    certificate.changed("DELETED", secret(second))
    certificate.replaced([])
    assert served(certificate) == second.leaf
    assert said == [("certificate reloaded", "")] * 2


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"tls.crt": "%"}, "unusable"),
        ({"tls.crt": base64.b64encode(b"no PEM").decode()}, "unusable"),
        ({"tls.key": identities.data(identities.made(NOW))["tls.key"]}, "unusable"),
    ],
)
def test_a_damaged_secret_is_told_and_never_served(data: dict[str, str], why: str) -> None:
    certificate = SecretCertificate("mesh/webhook")
    said = told(certificate)
    first = identities.made(NOW)
    certificate.replaced([secret(first)])
    certificate.changed("MODIFIED", secret(first, **data))
    assert served(certificate) == first.leaf
    ((_, reloaded), (event, problem)) = said
    assert (reloaded, event) == ("", "certificate not reloaded")
    assert why in problem


def test_a_secret_without_a_key_is_told_by_name() -> None:
    certificate = SecretCertificate("mesh/webhook")
    said = told(certificate)
    item = secret(identities.made(NOW))
    del item["data"]["tls.key"]
    certificate.replaced([item])
    assert said == [("certificate not reloaded", "the Secret has no 'tls.key'")]


@pytest.mark.parametrize("name", ["webhook", "mesh/", "/webhook", ""])
def test_a_secret_is_named_with_its_namespace(name: str) -> None:
    with pytest.raises(SidecarLabError, match="NAMESPACE/NAME"):
        SecretCertificate(name)
