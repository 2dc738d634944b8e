"""Computes how the injector would change a pod. Pure.

`lab explain` has no copy of the injector's rules. It calls the same function as kube-inject and the
webhook, so it gets the same refusals and warnings.
"""

from typing import Final, NamedTuple

from lab.explain.situation import Object, Situation
from lab.mesh.errors import AnnotationError, SidecarLabError
from lab.mesh.injector.checks import program_checks
from lab.mesh.injector.decision import Decision, decide
from lab.mesh.injector.inject import inject
from lab.mesh.injector.owners import owner_of
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.pod_settings import Owner

_ISTIO_CHECKS: Final = frozenset(
    {
        *(annotations.INTERCEPTION_MODE, *annotations.RESOURCES, annotations.STATUS_PORT),
        *(annotations.INITIAL_DELAY, annotations.PERIOD, annotations.FAILURE_THRESHOLD),
        *(annotations.INCLUDE_OUTBOUND_CIDRS, annotations.EXCLUDE_OUTBOUND_CIDRS),
        *(annotations.INCLUDE_INBOUND_PORTS, annotations.EXCLUDE_INBOUND_PORTS),
        *(annotations.EXCLUDE_OUTBOUND_PORTS, annotations.EXCLUDE_INTERFACES),
        *(annotations.KUBEVIRT_INTERFACES, annotations.REROUTE_INTERFACES),
        annotations.PROXY_CONFIG,
    }
)
"""The annotations that Istio's injector checks. The lab's injector checks others too."""


class Thought(NamedTuple):
    """The injector's result. `pod`: the injected pod, or the unchanged pod after a refusal."""

    decision: Decision
    pod: Object
    warnings: tuple[str, ...] = ()
    refusal: SidecarLabError | None = None


def think(situation: Situation) -> Thought:
    """Injects the pod of the situation and returns the result.

    If the cluster's injector belongs to another mesh, only refusals of annotations that Istio's
    injector checks are reported.
    """
    subject = situation.subject
    holder = subject.holder if subject.origin != "live" else None
    owner = Owner(holder.name, holder.kind) if holder is not None else owner_of(subject.pod)
    decision = decide(subject.pod, subject.namespace, situation.settings.policy)
    try:
        injection = inject(subject.pod, subject.namespace, owner, situation.settings)
    except SidecarLabError as refusal:
        if not situation.foreign:
            return Thought(decision, subject.pod, (), refusal)
        return Thought(decision, subject.pod, (), _known_to_istio(situation))
    warnings = injection.warnings
    if situation.foreign:
        # Another mesh's agent has the features that the lab's agent lacks.
        lacking = program_checks.DNS_VARIABLES
        warnings = tuple(w for w in warnings if not any(name in w for name in lacking))
    return Thought(injection.decision, injection.template, warnings)


def _known_to_istio(situation: Situation) -> AnnotationError | None:
    wrong = annotations.check(situation.subject.annotations)
    return next((error for error in wrong if error.annotation in _ISTIO_CHECKS), None)
