"""Finds the workload that a pod belongs to, in the pod's own metadata. Pure.

The rules are those of Istio (pkg/kube/util.go, GetDeployMetaFromPod), so that both meshes give a
pod the same name.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from lab.mesh.injector.settings.pod_settings import Owner

TEMPLATE_HASH: Final = "pod-template-hash"
ROLLOUT_HASH: Final = "rollouts-pod-template-hash"
"""The labels that a Deployment, and an Argo Rollout, put on the pods of their ReplicaSets."""
DEPLOYMENT_CONFIG: Final = "deploymentconfig"
"""OpenShift's label on the pods of a DeploymentConfig's ReplicationControllers: its name."""
ROLLOUT_API: Final = "v1alpha1"
"""Without its group, as Istio writes it."""
_MINUTE: Final = r"[0-9]{8,10}"
"""End of the name of a CronJob's Job: the minute at which the Job was due."""


def owner_of(pod: Mapping[str, Any]) -> Owner:
    """Returns the workload of a pod {metadata, ...} whose field types were checked.

    A pod without a generated name belongs to itself, even if it has a controller; its name may
    be "".
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
