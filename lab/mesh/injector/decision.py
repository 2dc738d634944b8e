"""Decides whether a pod is injected, and gives the reason in a sentence. Pure.

This module goes through these reasons in Istio's order, and the first one that applies decides:
the pod is on the host's network; its namespace is ignored; the pod's label or, without a label,
its annotation is true or false; a never-inject selector matches; an always-inject selector
matches; the policy. Labels of namespaces and revisions are not read here: the API server matches
them with the webhook's selectors.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from lab.mesh import contract

if TYPE_CHECKING:
    from lab.mesh.label_selectors import LabelSelector
else:  # kube-inject needs selectors only with a configuration, which loads them itself
    LabelSelector = Any


class Reason(Enum):
    """Names what decided whether a pod is injected; each value is a sentence for the user."""

    ASKED = "the pod asks for it by {label}=true"
    ALWAYS_SELECTOR = "an always-inject selector matches the pod's labels"
    POLICY = "the policy is to inject"
    HOST_NETWORK = "the pod is on the host's network: its rules would redirect the whole node"
    IGNORED_NAMESPACE = "namespace {namespace} is never injected"
    DECLINED = "the pod declines by {label}=false"
    NEVER_SELECTOR = "a never-inject selector matches the pod's labels"
    POLICY_DISABLED = "the policy is not to inject, and the pod does not ask for it"
    POLICY_UNKNOWN = "the policy {policy!r} is neither enabled nor disabled"


_YES = frozenset({Reason.ASKED, Reason.ALWAYS_SELECTOR, Reason.POLICY})


class Policy(NamedTuple):
    """What the mesh decides for pods that do not choose by label or annotation.

    The defaults are what kube-inject uses if it gets no configuration. `policy`: "enabled" or
    "disabled". `never`, `always`: selectors of pods by their labels. A selector without
    requirements matches no pod, as in Istio's injector (in an API server it matches every pod).
    """

    policy: str = "enabled"
    never: tuple[LabelSelector, ...] = ()
    always: tuple[LabelSelector, ...] = ()


class Decision(NamedTuple):
    """Whether to inject a pod, the reason for that, and the reason as a sentence for the user."""

    inject: bool
    reason: Reason
    sentence: str


def decide(pod: Mapping[str, Any], namespace: str, policy: Policy) -> Decision:
    """Decides whether to inject a pod or pod template ({metadata, spec}).

    Its field types must have been checked.
    """
    reason = _reason(pod, namespace, policy)
    sentence = reason.value.format(
        label=contract.INJECT_POD_LABEL, namespace=namespace, policy=policy.policy
    )
    return Decision(reason in _YES, reason, sentence)


def _reason(pod: Mapping[str, Any], namespace: str, policy: Policy) -> Reason:
    metadata = pod.get("metadata") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    if (pod.get("spec") or {}).get("hostNetwork"):
        return Reason.HOST_NETWORK
    if namespace in contract.IGNORED_NAMESPACES:
        return Reason.IGNORED_NAMESPACE
    # The label beats the annotation even where its value means nothing.
    key = contract.INJECT_POD_LABEL
    wish = labels[key] if key in labels else annotations.get(key)
    if wish == "true":
        return Reason.ASKED
    if wish == "false":
        return Reason.DECLINED
    if _any_matches(policy.never, labels):
        return Reason.NEVER_SELECTOR
    if _any_matches(policy.always, labels):
        return Reason.ALWAYS_SELECTOR
    by_policy = {"enabled": Reason.POLICY, "disabled": Reason.POLICY_DISABLED}
    return by_policy.get(policy.policy, Reason.POLICY_UNKNOWN)


def _any_matches(selectors: Sequence[LabelSelector], labels: Mapping[str, str]) -> bool:
    return any(each.requirements and each.matches(labels) for each in selectors)
