"""Creates and keeps the lab's own CA, and the serving certificate that the CA signs for discovery.

    .lab/NAME/certificates/ca.crt, ca.key
    .lab/NAME/certificates/SERVICE/tls.crt, tls.key     (without a chain: the CA itself signs it)

The webhook's certificate is not among these files: discovery creates and rotates it in the cluster
(lab/mesh/trust).
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
    from lab.mesh.trust.x509 import Pair


@dataclass(frozen=True)
class Serving:
    """Holds the serving certificate of one Service, its key and the CA's certificate, as PEM."""

    service: str
    certificate: str
    key: str
    authority: str


SERVICES = (contract.DISCOVERY_SERVICE,)


def ensure(folder: Path, now: datetime.datetime | None = None) -> tuple[list[Serving], list[str]]:
    """Returns the serving certificates, and the list of what had to be created.

    Creates the CA if it is missing, damaged or about to expire. Creates a serving certificate for
    the same reasons, and also if it is for other DNS names or signed by another CA. The list holds
    "ca" for the CA and the Service's name for a serving certificate; it is empty if all were good.
    """
    if now is None and (kept := _recently_checked(folder)):
        return kept, []
    moment = now or datetime.datetime.now(datetime.UTC)
    created: list[str] = []
    root = _authority(folder, moment, created)
    for service in SERVICES:
        _serving(folder / service, service, root, moment, created)
    serving = _read(folder)
    until = moment + datetime.timedelta(days=1)
    write_atomically(folder / "checked", f"{digest(serving)} {until.isoformat()}\n")
    return serving, created


def digest(serving: Sequence[Serving]) -> str:
    """Returns one digest of all certificates and CAs; it changes when any of them changes."""
    text = "".join(pair.certificate + pair.authority for pair in serving)
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
    """Returns the certificates if exactly these passed a full check less than a day ago.

    Else returns None. This spares most commands the slow import of the package `cryptography`. The
    file `checked` holds the digest of the checked certificates, and the time until which the result
    of the check may be used.
    """
    try:
        kept = _read(folder)
        checked, until = (folder / "checked").read_text().split()
        fresh = datetime.datetime.now(datetime.UTC) < datetime.datetime.fromisoformat(until)
    except (FileNotFoundError, ValueError):
        return None
    return kept if fresh and checked == digest(kept) else None


def _authority(folder: Path, now: datetime.datetime, created: list[str]) -> "Pair":
    from lab.mesh.trust import (
        x509 as authority,
    )  # takes 0.15 s: imported only when a certificate is read

    existing = _load(folder / "ca.crt", folder / "ca.key")
    if existing and existing.certificate.not_valid_after_utc - now > authority.RENEW_BEFORE:
        return existing
    pair = authority.make_authority("Sidecar Lab root", now)
    _store(folder / "ca.crt", folder / "ca.key", pair)
    created.append("ca")
    return pair


def _serving(
    folder: Path, service: str, root: "Pair", now: datetime.datetime, created: list[str]
) -> None:
    from lab.mesh.trust import x509 as authority

    existing = _load(folder / "tls.crt", folder / "tls.key")
    good = (
        existing is not None
        and authority.issued_for(
            existing.certificate, contract.dns_names(service), root.certificate
        )
        and existing.certificate.not_valid_after_utc - now > authority.RENEW_BEFORE
    )
    if not good:
        pair = authority.make_serving(contract.dns_names(service), root, now)
        _store(folder / "tls.crt", folder / "tls.key", pair)
        created.append(service)


def _load(certificate: Path, key: Path) -> "Pair | None":
    """Returns the certificate and the key from two files.

    Returns None if a file is missing or damaged, or if the key does not belong to the certificate.
    """
    from lab.mesh.trust import x509 as authority

    try:
        return authority.read_pair(certificate.read_bytes(), key.read_bytes())
    except FileNotFoundError:
        return None


def _store(certificate: Path, key: Path, pair: "Pair") -> None:
    from lab.mesh.trust import x509 as authority

    write_atomically(key, authority.key_pem(pair.key), 0o600)
    write_atomically(certificate, authority.pem(pair.certificate), 0o644)
