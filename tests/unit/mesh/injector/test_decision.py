"""Whether a pod is injected: the order of the reasons."""

from typing import Any

import pytest

from lab.mesh import contract
from lab.mesh.injector.decision import Policy, Reason, decide
from lab.mesh.label_selectors import LabelSelector, Requirement, parse


@pytest.mark.parametrize(
    ("labels", "annotation", "spec", "namespace", "policy", "reason"),
    [
        ({}, None, {"hostNetwork": True}, "kube-system", Policy(), Reason.HOST_NETWORK),
        ({contract.INJECT_POD_LABEL: "true"}, None, {}, "kube-public", Policy(),
         Reason.IGNORED_NAMESPACE),
        ({contract.INJECT_POD_LABEL: "false"}, "true", {}, "d", Policy(), Reason.DECLINED),
        ({contract.INJECT_POD_LABEL: "true"}, "false", {}, "d", Policy("disabled"), Reason.ASKED),
        ({contract.INJECT_POD_LABEL: "maybe"}, "false", {}, "d", Policy(), Reason.POLICY),
        ({}, "false", {}, "d", Policy(), Reason.DECLINED),
        ({"a": "b"}, None, {}, "d", Policy(never=(parse({"matchLabels": {"a": "b"}}),)),
         Reason.NEVER_SELECTOR),
        ({}, None, {}, "d", Policy(never=(parse({}),)), Reason.POLICY),
        ({"a": "b"}, None, {}, "d",
         Policy("disabled", always=(LabelSelector((Requirement("a", "Exists"),)),)),
         Reason.ALWAYS_SELECTOR),
        ({}, None, {}, "d", Policy("disabled"), Reason.POLICY_DISABLED),
        ({}, None, {}, "d", Policy("perhaps"), Reason.POLICY_UNKNOWN),
    ],
)  # fmt: skip
def test_the_order_of_the_decision(
    labels: dict[str, str], annotation: str | None, spec: dict[str, Any], namespace: str,
    policy: Policy, reason: Reason,
) -> None:  # fmt: skip
    given_annotations = {contract.INJECT_POD_LABEL: annotation} if annotation else {}
    template = {"metadata": {"labels": labels, "annotations": given_annotations}, "spec": spec}
    decision = decide(template, namespace, policy)
    assert decision.reason is reason
