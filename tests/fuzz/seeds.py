"""What is mutated: the pods and the texts of the corpus that real Istio is compared on."""

import copy
import json
from collections.abc import Iterator
from typing import Any, Final

from lab import paths
from lab.mesh.errors import SidecarLabError
from lab.mesh.injector import inject
from lab.mesh.injector.owners import owner_of
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import documents
from lab.mesh.workloads import WORKLOADS
from tests.peers.cases import corpus

Pod = dict[str, Any]
NAMESPACE: Final = "fuzz"
LARGEST: Final = 20_000
"""Characters of a seed; larger ones are made by mutation, so that most cases stay quick."""

_ADMITTED: Final[Pod] = {
    "kind": "Pod", "apiVersion": "v1",
    "metadata": {
        "generateName": "web-5d59f98-", "namespace": NAMESPACE, "creationTimestamp": None,
        "labels": {"app": "web", "pod-template-hash": "5d59f98"},
        "annotations": {"example.com/checksum": "f00"},
        "ownerReferences": [{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d59f98", "uid": "u",
            "controller": True, "blockOwnerDeletion": True}],
    },
    "spec": {
        "volumes": [{"name": "kube-api-access-x2k4j", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt",
                           "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}}],
        "containers": [{
            "name": "app", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
            "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}],
            "livenessProbe": {
                "httpGet": {"path": "/live", "port": "web", "scheme": "HTTP"}, "timeoutSeconds": 1,
                "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "volumeMounts": [{
                "name": "kube-api-access-x2k4j", "readOnly": True,
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "serviceAccount": "default",
        "securityContext": {}, "schedulerName": "default-scheduler", "enableServiceLinks": True,
        "tolerations": [{
            "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 300}],
        "priority": 0, "preemptionPolicy": "PreemptLowerPriority"},
    "status": {},
}  # fmt: skip
"""A pod as an API server sends it, defaults filled in."""


def pods() -> list[Pod]:
    """Every pod and pod template of the corpus and of manifests/kinds, plain and injected."""
    plain = [_ADMITTED]
    for _, data in texts():
        try:
            read = documents.read(data, "seed")
        except SidecarLabError:
            continue
        plain += (pod for one in read if one.value for pod in _within(one.value))
    return [*plain, *(injected for pod in plain for injected in _injected(pod))]


def texts() -> list[tuple[str, bytes]]:
    """(name, content) of every manifest to start from."""
    files = sorted((paths.manifests() / "kinds").iterdir())
    found = [(file.name, file.read_bytes()) for file in files]
    found += ((case.name, case.text) for case in corpus())
    return [(name, data) for name, data in found if len(data) < LARGEST]


def _within(value: Pod) -> Iterator[Pod]:
    if value["kind"] == "List":
        for item in value.get("items") or ():
            yield from _within(item) if isinstance(item, dict) and "kind" in item else ()
        return
    if value["kind"] not in WORKLOADS:
        return
    template = WORKLOADS[value["kind"]].pod_in(value)
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return
    metadata = template.get("metadata")
    pod: Pod = copy.deepcopy({"apiVersion": "v1", "kind": "Pod", "metadata": metadata or {}})
    pod["spec"] = copy.deepcopy(template["spec"])
    if not {"name", "generateName"} & set(pod["metadata"]):
        pod["metadata"]["generateName"] = "made-"
    pod["metadata"].pop("namespace", None)
    yield pod


def _injected(pod: Pod) -> Iterator[Pod]:
    try:
        result = inject.inject(pod, NAMESPACE, owner_of(pod), Settings())
    except SidecarLabError:
        return
    if result.decision.inject:
        yield json.loads(json.dumps(result.template))
