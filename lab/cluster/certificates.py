"""The lab's own authority and the serving certificates of its control plane.

    .lab/NAME/certificates/ca.crt, ca.key
    .lab/NAME/certificates/SERVICE/tls.crt, tls.key     (tls.crt holds no chain: the CA signs it)

Keys are ECDSA P-256: made in a millisecond, and every TLS library here knows them.
"""

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab.cluster.state import write_atomically
from lab.mesh import contract

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY_DAYS = 3650
SERVING_DAYS = 365
RENEW_BEFORE = datetime.timedelta(days=30)
"""A certificate with less than this left is made anew by the next `up`."""


@dataclass(frozen=True)
class Serving:
    """One Service's certificate; the fields are PEM text, as its TLS Secret holds them."""

    service: str
    certificate: str
    key: str
    authority: str


def dns_names(service: str) -> tuple[str, ...]:
    """The names under which a Service of the control plane is called."""
    base = f"{service}.{contract.CONTROL_NAMESPACE}"
    return (f"{base}.svc", f"{base}.svc.{contract.CLUSTER_DOMAIN}", base, service)


SERVICES = (contract.WEBHOOK_SERVICE, contract.DISCOVERY_SERVICE)


def ensure(folder: Path, now: datetime.datetime | None = None) -> tuple[list[Serving], list[str]]:
    """The serving certificates, and the names of what had to be made ([]: all were sound).

    Made anew: what is missing, damaged, about to expire, for other names, or of another CA.
    """
    if now is None and (kept := _recently_checked(folder)):
        return kept, []
    moment = now or datetime.datetime.now(datetime.UTC)
    made: list[str] = []
    authority, authority_key = _authority(folder, moment, made)
    for service in SERVICES:
        _serving(folder / service, service, authority, authority_key, moment, made)
    return _read(folder), made


def digest(serving: Sequence[Serving]) -> str:
    """What identifies these certificates: a rollout is needed when it changes."""
    text = "".join(one.certificate + one.authority for one in serving)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(folder: Path) -> list[Serving]:
    authority = (folder / "ca.crt").read_text()
    return [
        Serving(
            service,
            (folder / service / "tls.crt").read_text(),
            (folder / service / "tls.key").read_text(),
            authority,
        )
        for service in SERVICES
    ]


def _recently_checked(folder: Path) -> list[Serving] | None:
    """What is there if a full check of just these bytes passed today; saves cryptography's import.

    The stamp holds the digest of what was checked and until when the check is good.
    """
    try:
        kept = _read(folder)
        what, until = (folder / "checked").read_text().split()
        fresh = datetime.datetime.now(datetime.UTC) < datetime.datetime.fromisoformat(until)
    except (FileNotFoundError, ValueError):
        return None
    return kept if fresh and what == digest(kept) else None


def _authority(
    folder: Path, now: datetime.datetime, made: list[str]
) -> "tuple[x509.Certificate, EllipticCurvePrivateKey]":
    from cryptography import x509  # 0.15 s: only where a certificate is looked at
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    found = _load(folder / "ca.crt", folder / "ca.key")
    if found and found[0].not_valid_after_utc - now > RENEW_BEFORE:
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Sidecar Lab"),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, "Sidecar Lab root"),
        ]
    )
    authority = (
        _builder(name, name, key, now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _store(folder / "ca.crt", folder / "ca.key", authority, key)
    made.append("ca")
    return authority, key


def _serving(
    folder: Path,
    service: str,
    authority: "x509.Certificate",
    authority_key: "EllipticCurvePrivateKey",
    now: datetime.datetime,
    made: list[str],
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    found = _load(folder / "tls.crt", folder / "tls.key")
    stamp = folder.parent / "checked"
    if not (found and _sound(found[0], service, authority, now)):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, dns_names(service)[0])])
        signer = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
        certificate = (
            _builder(name, authority.subject, key, now, SERVING_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(one) for one in dns_names(service)]),
                critical=False,
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer),
                critical=False,
            )
            .sign(authority_key, hashes.SHA256())
        )
        _store(folder / "tls.crt", folder / "tls.key", certificate, key)
        made.append(service)
    if service == SERVICES[-1]:
        until = now + datetime.timedelta(days=1)
        write_atomically(stamp, f"{digest(_read(folder.parent))} {until.isoformat()}\n")


def _sound(
    certificate: "x509.Certificate",
    service: str,
    authority: "x509.Certificate",
    now: datetime.datetime,
) -> bool:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (InvalidSignature, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    same = tuple(names.value.get_values_for_type(x509.DNSName)) == dns_names(service)
    return same and certificate.not_valid_after_utc - now > RENEW_BEFORE


def _builder(
    subject: "x509.Name",
    issuer: "x509.Name",
    key: "EllipticCurvePrivateKey",
    now: datetime.datetime,
    days: int,
) -> "x509.CertificateBuilder":
    from cryptography import x509

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


def _usage(*, signs: bool) -> "x509.KeyUsage":
    from cryptography import x509

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


def _load(
    certificate: Path, key: Path
) -> "tuple[x509.Certificate, EllipticCurvePrivateKey] | None":
    """Certificate and key if both are there and belong together."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
        private = load_pem_private_key(key.read_bytes(), None)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        return None
    return (loaded, private) if loaded.public_key() == private.public_key() else None


def _store(
    certificate: Path, key: Path, made: "x509.Certificate", private: "EllipticCurvePrivateKey"
) -> None:
    from cryptography.hazmat.primitives import serialization

    text = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    write_atomically(key, text, 0o600)
    pem = made.public_bytes(serialization.Encoding.PEM).decode()
    write_atomically(certificate, pem, 0o644)
