"""The two meshes that a lab can run, and the way from one to the other.

Whether the other mesh is there is asked of the cluster, not of a record: a change that was cut
off in the middle is completed by the next `up`, whichever mesh that one wants.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.cluster.control_plane import istio
from lab.errors import ClusterError
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.kube.paths import Object, collection, path_of
from lab.mesh import contract
from lab.progress import Task


class Mesh(StrEnum):
    """Whose control plane the lab runs."""

    OURS = "sidecar-lab"
    ISTIO = "istio"


@dataclass(frozen=True)
class Traits:
    """Where a mesh's control plane is. `deployments` must be rolled out for it to be ready."""

    namespace: str
    deployments: frozenset[str]


TRAITS = {
    Mesh.OURS: Traits(
        contract.CONTROL_NAMESPACE,
        frozenset({contract.WEBHOOK_SERVICE, contract.DISCOVERY_SERVICE}),
    ),
    Mesh.ISTIO: Traits(istio.NAMESPACE, frozenset({istio.DEPLOYMENT})),
}
_CLUSTER_WIDE = (
    # Webhooks first: one whose service is gone would refuse what follows.
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
)
SPREAD = (contract.CA_CONFIG_MAP, "istio-ca-crl")
"""ConfigMaps that a control plane writes into every namespace."""


def other(mesh: Mesh) -> Mesh:
    """The one that is not to be there."""
    return Mesh.ISTIO if mesh is Mesh.OURS else Mesh.OURS


def remains(api: KubeApi, mesh: Mesh, ours: Sequence[Object]) -> list[str]:
    """API paths of what stands of a mesh; `ours` are the documents of our own. Raises ApiError."""
    if mesh is Mesh.ISTIO:
        found = [path for kind in _CLUSTER_WIDE for path in _labelled(api, kind)]
    else:
        wide = [path_of(one) for one in ours if (one["apiVersion"], one["kind"]) in _CLUSTER_WIDE]
        found = [path for path in wide if api.find(path) is not None]
    namespace = f"/api/v1/namespaces/{TRAITS[mesh].namespace}"
    return [*found, *([namespace] if api.find(namespace) is not None else [])]


def _labelled(api: KubeApi, kind: tuple[str, str]) -> Iterator[str]:
    path = collection(kind, None)
    # Names are enough: Istio's CRDs are a megabyte.
    listed = api.request("GET", path, query={"labelSelector": istio.PART_OF}, partial=True)
    yield from (f"{path}/{one['metadata']['name']}" for one in listed.get("items") or ())


def remove(api: KubeApi, mesh: Mesh, ours: Sequence[Object], seconds: float, task: Task) -> int:
    """Remove a mesh and the ConfigMaps that it spread; how many objects went.

    Pods that it injected keep their sidecar until they are made anew. Raises ClusterError when
    something does not go within `seconds`.
    """
    found = remains(api, mesh, ours)
    if not found:
        return 0
    task.update(f"removing the mesh {mesh}")
    deadline = time.monotonic() + seconds
    for path in found:
        _delete(api, path)
    while left := remains(api, mesh, ours):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"the mesh {mesh} is not gone after {seconds:.0f} s: {', '.join(left)}",
                hint="`lab up` tries again; `lab down` and `lab up` begin anew",
            )
        task.update(f"removing the mesh {mesh}: {len(left)} objects are still there")
        time.sleep(0.1)  # between two looks at the condition
    # Only now: while its control plane ran it would have written them again.
    listed = api.request("GET", "/api/v1/configmaps", partial=True)
    spread = [
        f"/api/v1/namespaces/{one['metadata']['namespace']}/configmaps/{one['metadata']['name']}"
        for one in listed.get("items") or ()
        if one["metadata"]["name"] in SPREAD
    ]
    for path in spread:
        _delete(api, path)
    return len(found) + len(spread)


def _delete(api: KubeApi, path: str) -> None:
    try:
        api.request("DELETE", path)
    except ApiError as error:
        if error.status not in (404, 409):
            raise
