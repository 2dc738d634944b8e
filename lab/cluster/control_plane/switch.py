"""Names the two meshes that a lab can run, and removes one of them from the cluster.

Whether the other mesh is installed is read from the cluster, not from a record in the lab's folder.
So when a switch to the other mesh was interrupted, the next `lab up` works, whichever mesh it asks
for.
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
    """Names the mesh whose control plane the lab runs: our own or Istio."""

    OURS = "sidecar-lab"
    ISTIO = "istio"


@dataclass(frozen=True)
class Traits:
    """The namespace of a mesh's control plane, and the names of its Deployments.

    The control plane is ready when all these Deployments are ready.
    """

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
"""Names of the ConfigMaps that a mesh's control plane writes into every namespace."""


def other(mesh: Mesh) -> Mesh:
    """Returns the other of the two meshes; a cluster must not contain both."""
    return Mesh.ISTIO if mesh is Mesh.OURS else Mesh.OURS


def remains(api: KubeApi, mesh: Mesh, ours: Sequence[Object]) -> list[str]:
    """Returns the API paths of a mesh's objects that exist in the cluster. Raises ApiError.

    The result lists the mesh's objects that are in no namespace (webhooks, RBAC, CRDs), and the
    namespace of its control plane. It does not list the objects in that namespace. `ours` are the
    objects of our own mesh.
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
    """Remove a mesh and its ConfigMaps in all namespaces; return how many objects were deleted.

    A namespace with all that is in it counts as one object. `ours` are the objects of our own mesh.
    Pods that the mesh has injected keep their sidecar until they are created again. Raises
    ClusterError when an object still exists after `seconds`.
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
                f"objects of the mesh {mesh} still exist {seconds:.0f} s after their deletion: "
                f"{', '.join(left)}",
                hint="`lab up` tries again; `lab down` and then `lab up` create a new cluster",
            )
        task.update(f"removing the mesh {mesh}: {len(left)} objects are still there")
        time.sleep(0.1)  # before the condition is checked again
    # These are deleted last, because a running control plane would write them again.
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
