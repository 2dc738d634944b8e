"""What an API server refuses of a volume and of its mount beyond their types. Pure.

From Kubernetes' own validation, a rule for each type that has one; `pod_rules` applies them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from lab.mesh.manifest.quantities import quantity
from lab.mesh.manifest.yaml_reader import FieldPath

Found = Iterator[tuple[FieldPath, str]]
Object = Mapping[str, Any]

LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
SUBDOMAIN: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
QUANTITY: Final = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?"
_ACCESS: Final = frozenset({"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"})


def _driver(one: Object) -> Found:
    if len(one["driver"]) > 63 or not re.fullmatch(SUBDOMAIN, one["driver"]):
        yield ("driver",), "is no name of a driver"
    secret = one.get("nodePublishSecretRef")
    if secret is not None and not secret.get("name"):
        yield ("nodePublishSecretRef", "name"), "is missing"


def _claim(one: Object) -> Found:
    if not one.get("accessModes"):
        yield ("accessModes",), "is missing"
    elif not {*one["accessModes"]} <= _ACCESS:
        yield ("accessModes",), f"must be of {', '.join(sorted(_ACCESS))}"
    asked = ((one.get("resources") or {}).get("requests") or {}).get("storage")
    if not re.fullmatch(QUANTITY, str(asked)) or not quantity(str(asked)) > 0:
        yield ("resources", "requests", "storage"), "must be a quantity"


def _mount(one: Object) -> Found:
    for key in ("subPath", "subPathExpr"):
        if _leaves(one.get(key) or ""):
            yield (key,), "must be a path below the volume"
    if one.get("subPath") and one.get("subPathExpr"):
        yield ("subPathExpr",), "cannot stand beside subPath"
    if one.get("recursiveReadOnly") in ("IfPossible", "Enabled") and (
        not one.get("readOnly") or one.get("mountPropagation") not in (None, "None")
    ):
        yield ("recursiveReadOnly",), "needs readOnly, and no mountPropagation"


def _file(one: Object) -> Found:
    if _leaves(one["path"]):
        yield ("path",), "must be a path below the volume"


def _projected_field(one: Object) -> Found:
    yield from _file(one)
    if (one.get("fieldRef") is None) == (one.get("resourceFieldRef") is None):
        yield (), "needs one of fieldRef and resourceFieldRef"


def _token(one: Object) -> Found:
    yield from _file(one)
    if not 600 <= one.get("expirationSeconds", 3600) <= 2**32:
        yield ("expirationSeconds",), "must be from 600 to 2^32"


def _host_path(one: Object) -> Found:
    if climbs(one["path"]):
        yield ("path",), "must not hold '..'"


def _empty(one: Object) -> Found:
    limit = str(one.get("sizeLimit", "0"))
    if re.fullmatch(QUANTITY, limit) and quantity(limit) < 0:
        yield ("sizeLimit",), "must not be negative"
    if not 0 <= one.get("mode", 0) <= 0o1777:
        yield ("mode",), "must be from 0 to 01777, in octal"


def _nfs(one: Object) -> Found:
    if not one["path"].startswith("/"):
        yield ("path",), "must be absolute"


def climbs(path: str) -> bool:
    """Whether a path leads upwards."""
    return ".." in path.split("/")


def _leaves(path: str) -> bool:
    return path.startswith("/") or climbs(path)


def _volume(one: Object) -> Found:
    if not re.fullmatch(LABEL, one["name"]):
        yield ("name",), "is no name of a volume"


RULES: Final[Mapping[str, Callable[[Object], Found]]] = {
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
