"""The workload of a pod: the name and kind that Istio gives, in CLI and webhook alike."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.mesh.injector import files, owners
from lab.mesh.injector.settings.pod_settings import Owner, Settings
from tests.unit.mesh.injector.pods import admit, container

TABLE = json.loads((Path(__file__).parent / "data" / "owners.json").read_text())
"""Metadata of pods, and what Istio's GetDeployMetaFromPod says: name, kind, apiVersion."""
CASES = [(metadata, Owner(*said)) for metadata, said in TABLE["pods"]]


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in container(pod, "istio-proxy")["env"]}


def test_every_pod_belongs_to_what_istio_says() -> None:
    wrong = {
        json.dumps(metadata): found
        for metadata, owner in CASES
        if (found := owners.owner_of({"metadata": metadata})) != owner
    }
    assert not wrong
    kinds = {owner.kind for _, owner in CASES}
    assert {"Deployment", "Rollout", "DeploymentConfig", "CronJob", "Job", "Pod"} < kinds
    assert len(CASES) > 300


@pytest.mark.parametrize("at", range(0, len(CASES), 8))
def test_cli_and_webhook_tell_the_proxy_the_same_owner(at: int) -> None:
    metadata, owner = CASES[at]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
           "spec": {"containers": [{"name": "app"}]}}  # fmt: skip
    by_webhook = environment(admit(pod))
    text = files.inject_files([("f", json.dumps(pod).encode())], Settings()).text()
    assert environment(json.loads("".join(text))) == by_webhook
    assert by_webhook.get("ISTIO_META_WORKLOAD_NAME") == (owner.name or None)
    named = owner.name and owner.api_version
    assert by_webhook.get("ISTIO_META_OWNER") == (owner.address if named else None)


def test_an_argo_rollout_is_named_in_its_pods() -> None:
    pod = {
        "metadata": {
            "generateName": "shop-7c9d8b5f6d-",
            "labels": {"rollouts-pod-template-hash": "7c9d8b5f6d"},
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-7c9d8b5f6d",
                 "controller": True}
            ],
        },
        "spec": {"containers": [{"name": "app"}]},
    }  # fmt: skip
    told = environment(admit(pod))
    assert told["ISTIO_META_WORKLOAD_NAME"] == "shop"
    assert told["ISTIO_META_OWNER"] == (
        "kubernetes://apis/v1alpha1/namespaces/$(POD_NAMESPACE)/rollouts/shop"
    )
    assert admit(pod)["metadata"]["labels"]["service.istio.io/canonical-name"] == "shop"
