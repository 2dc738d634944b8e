"""Builds the volumes that injection adds to a pod, and their mounts in istio-proxy. Pure.

The parts that are the same in every pod are built once, and all results share them. So no caller
may change them in place.
"""

from typing import Any, Final

from lab.mesh import contract
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.pod_settings import Wishes

VOLUME_CONFIG: Final = "istio-envoy"
VOLUME_DATA: Final = "istio-data"
VOLUME_PODINFO: Final = "istio-podinfo"
VOLUME_ROOT: Final = "istiod-ca-cert"
VOLUMES: Final = (VOLUME_CONFIG, VOLUME_DATA, VOLUME_PODINFO, VOLUME_ROOT)
VOLUME_BOOTSTRAP: Final = "custom-bootstrap-volume"
BOOTSTRAP_DIR: Final = "/etc/istio/custom-bootstrap"
BOOTSTRAP_FILE: Final = f"{BOOTSTRAP_DIR}/custom_bootstrap.json"

_VOLUMES: Final = (
    {"name": VOLUME_CONFIG, "emptyDir": {"medium": "Memory"}},
    {"name": VOLUME_DATA, "emptyDir": {}},
    {
        "name": VOLUME_PODINFO,
        "downwardAPI": {
            "items": [
                {"path": part, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.{part}"}}
                for part in ("labels", "annotations")
            ]
        },
    },
    {"name": VOLUME_ROOT, "configMap": {"name": contract.CA_CONFIG_MAP}},
)
_MOUNTS: Final = (
    {"name": VOLUME_CONFIG, "mountPath": contract.CONFIG_DIR},
    {"name": VOLUME_DATA, "mountPath": "/var/lib/istio/data"},
    {"name": VOLUME_PODINFO, "mountPath": contract.POD_INFO_DIR},
    {"name": VOLUME_ROOT, "mountPath": contract.ROOT_CERT_DIR, "readOnly": True},
)


def volumes(wishes: Wishes) -> list[dict[str, Any]]:
    """Returns the volumes that injection adds.

    They hold istio-proxy's configuration and data, the pod's labels and annotations, and the mesh's
    root certificate; further ones come from the pod's annotations.
    """
    override = wishes.annotations.get(names.BOOTSTRAP_OVERRIDE)
    custom = {"name": VOLUME_BOOTSTRAP, "configMap": {"name": override}}
    return [
        *_VOLUMES,
        *([custom] if override else ()),
        *_own(wishes, names.USER_VOLUME),
    ]


def mounts(wishes: Wishes) -> list[dict[str, Any]]:
    """Returns the mounts of istio-proxy: those of the mesh, and those that annotations ask for."""
    override = names.BOOTSTRAP_OVERRIDE in wishes.annotations
    custom = {"name": VOLUME_BOOTSTRAP, "mountPath": BOOTSTRAP_DIR}
    return [
        *_MOUNTS,
        *([custom] if override else ()),
        *_own(wishes, names.USER_VOLUME_MOUNT),
    ]


def _own(wishes: Wishes, name: str) -> list[dict[str, Any]]:
    value = wishes.annotations.get(name)
    return names.named(value) if value else []
