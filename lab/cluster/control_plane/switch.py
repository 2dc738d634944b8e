"""The two meshes that a lab can run, and the removal of one of them.

The cluster, not a record, tells whether the other mesh is there. So the next `up` completes a
change that was interrupted, whichever mesh it wants.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.cluster.control_plane import istio_names
from lab.errors import ClusterError
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.kube.paths import Object, collection, path_of
from lab.mesh import contract
from lab.progress import Task


class Mesh(StrEnum):
    """The mesh whose control plane the lab runs."""

    OURS = "sidecar-lab"
    ISTIO = "istio"


@dataclass(frozen=True)
class Traits:
    """The namespace of a mesh's control plane, and the Deployments that make it ready."""

    namespace: str
    deployments: frozenset[str]


TRAITS = {
    Mesh.OURS: Traits(
        contract.CONTROL_NAMESPACE,
        frozenset({contract.WEBHOOK_SERVICE, contract.DISCOVERY_SERVICE}),
    ),
    Mesh.ISTIO: Traits(istio_names.NAMESPACE, frozenset({istio_names.DEPLOYMENT})),
}
_CLUSTER_WIDE = (
    # Webhooks first: a webhook whose Service is gone would reject the requests that follow.
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
)
SPREAD = (contract.CA_CONFIG_MAP, "istio-ca-crl")
"""ConfigMaps that a control plane writes into every namespace."""


def other(mesh: Mesh) -> Mesh:
    """Returns the other mesh, which must not be in the cluster."""
    return Mesh.ISTIO if mesh is Mesh.OURS else Mesh.OURS


def remains(api: KubeApi, mesh: Mesh, ours: Sequence[Object]) -> list[str]:
    """Returns the API paths of a mesh's objects that exist in the cluster. Raises ApiError.

    `ours`: the objects of our own mesh.
    """
    if mesh is Mesh.ISTIO:
        existing = [path for kind in _CLUSTER_WIDE for path in _labelled(api, kind)]
    else:
        wide = [path_of(obj) for obj in ours if (obj["apiVersion"], obj["kind"]) in _CLUSTER_WIDE]
        existing = [path for path in wide if api.find(path) is not None]
    namespace = f"/api/v1/namespaces/{TRAITS[mesh].namespace}"
    return [*existing, *([namespace] if api.find(namespace) is not None else [])]


def _labelled(api: KubeApi, kind: tuple[str, str]) -> Iterator[str]:
    path = collection(kind, None)
    # Only metadata is requested: Istio's CRDs are a megabyte.
    listed = api.request("GET", path, query={"labelSelector": istio_names.PART_OF}, partial=True)
    yield from (f"{path}/{item['metadata']['name']}" for item in listed.get("items") or ())


def remove(api: KubeApi, mesh: Mesh, ours: Sequence[Object], seconds: float, task: Task) -> int:
    """Remove a mesh and its ConfigMaps in all namespaces; return the number of deleted objects.

    Pods that it injected keep their sidecar until they are created again. Raises ClusterError when
    an object is still there after `seconds`.
    """
    existing = remains(api, mesh, ours)
    if not existing:
        return 0
    task.update(f"removing the mesh {mesh}")
    deadline = time.monotonic() + seconds
    for path in existing:
        _delete(api, path)
    while left := remains(api, mesh, ours):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"the mesh {mesh} is not gone after {seconds:.0f} s: {', '.join(left)}",
                hint="`lab up` tries again; `lab down` and `lab up` start from scratch",
            )
        task.update(f"removing the mesh {mesh}: {len(left)} objects are still there")
        time.sleep(0.1)  # before the condition is checked again
    # Only now: the running control plane would have written them again.
    listed = api.request("GET", "/api/v1/configmaps", partial=True)
    spread = [
        f"/api/v1/namespaces/{item['metadata']['namespace']}/configmaps/{item['metadata']['name']}"
        for item in listed.get("items") or ()
        if item["metadata"]["name"] in SPREAD
    ]
    for path in spread:
        _delete(api, path)
    return len(existing) + len(spread)


def _delete(api: KubeApi, path: str) -> None:
    try:
        api.request("DELETE", path)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
