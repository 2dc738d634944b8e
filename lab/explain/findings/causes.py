"""The causes that `lab explain` names, and the type of a finding."""

from dataclasses import dataclass
from enum import Enum

from lab.explain.changes.pod import Change


class Cause(Enum):
    """Why a pod has no sidecar, or why a pod with a sidecar does not work as intended.

    The value is the cause's name for programs, so it never changes.
    """

    NOT_A_POD = "not-a-pod"
    MANIFEST = "manifest-refused"
    HOST_NETWORK = "host-network"
    IGNORED_NAMESPACE = "ignored-namespace"
    POD_DECLINES = "pod-declines"
    POLICY = "policy"
    NO_CONFIGURATION = "no-webhook-configuration"
    RULES = "webhook-rules"
    NAMESPACE_ABSENT = "namespace-absent"
    NAMESPACE_UNLABELLED = "namespace-unlabelled"
    NAMESPACE_LABEL_VALUE = "namespace-label-value"
    NAMESPACE_LABEL_TYPO = "namespace-label-typo"
    NAMESPACE_DECLINES = "namespace-declines"
    NAMESPACE_LABEL_MISPLACED = "namespace-label-misplaced"
    POD_LABEL_MISPLACED = "label-on-workload"
    POD_LABEL_IS_ANNOTATION = "annotation-instead-of-label"
    POD_LABEL_VALUE = "pod-label-value"
    POD_LABEL_TYPO = "pod-label-typo"
    BOTH_LABELS = "both-labels"
    REVISION_UNKNOWN = "revision-unknown"
    BAD_ANNOTATION = "bad-annotation"
    WEBHOOK_UNREACHABLE = "webhook-unreachable"
    WEBHOOK_PORT = "webhook-port"
    WEBHOOK_PATH = "webhook-path"
    WEBHOOK_ERROR = "webhook-error"
    CA_BUNDLE = "ca-bundle"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NAME = "certificate-name"
    INJECTOR_REFUSES = "injector-refuses"
    POD_SECURITY = "pod-security"
    REFUSED_ELSEWHERE = "refused-elsewhere"
    POD_OLDER = "pod-older"
    WEBHOOK_MISSED = "webhook-missed"
    UNEXPLAINED = "unexplained"
    QUOTA = "quota"
    LIMIT_RANGE = "limit-range"
    # The pod has a sidecar, but does not work as intended:
    MESH_PORT = "mesh-port-taken"
    DNS_POLICY = "dns-policy"
    CONFIGURATION_REFUSED = "configuration-refused"
    WEBHOOK_BUILD = "webhook-build"
    INIT_BEFORE_PROXY = "init-before-proxy"
    OUTBOUND_PORTS = "outbound-ports-widen"
    IMAGE = "sidecar-image"
    INIT_FAILED = "init-failed"
    MEMORY = "sidecar-memory"
    VOLUME = "sidecar-volume"
    UNSCHEDULED = "unscheduled"
    DISCOVERY = "discovery-unreachable"
    NOT_READY = "sidecar-not-ready"


@dataclass(frozen=True)
class Finding:
    """One cause, the sentence that explains it, and the change that removes it.

    `line`: key of the line of the chain that the cause decides. `refused`: whether the API server
    refuses to create the pod.
    """

    cause: Cause
    line: str
    sentence: str
    change: Change | None = None
    refused: bool = False
