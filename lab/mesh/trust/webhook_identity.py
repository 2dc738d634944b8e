"""Makes, checks and rotates the webhook's TLS identity. Does no I/O.

An identity is a serving certificate, the CA (authority) that signed it, and the keys of both. A
rotation replaces all of them. The webhook's pods receive the new certificate, and the API servers
the new CA, at different moments. Whichever comes first, no pod may be refused:

- an API server with the old bundle verifies the new certificate, because the chain holds the
  new CA cross-signed by the old one, and so on for the last rotations;
- an API server with the new bundle verifies the old certificate, because the bundle holds the
  old CA until every webhook has shown the new certificate in a handshake.
"""

import base64
import binascii
import datetime
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from lab.mesh.contract import WEBHOOK_SERVICE, dns_names
from lab.mesh.trust import x509 as authority
from lab.mesh.trust.x509 import Pair

CROSS_SIGNED: Final = 4
"""How many rotations an API server may have missed and still verify the certificate. Each adds
about 700 bytes to a handshake. An API server uses a changed configuration within a second."""

_FIELDS: Final = {
    "chain": "tls.crt",
    "key": "tls.key",
    "authority": "ca.crt",
    "authority_key": "ca.key",
    "previous": "previous.crt",
}
"""Field of Identity → key in the Secret. Secrets of type kubernetes.io/tls usually have the first
three keys."""


@dataclass(frozen=True)
class Identity:
    """The webhook's TLS identity, as PEM texts.

    `chain`: the serving certificate, then the cross-signed CAs, newest first. `authority`: the CA.
    `previous`: older CAs, as long as a webhook may still serve a certificate that one of them
    signed, else "".
    """

    chain: str
    key: str
    authority: str
    authority_key: str
    previous: str = ""

    @property
    def bundle(self) -> str:
        """The CAs that API servers have to trust, as one PEM text."""
        return "".join(blocks(self.authority + self.previous))

    @property
    def leaf(self) -> bytes:
        """The serving certificate in DER, as a TLS handshake shows it."""
        first = blocks(self.chain)[0]
        return x509.load_pem_x509_certificate(first.encode()).public_bytes(
            serialization.Encoding.DER
        )


def blocks(pem: str) -> list[str]:
    """Return each certificate of a PEM text as its own PEM text; unreadable parts are left out."""
    certificates = []
    for part in pem.split(ssl.PEM_HEADER)[1:]:
        text = f"{ssl.PEM_HEADER}{part.split(ssl.PEM_FOOTER)[0]}{ssl.PEM_FOOTER}\n"
        try:
            x509.load_pem_x509_certificate(text.encode())
        except ValueError:
            continue
        certificates.append(text)
    return certificates


def made(now: datetime.datetime, trusted: str = "") -> Identity:
    """Return a new identity. `trusted`: the CAs that API servers trust now; they stay trusted."""
    root = _new_authority(now)
    return _signed(root, (), "".join(blocks(trusted)), now)


def rotated(before: Identity, now: datetime.datetime) -> Identity:
    """Return the identity that follows `before`: certificate, CA and keys are new.

    `before` must be valid: `problem` returns "" for it.
    """
    old = _authority_of(before)
    assert old is not None
    new = _new_authority(now)
    crosses = (authority.pem(authority.cross_signed(new, old, now)), *blocks(before.chain)[1:])
    return _signed(new, crosses[:CROSS_SIGNED], before.bundle, now)


def settled(identity: Identity) -> Identity:
    """Return the identity without `previous`, for use when every webhook serves its certificate."""
    return replace(identity, previous="")


def problem(identity: Identity | None, now: datetime.datetime) -> str:
    """Return why an API server cannot trust this identity, "" when it can."""
    if identity is None:
        return "there is none"
    root = _authority_of(identity)
    if root is None:
        return "ca.crt and ca.key are no pair"
    pair = authority.read_pair(identity.chain.encode(), identity.key.encode())
    if pair is None:
        return "tls.crt and tls.key are no pair"
    if not authority.issued_for(pair.certificate, dns_names(WEBHOOK_SERVICE), root.certificate):
        return "tls.crt was not issued by ca.crt for the webhook's names"
    for file, certificate in (("ca.crt", root.certificate), ("tls.crt", pair.certificate)):
        if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
            return f"{file} is not valid now"
    return ""


def due(identity: Identity, now: datetime.datetime) -> bool:
    """Return whether the certificate or the CA expires within RENEW_BEFORE.

    `identity` must be valid: `problem` returns "" for it.
    """
    ends = [
        x509.load_pem_x509_certificate(text.encode()).not_valid_after_utc
        for text in (identity.chain, identity.authority)
    ]
    return min(ends) - now < authority.RENEW_BEFORE


def read(data: Mapping[str, str]) -> Identity | None:
    """Return the identity in a Secret's `data` (base64); None if a part is missing or not text."""
    try:
        texts = {
            field: base64.b64decode(data[key], validate=True).decode("ascii")
            for field, key in _FIELDS.items()
            if key in data or field != "previous"
        }
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None
    return Identity(**texts)


def data(identity: Identity) -> dict[str, str]:
    """Return the identity as a Secret's `data` (base64)."""
    texts = {key: getattr(identity, field) for field, key in _FIELDS.items()}
    return {
        key: base64.b64encode(text.encode()).decode()
        for key, text in texts.items()
        if text or key != "previous.crt"
    }


def _new_authority(now: datetime.datetime) -> Pair:
    # The name holds the time: authorities with one name and different keys confuse path building.
    return authority.make_authority(f"Sidecar Lab webhook {now:%Y-%m-%dT%H:%M:%S.%fZ}", now)


def _authority_of(identity: Identity) -> Pair | None:
    return authority.read_pair(identity.authority.encode(), identity.authority_key.encode())


def _signed(root: Pair, crosses: Sequence[str], trusted: str, now: datetime.datetime) -> Identity:
    leaf = authority.make_serving(dns_names(WEBHOOK_SERVICE), root, now)
    return Identity(
        chain=authority.pem(leaf.certificate) + "".join(crosses),
        key=authority.key_pem(leaf.key),
        authority=authority.pem(root.certificate),
        authority_key=authority.key_pem(root.key),
        previous=trusted,
    )
