"""The injector's configuration file: selectors as Kubernetes reads them, mistakes by field."""

import pytest

from lab.mesh.errors import DocumentError
from lab.mesh.injector.decision import Reason, decide
from lab.mesh.injector.settings import config
from lab.mesh.label_selectors import parse
from tests.unit.mesh.injector.pods import container, inject, names, pod

FULL = """
policy: disabled
neverInjectSelector:
- matchLabels: {job: batch}
- matchExpressions: [{key: debug, operator: Exists}]
alwaysInjectSelector:
- matchLabels: {team: mesh}
  matchExpressions: [{key: tier, operator: NotIn, values: [back]}]
revision: canary
nativeSidecars: enabled
"""


def test_all_of_it_is_read() -> None:
    settings = config.read(FULL, "f")
    assert settings.revision == "canary"
    assert settings.native_sidecar
    assert settings.policy.policy == "disabled"
    assert settings.policy.never[0] == parse({"matchLabels": {"job": "batch"}})
    made = inject(pod(), config.read("revision: canary", "f"))
    assert made["metadata"]["annotations"]["istio.io/rev"] == "canary"
    assert '"revision":"canary"' in made["metadata"]["annotations"]["sidecar.istio.io/status"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"job": "batch", "team": "mesh"}, Reason.NEVER_SELECTOR),
        ({"debug": "", "team": "mesh"}, Reason.NEVER_SELECTOR),
        ({"team": "mesh"}, Reason.ALWAYS_SELECTOR),
        ({"team": "mesh", "tier": "front"}, Reason.ALWAYS_SELECTOR),
        ({"team": "mesh", "tier": "back"}, Reason.POLICY_DISABLED),
        ({}, Reason.POLICY_DISABLED),
    ],
)
def test_never_comes_before_always_and_always_before_the_policy(
    labels: dict[str, str], reason: Reason
) -> None:
    template = {"metadata": {"labels": labels}, "spec": {}}
    assert decide(template, "d", config.read(FULL, "f").policy).reason is reason


@pytest.mark.parametrize(
    ("expression", "labels", "matches"),
    [
        ("{key: a, operator: In, values: [x, z]}", {"a": "z"}, True),
        ("{key: a, operator: In, values: [x]}", {}, False),
        ("{key: a, operator: NotIn, values: [x]}", {}, True),
        ("{key: a, operator: NotIn, values: [x]}", {"a": "x"}, False),
        ("{key: a, operator: Exists}", {"a": ""}, True),
        ("{key: a, operator: DoesNotExist}", {"a": ""}, False),
        ("{key: a, operator: DoesNotExist}", {"b": ""}, True),
    ],
)
def test_expressions_hold_as_in_kubernetes(
    expression: str, labels: dict[str, str], matches: bool
) -> None:
    text = f"neverInjectSelector: [{{matchExpressions: [{expression}]}}]"
    assert config.read(text, "f").policy.never[0].matches(labels) is matches


@pytest.mark.parametrize(
    ("kubelets", "native"),
    [(["v1.33.0"], True), (["v1.34.1", "v1.32.9"], False), (["1.36"], True), ([], False),
     (["v1.33.0-rc.1+k3s1"], True), (["2.0"], True)],
)  # fmt: skip
def test_automatic_sidecars_are_native_where_every_kubelet_has_them(
    kubelets: list[str], native: bool
) -> None:
    settings = config.read("nativeSidecars: auto", "f", kubelets=kubelets)
    made = inject(pod(), settings)
    assert ("istio-proxy" in names(made, "initContainers")) is native
    assert ("restartPolicy" in container(made, "istio-proxy")) is native


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a", "f: must be a mapping"),
        ("policy: [", "not YAML: "),
        ("police: enabled", "field police: is not one of policy, "),
        ("policy: maybe", "field policy: must be one of enabled, disabled"),
        ("policy:", "field policy: must be one of"),
        ("revision: 3", "field revision: must be text"),
        ("nativeSidecars: true", "field nativeSidecars: must be one of auto, enabled, disabled"),
        ("neverInjectSelector: {a: b}", "must be a list of label selectors"),
        ("alwaysInjectSelector: [{labels: {}}]", "field alwaysInjectSelector[0]: must hold"),
        ("alwaysInjectSelector: [{matchLabels: {a: 1}}]", "[0].matchLabels: must be a mapping"),
        ("alwaysInjectSelector: [{matchExpressions: 3}]", "[0].matchExpressions: must be a list"),
        ("alwaysInjectSelector: [{matchExpressions: [{operator: In}]}]", "[0].key: must be"),
        ("alwaysInjectSelector: [{matchExpressions: [{key: a, operator: Is}]}]", "operator: must"),
        ("alwaysInjectSelector: [{matchExpressions: [{key: a, operator: In}]}]",
         "values: must not be empty with In"),
        ("alwaysInjectSelector: [{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]",
         "values: must be empty with Exists"),
        ("alwaysInjectSelector: [{matchExpressions: [{key: a, operator: In, values: [1]}]}]",
         "values: must be a list of texts"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_field(text: str, says: str) -> None:
    with pytest.raises(DocumentError) as caught:
        config.read(text, "f")
    assert says in caught.value.message


def test_a_version_that_is_none_is_told() -> None:
    with pytest.raises(DocumentError, match="'newest' is no version of Kubernetes"):
        config.read("nativeSidecars: auto", "f", kubelets=["newest"])
