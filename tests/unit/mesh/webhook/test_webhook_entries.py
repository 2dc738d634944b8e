"""Which pods the webhook configuration asks about: every labelling of namespace and pod."""

from itertools import product

import pytest
import yaml

from lab.paths import manifests

ENTRIES = yaml.safe_load((manifests() / "lab" / "injector.yaml").read_text())["webhooks"]
INJECTION, REV, INJECT = "istio-injection", "istio.io/rev", "sidecar.istio.io/inject"


def holds(requirement: dict[str, object], labels: dict[str, str]) -> bool:
    key, values = str(requirement["key"]), requirement.get("values")
    match requirement["operator"]:
        case "In":
            return isinstance(values, list) and labels.get(key) in values
        case "NotIn":
            return isinstance(values, list) and labels.get(key) not in values
        case "DoesNotExist":
            return key not in labels
    raise AssertionError(requirement)


def asked(namespace: dict[str, str], pod: dict[str, str]) -> list[str]:
    return [
        entry["name"].removesuffix(".injector.sidecar-lab.dev")
        for entry in ENTRIES
        if all(holds(one, namespace) for one in entry["namespaceSelector"]["matchExpressions"])
        and all(holds(one, pod) for one in entry["objectSelector"]["matchExpressions"])
    ]


def wanted(namespace: dict[str, str], pod: dict[str, str]) -> list[str]:
    """Said from the reader's side: the pod's no, then the namespace's word, then the pod's."""
    if pod.get(INJECT) == "false":
        return []
    if INJECTION in namespace:
        return ["namespace"] if namespace[INJECTION] == "enabled" else []
    if REV in namespace:
        return ["rev.namespace"] if namespace[REV] == "default" else []
    if REV in pod:
        return ["rev.object"] if pod[REV] == "default" else []
    return ["object"] if pod.get(INJECT) == "true" else []


def some(key: str, *values: str) -> list[dict[str, str]]:
    return [{}, *({key: value} for value in values)]


@pytest.mark.parametrize("injection", some(INJECTION, "enabled", "disabled"))
@pytest.mark.parametrize("revision", some(REV, "default", "canary"))
def test_at_most_one_entry_asks_about_a_pod_and_it_is_the_right_one(
    injection: dict[str, str], revision: dict[str, str]
) -> None:
    namespace = injection | revision
    pods = product(some(INJECT, "true", "false", "other"), some(REV, "default", "canary"))
    for inject, pod_revision in pods:
        pod = inject | pod_revision
        assert asked(namespace, pod) == wanted(namespace, pod), (namespace, pod)


@pytest.mark.parametrize("name", ["sidecar-lab", "kube-system", "kube-public", "kube-node-lease"])
def test_no_pod_of_the_control_plane_can_ask_for_itself(name: str) -> None:
    namespace = {"kubernetes.io/metadata.name": name}
    assert asked(namespace, {INJECT: "true"}) == []
    assert asked(namespace, {REV: "default"}) == []
