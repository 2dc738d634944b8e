"""Defines an API server's rules for a volume and its mount, other than types of fields. Pure.

The rules come from Kubernetes' own validation: one function for each API type that has rules.
`pod_rules` applies them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lab.mesh.manifest.quantities import quantity
from lab.mesh.manifest.reading import FieldPath

Violations = Iterator[tuple[FieldPath, str]]
Object = Mapping[str, Any]

LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
SUBDOMAIN: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
QUANTITY: Final = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?"
_ACCESS: Final = frozenset({"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"})


def _driver(source: Object) -> Violations:
    if len(source["driver"]) > 63 or not re.fullmatch(SUBDOMAIN, source["driver"]):
        yield ("driver",), "is no name of a driver"
    secret = source.get("nodePublishSecretRef")
    if secret is not None and not secret.get("name"):
        yield ("nodePublishSecretRef", "name"), "is missing"


def _claim(claim: Object) -> Violations:
    if not claim.get("accessModes"):
        yield ("accessModes",), "is missing"
    elif not {*claim["accessModes"]} <= _ACCESS:
        yield ("accessModes",), f"must be of {', '.join(sorted(_ACCESS))}"
    asked = ((claim.get("resources") or {}).get("requests") or {}).get("storage")
    if not re.fullmatch(QUANTITY, str(asked)) or not quantity(str(asked)) > 0:
        yield ("resources", "requests", "storage"), "must be a quantity"


def _mount(mount: Object) -> Violations:
    for key in ("subPath", "subPathExpr"):
        if _leaves(mount.get(key) or ""):
            yield (key,), "must be a path below the volume"
    if mount.get("subPath") and mount.get("subPathExpr"):
        yield ("subPathExpr",), "cannot be set together with subPath"
    if mount.get("recursiveReadOnly") in ("IfPossible", "Enabled") and (
        not mount.get("readOnly") or mount.get("mountPropagation") not in (None, "None")
    ):
        yield ("recursiveReadOnly",), "needs readOnly, and no mountPropagation"


def _file(item: Object) -> Violations:
    if _leaves(item["path"]):
        yield ("path",), "must be a path below the volume"


def _projected_field(item: Object) -> Violations:
    yield from _file(item)
    if (item.get("fieldRef") is None) == (item.get("resourceFieldRef") is None):
        yield (), "needs one of fieldRef and resourceFieldRef"


def _token(token: Object) -> Violations:
    yield from _file(token)
    if not 600 <= token.get("expirationSeconds", 3600) <= 2**32:
        yield ("expirationSeconds",), "must be from 600 to 2^32"


def _host_path(source: Object) -> Violations:
    if climbs(source["path"]):
        yield ("path",), "must not hold '..'"


def _empty(source: Object) -> Violations:
    limit = str(source.get("sizeLimit", "0"))
    if re.fullmatch(QUANTITY, limit) and quantity(limit) < 0:
        yield ("sizeLimit",), "must not be negative"
    if not 0 <= source.get("mode", 0) <= 0o1777:
        yield ("mode",), "must be from 0 to 01777, in octal"


def _nfs(source: Object) -> Violations:
    if not source["path"].startswith("/"):
        yield ("path",), "must be absolute"


def climbs(path: str) -> bool:
    """Whether a path leads upwards, because it has an element `..`."""
    return ".." in path.split("/")


def _leaves(path: str) -> bool:
    return path.startswith("/") or climbs(path)


def _volume(volume: Object) -> Violations:
    if not re.fullmatch(LABEL, volume["name"]):
        yield ("name",), "is no name of a volume"


RULES: Final[Mapping[str, Callable[[Object], Violations]]] = {
    "Volume": _volume,
    "VolumeMount": _mount,
    "CSIVolumeSource": _driver,
    "PersistentVolumeClaimSpec": _claim,
    "KeyToPath": _file,
    "DownwardAPIVolumeFile": _projected_field,
    "ServiceAccountTokenProjection": _token,
    "HostPathVolumeSource": _host_path,
    "EmptyDirVolumeSource": _empty,
    "NFSVolumeSource": _nfs,
}
