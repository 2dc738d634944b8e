"""Makes X.509 certificates for the control plane: CAs, serving certificates, cross-signed CAs.

Keys are ECDSA P-256: making one takes a millisecond, and every TLS library in use supports them.
This module does no I/O. Importing it takes 0.15 s, because it imports cryptography.
"""

import datetime
from collections.abc import Sequence
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

AUTHORITY_DAYS: Final = 3650
SERVING_DAYS: Final = 365
RENEW_BEFORE: Final = datetime.timedelta(days=30)
"""A certificate is replaced when it expires within this time."""


class Pair(NamedTuple):
    """A certificate and the private key that belongs to it."""

    certificate: x509.Certificate
    key: EllipticCurvePrivateKey


def make_authority(common_name: str, now: datetime.datetime) -> Pair:
    """Return a self-signed CA: its certificate and key.

    CAs with different keys need different names; otherwise clients cannot build the certificate's
    path to the CA.
    """
    key = generate_private_key(SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Sidecar Lab"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = _authority(_builder(name, name, key, now, AUTHORITY_DAYS), key)
    return Pair(builder.sign(key, hashes.SHA256()), key)


def make_serving(names: Sequence[str], authority: Pair, now: datetime.datetime) -> Pair:
    """Return a TLS server's certificate, signed by `authority`, and its key.

    `names`: its DNS names; the first one is also its common name.
    """
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    builder = (
        _builder(name, authority.certificate.subject, key, now, SERVING_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(dns_name) for dns_name in names]),
            critical=False,
        )
        .add_extension(_signer(authority), critical=False)
    )
    return Pair(builder.sign(authority.key, hashes.SHA256()), key)


def cross_signed(new: Pair, old: Pair, now: datetime.datetime) -> x509.Certificate:
    """Return a certificate with the new CA's name and key, signed by the old CA.

    A server sends it together with a certificate that the new CA signed. Then a client that trusts
    only the old CA can verify that certificate (RFC 4158, 2.1: cross certificates).
    """
    subject, issuer = new.certificate.subject, old.certificate.subject
    builder = _authority(_builder(subject, issuer, new.key, now, AUTHORITY_DAYS), new.key)
    return builder.add_extension(_signer(old), critical=False).sign(old.key, hashes.SHA256())


def issued_for(
    certificate: x509.Certificate,
    names: Sequence[str],
    authority: x509.Certificate,
) -> bool:
    """Return whether `authority` signed this certificate directly, for exactly these DNS names."""
    try:
        certificate.verify_directly_issued_by(authority)
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return tuple(extension.value.get_values_for_type(x509.DNSName)) == tuple(names)


def read_pair(certificate: bytes, key: bytes) -> Pair | None:
    """Return the first certificate of a PEM text with the key; None if the two are no pair."""
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, None)
    except (ValueError, TypeError):
        return None
    if not isinstance(private, EllipticCurvePrivateKey):
        return None
    return Pair(loaded, private) if loaded.public_key() == private.public_key() else None


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def key_pem(key: EllipticCurvePrivateKey) -> str:
    """Return a private key as PEM text, PKCS #8, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back: the clock of a virtual machine may lag behind this one's.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _authority(
    builder: x509.CertificateBuilder, key: EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _signer(authority: Pair) -> x509.AuthorityKeyIdentifier:
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
