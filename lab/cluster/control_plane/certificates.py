"""The lab's own authority and the serving certificate of its discovery.

    .lab/NAME/certificates/ca.crt, ca.key
    .lab/NAME/certificates/SERVICE/tls.crt, tls.key     (tls.crt holds no chain: the CA signs it)

The webhook's is not here: discovery makes and rotates it in the cluster (lab/mesh/webhook_trust).
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
    """One Service's certificate; the fields are PEM text, as its TLS Secret holds them."""

    service: str
    certificate: str
    key: str
    authority: str


SERVICES = (contract.DISCOVERY_SERVICE,)


def ensure(folder: Path, now: datetime.datetime | None = None) -> tuple[list[Serving], list[str]]:
    """The serving certificates, and the names of what had to be made ([]: all were sound).

    Made anew: what is missing, damaged, about to expire, for other names, or of another CA.
    """
    if now is None and (kept := _recently_checked(folder)):
        return kept, []
    moment = now or datetime.datetime.now(datetime.UTC)
    made: list[str] = []
    root = _authority(folder, moment, made)
    for service in SERVICES:
        _serving(folder / service, service, root, moment, made)
    serving = _read(folder)
    until = moment + datetime.timedelta(days=1)
    write_atomically(folder / "checked", f"{digest(serving)} {until.isoformat()}\n")
    return serving, made


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


def _authority(folder: Path, now: datetime.datetime, made: list[str]) -> "Pair":
    from lab.mesh.trust import x509 as authority  # 0.15 s: only where a certificate is looked at

    found = _load(folder / "ca.crt", folder / "ca.key")
    if found and found.certificate.not_valid_after_utc - now > authority.RENEW_BEFORE:
        return found
    pair = authority.make_authority("Sidecar Lab root", now)
    _store(folder / "ca.crt", folder / "ca.key", pair)
    made.append("ca")
    return pair


def _serving(
    folder: Path, service: str, root: "Pair", now: datetime.datetime, made: list[str]
) -> None:
    from lab.mesh.trust import x509 as authority

    found = _load(folder / "tls.crt", folder / "tls.key")
    sound = (
        found is not None
        and authority.issued_for(found.certificate, contract.dns_names(service), root.certificate)
        and found.certificate.not_valid_after_utc - now > authority.RENEW_BEFORE
    )
    if not sound:
        pair = authority.make_serving(contract.dns_names(service), root, now)
        _store(folder / "tls.crt", folder / "tls.key", pair)
        made.append(service)


def _load(certificate: Path, key: Path) -> "Pair | None":
    """Certificate and key if both are there and belong together."""
    from lab.mesh.trust import x509 as authority

    try:
        return authority.read_pair(certificate.read_bytes(), key.read_bytes())
    except FileNotFoundError:
        return None


def _store(certificate: Path, key: Path, pair: "Pair") -> None:
    from lab.mesh.trust import x509 as authority

    write_atomically(key, authority.key_pem(pair.key), 0o600)
    write_atomically(certificate, authority.pem(pair.certificate), 0o644)
