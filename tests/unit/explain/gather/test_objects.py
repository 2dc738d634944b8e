"""The API's JSON into the model."""

import base64
from typing import Any

import pytest
import yaml

from lab.explain.gather import api_objects
from lab.explain.situation import Port, calls
from lab.mesh.injector.decision import Policy
from lab.mesh.label_selectors import LabelSelector, Requirement
from tests.unit.explain.sample import INJECT, ON, ROOT, ours, situation, template


def hook(**more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "mesh", "creationTimestamp": "t"},
        "webhooks": [
            {
                "name": "a.example",
                "clientConfig": {"service": {"namespace": "n", "name": "s", "path": "/inject"}},
                "rules": [
                    {
                        "operations": ["CREATE"],
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}},
                **more,
            }
        ],
    }


def test_an_entry_is_read_whole() -> None:
    bundle = base64.b64encode(ROOT.encode()).decode()
    client = {"service": {"namespace": "n", "name": "s", "port": 9443}, "caBundle": bundle}
    (found,) = api_objects.entries(
        [hook(clientConfig=client, failurePolicy="Ignore", matchConditions=[{}])]
    )
    assert (found.service, found.port, found.authority) == (("n", "s"), 9443, ROOT)
    assert (found.ignores_failure, found.conditions, found.sees_pods) == (True, 1, True)
    (plain,) = api_objects.entries([hook()])
    assert (plain.port, plain.path, plain.ignores_failure) == (443, "/inject", False)
    (called,) = api_objects.entries([hook(clientConfig={"url": "https://x", "caBundle": "%%"})])
    assert (called.service, called.url, called.authority) == (None, "https://x", "")


@pytest.mark.parametrize(
    ("selector", "injects"),
    [
        ({"matchLabels": {"istio-injection": "enabled"}}, True),
        ({"matchExpressions": [{"key": "istio.io/rev", "operator": "Exists"}]}, True),
        ({"matchLabels": {"team": "a"}}, False),
        (None, False),
    ],
)
def test_only_webhooks_that_look_at_injections_labels_count(selector: Any, injects: bool) -> None:
    assert bool(api_objects.entries([hook(namespaceSelector=selector)])) == injects


@pytest.mark.parametrize(
    ("change", "sees"),
    [
        ({}, True),
        ({"resources": ["*/*"], "operations": ["*"]}, True),
        ({"resources": ["pods/exec"]}, False),
        ({"operations": ["UPDATE"]}, False),
        ({"apiGroups": ["apps"]}, False),
        ({"scope": "Cluster"}, False),
    ],
)
def test_rules_cover_the_creation_of_pods_or_do_not(change: Any, sees: bool) -> None:
    rule = {**hook()["webhooks"][0]["rules"][0], **change}
    (found,) = api_objects.entries([hook(rules=[rule])])
    assert found.sees_pods == sees


@pytest.mark.parametrize(
    ("space", "pod", "names"),
    [
        (ON, {}, ["namespace"]),
        (ON, {INJECT: "false"}, []),
        ({}, {INJECT: "true"}, ["object"]),
        ({}, {}, []),
        ({"istio.io/rev": "default"}, {}, ["rev.namespace"]),
        ({}, {"istio.io/rev": "default"}, ["rev.object"]),
        ({**ON, "istio.io/rev": "default"}, {}, ["namespace"]),
    ],
)
def test_the_labs_own_entries_are_meant_for_whom_its_manifest_says(
    space: dict[str, str], pod: dict[str, str], names: list[str]
) -> None:
    seen = situation(template(pod), space)
    meant = [one.name for one in ours() if calls(one, seen)]
    assert meant == [f"{name}.injector.sidecar-lab.dev" for name in names]


def test_a_namespace_knows_since_when_it_has_its_labels() -> None:
    managed = [
        {"time": "1", "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}},
        {"time": "2", "fieldsV1": {"f:metadata": {"f:labels": {"f:istio-injection": {}}}}},
        {"time": "3", "fieldsV1": {"f:status": {}}},
    ]
    meta = {"name": "shop", "labels": ON, "managedFields": managed}
    assert api_objects.namespace({"metadata": meta}).since == {"a": "1", "istio-injection": "2"}


def test_a_service_counts_the_ready_addresses_of_each_port() -> None:
    seen = {
        "metadata": {"namespace": "n", "name": "s"},
        "spec": {
            "selector": {"app": "s"},
            "ports": [{"port": 443, "name": "https", "targetPort": 8443}, {"port": 80}],
        },
    }
    piece = {
        "ports": [{"name": "https", "port": 8443}],
        "endpoints": [
            {"addresses": ["1"], "conditions": {"ready": True}},
            {"addresses": ["2"], "conditions": {"ready": False}},
            {"addresses": ["3"]},
        ],
    }
    made = {
        "metadata": {"name": "d"},
        "spec": {
            "template": {
                "metadata": {"labels": {"app": "s", "x": "y"}},
                "spec": {"containers": [{"ports": [{"containerPort": 8443, "name": "https"}]}]},
            }
        },
    }
    found = api_objects.service(seen, [piece, piece], [made], "root")
    assert found.ready == {443: 2, 80: 0}
    assert found.workload is not None
    assert (found.workload.wanted, found.workload.ports) == (1, (Port(8443, "https"),))


def test_istios_own_policy_is_read() -> None:
    text = """
policy: disabled
neverInjectSelector: [{matchLabels: {a: b}}]
alwaysInjectSelector: [{matchExpressions: [{key: c, operator: Exists}]}]
"""
    assert api_objects.policy(yaml.safe_load(text)) == Policy(
        "disabled",
        (LabelSelector((Requirement("a", "In", ("b",)),)),),
        (LabelSelector((Requirement("c", "Exists"),)),),
    )
    assert api_objects.policy(None) == Policy()
