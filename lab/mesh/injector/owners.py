"""Finds the workload that a pod belongs to, in the pod's own metadata. Pure.

The rules are those of Istio (pkg/kube/util.go, GetDeployMetaFromPod), so that both meshes
name the same workload for a pod.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from lab.mesh.injector.settings.pod_settings import Owner

TEMPLATE_HASH: Final = "pod-template-hash"
ROLLOUT_HASH: Final = "rollouts-pod-template-hash"
"""TEMPLATE_HASH is a label of a Deployment's pods, ROLLOUT_HASH of an Argo Rollout's pods."""
DEPLOYMENT_CONFIG: Final = "deploymentconfig"
"""A label of a DeploymentConfig's pods (OpenShift); the value is the DeploymentConfig's name."""
ROLLOUT_API: Final = "v1alpha1"
"""The API version of a Rollout; the group is missing, as in Istio."""
_MINUTE: Final = r"[0-9]{8,10}"
"""The last part of the name of a CronJob's Job: the minute at which the Job was due."""


def owner_of(pod: Mapping[str, Any]) -> Owner:
    """Returns the workload of a pod ({metadata, ...}); its field types must have been checked.

    A pod without generateName is its own workload, even if it has a controller. The name of the
    workload is "" if the pod has no name yet and no controller.
    """
    metadata = pod.get("metadata") or {}
    own = Owner(metadata.get("name") or "")
    if not metadata.get("generateName"):
        return own
    for reference in metadata.get("ownerReferences") or ():
        if reference.get("controller"):
            owner = _controller(reference, metadata.get("labels") or {})
            return owner if owner.name else owner._replace(name=own.name)
    return own


def _controller(reference: Mapping[str, Any], labels: Mapping[str, Any]) -> Owner:
    name, kind, version = (reference.get(key) or "" for key in ("name", "kind", "apiVersion"))
    if kind == "ReplicaSet":
        for label, holder, api in (
            (TEMPLATE_HASH, "Deployment", version),
            (ROLLOUT_HASH, "Rollout", ROLLOUT_API),
        ):
            if (hashed := labels.get(label)) and name.endswith(hashed):
                return Owner(name.removesuffix(f"-{hashed}"), holder, api)
    if kind == "ReplicationController" and labels.get(DEPLOYMENT_CONFIG):
        return Owner(labels[DEPLOYMENT_CONFIG], "DeploymentConfig", version)
    cron_job, _, minute = name.rpartition("-")
    if kind == "Job" and cron_job and re.fullmatch(_MINUTE, minute):
        return Owner(cron_job, "CronJob", "batch/v1")
    return Owner(name, kind, version)
