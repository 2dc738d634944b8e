"""Makes URL paths and query parameters for the objects that the lab uses; does no I/O."""

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as JSON."""

PLURALS = {
    ("v1", "Namespace"): "namespaces",
    ("v1", "Service"): "services",
    ("v1", "Secret"): "secrets",
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("apps/v1", "Deployment"): "deployments",
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "clusterroles",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "clusterrolebindings",
    ("rbac.authorization.k8s.io/v1", "Role"): "roles",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "rolebindings",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): "customresourcedefinitions",
    (
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
    ): "mutatingwebhookconfigurations",
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
    ): "validatingwebhookconfigurations",
}
"""(apiVersion, kind) → plural in URL paths, so that the API server need not be asked for it."""


def collection(kind: tuple[str, str], namespace: str | None) -> str:
    """Returns the URL path of all objects of `kind`, which is (apiVersion, kind).

    If `namespace` is None, these are the objects of the whole cluster. Raises KeyError for a kind
    that PLURALS lacks.
    """
    version, _ = kind
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{PLURALS[kind]}"


def path_of(document: Object) -> str:
    """Returns the URL path of one object. Raises KeyError for a kind that PLURALS lacks."""
    meta = document["metadata"]
    kind = (document["apiVersion"], document["kind"])
    return f"{collection(kind, meta.get('namespace'))}/{meta['name']}"


def pods(namespace: str) -> str:
    """Returns the URL path of the pods of a namespace."""
    return f"/api/v1/namespaces/{namespace}/pods"


def labelled(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Returns query parameters that select the objects with all these labels; {} without labels."""
    if not labels:
        return {}
    return {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}


def named(name: str) -> dict[str, str]:
    """Returns query parameters that select the object with this name in a collection."""
    return {"fieldSelector": f"metadata.name={name}"}
