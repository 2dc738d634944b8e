"""Frozen data about a pod, its namespace and the mesh's webhook.

None means "not known" wherever a field may be None; `Situation.unknown` lists what could not be
read, and why. Times are the API's (RFC 3339, UTC, to the second) and compare as text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from lab.explain.symptoms import Symptoms
from lab.mesh import contract
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.label_selectors import Labels, LabelSelector

Object = Mapping[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""
Origin = Literal["live", "template", "file"]
"""Where a subject comes from: a pod of the cluster, a workload's pod template, or a manifest."""
Outcome = Literal["injected", "plain", "refused", "failed", "rejected", "untried"]
"""Result of a dry run.

"injected", "plain": the pod came back with or without a sidecar. "refused": a webhook refused it.
"failed": a webhook could not be called. "rejected": another part of the API server rejected it.
"untried": the user has no right to create pods.
"""
REVISION_LABEL: Final = "istio.io/rev"
"""Label of a namespace or pod that chooses one of several injectors."""
INJECTION_KEYS: Final = frozenset(
    {contract.INJECTION_LABEL, contract.INJECT_POD_LABEL, REVISION_LABEL}
)
"""A webhook whose selectors look at one of these injects sidecars."""


@dataclass(frozen=True)
class Holder:
    """The workload that creates the pods; `template` is its pod template, {} if it was not read."""

    kind: str
    name: str
    metadata: Object = field(default_factory=dict)
    template: Object = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """The pod or pod template to explain. `pod` holds its metadata and spec.

    `where`: the template's path in its object, () for a pod. `created`: the pod's creation time.
    `place`: file and line of a manifest's document. `file`: the manifest's name, "" for stdin.
    `alone`: whether the file holds no other document.
    """

    origin: Origin
    namespace: str
    name: str
    pod: Object
    holder: Holder | None = None
    where: tuple[str, ...] = ()
    created: str = ""
    place: str = ""
    file: str = ""
    alone: bool = True

    @property
    def labels(self) -> Labels:
        """The pod's labels."""
        return (self.pod.get("metadata") or {}).get("labels") or {}

    @property
    def annotations(self) -> Labels:
        """The pod's annotations."""
        return (self.pod.get("metadata") or {}).get("annotations") or {}

    @property
    def spec(self) -> Object:
        """The pod's spec."""
        return self.pod.get("spec") or {}

    @property
    def title(self) -> str:
        """The subject's name in a sentence."""
        if self.origin == "live" or self.holder is None:
            return f"pod {self.name}"
        return f"pod template of {self.holder.kind} {self.holder.name}"


@dataclass(frozen=True)
class Namespace:
    """A namespace. `since`: by label, the time at which it was last set, if the API knows it."""

    name: str
    exists: bool = True
    labels: Labels = field(default_factory=dict)
    created: str = ""
    since: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One entry of a MutatingWebhookConfiguration; `index` is its position there.

    `sees_pods`: whether its rules cover the creation of pods. `conditions`: number of its
    matchConditions. `ignores_failure`: whether its failurePolicy is Ignore. `service`: namespace
    and name, None for an entry with a URL. `authority`: the caBundle's PEM text. `since`: creation
    time of the configuration.
    """

    configuration: str
    index: int
    name: str
    namespaces: LabelSelector = field(default_factory=LabelSelector)
    objects: LabelSelector = field(default_factory=LabelSelector)
    sees_pods: bool = True
    conditions: int = 0
    ignores_failure: bool = False
    service: tuple[str, str] | None = None
    port: int = 443
    path: str = ""
    url: str = ""
    authority: str = ""
    since: str = ""


@dataclass(frozen=True)
class Port:
    """A port of a Service or a container. `target`: number or name of a Service's target port."""

    number: int
    name: str = ""
    target: str = ""


@dataclass(frozen=True)
class Workload:
    """A Deployment in the namespace of the webhook's Service.

    `labels`: those of its pods. `wanted`, `ready`: numbers of replicas.
    """

    name: str
    labels: Labels
    wanted: int
    ready: int
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class RootPlace:
    """The place of a published root certificate: a key of a ConfigMap, or of a Secret (base64)."""

    namespace: str
    resource: str
    name: str
    key: str

    @classmethod
    def of(cls, namespace: str, service: str) -> "RootPlace":
        """Returns the place for a webhook's Service: the lab's Secret, or Istio's ConfigMap."""
        if (namespace, service) == (contract.CONTROL_NAMESPACE, contract.WEBHOOK_SERVICE):
            return cls(namespace, "secret", service, "ca.crt")
        return cls(namespace, "configmap", contract.CA_CONFIG_MAP, contract.CA_CONFIG_MAP_KEY)


@dataclass(frozen=True)
class Service:
    """A webhook's Service, its ready addresses, and the Deployments of its namespace.

    `ready`: number of ready addresses by port number of the Service. `root`: root certificate that
    the mesh publishes in that namespace (PEM text), "" if there is none.
    """

    namespace: str
    name: str
    exists: bool = True
    selector: Labels = field(default_factory=dict)
    ports: tuple[Port, ...] = ()
    ready: Mapping[int, int] = field(default_factory=dict)
    workloads: tuple[Workload, ...] = ()
    root: str = ""

    @property
    def workload(self) -> Workload | None:
        """The Deployment whose pods the Service selects."""
        for workload in self.workloads:
            if self.selector and self.selector.items() <= workload.labels.items():
                return workload
        return None


@dataclass(frozen=True)
class Trial:
    """The answer to a dry-run create. `webhook`: name of the entry in the answer, "" if none.

    `native`: whether the sidecar is a native one. `passed_over`: whether the API server counted a
    failed call that it ignored during the dry run.
    """

    outcome: Outcome
    webhook: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    native: bool = False
    passed_over: bool = False
    pod: Object = field(default_factory=dict)
    """The pod in the answer if it has a sidecar, else {}."""


@dataclass(frozen=True)
class Situation:
    """Everything that a verdict is derived from.

    `kubectl`: the words that call kubectl for this cluster. `restore`: the command that installs
    the mesh again, () if the cluster is not a lab.
    """

    subject: Subject
    namespace: Namespace | None = None
    entries: tuple[Entry, ...] | None = None
    services: Mapping[tuple[str, str], Service] = field(default_factory=dict)
    trial: Trial | None = None
    control: Trial | None = None
    """A dry run of the same pod without a sidecar, if the one with a sidecar was rejected."""
    symptoms: Symptoms | None = None
    """Symptoms of an existing pod with a sidecar."""
    generations: tuple[str, ...] = ()
    """A text for each webhook pod if they differ in image or template, else ()."""
    refusals: tuple[str, ...] = ()
    """Messages of the workload's FailedCreate events, newest last."""
    settings: Settings = field(default_factory=Settings)
    """The injector's settings if its configuration can be read, else the defaults."""
    unknown: tuple[str, ...] = ()
    kubectl: tuple[str, ...] = ("kubectl",)
    restore: tuple[str, ...] = ()

    @property
    def foreign(self) -> bool:
        """Whether the cluster's injector belongs to another mesh."""
        ours = (entry.service and entry.service[1] == contract.WEBHOOK_SERVICE for entry in
                self.entries or ())  # fmt: skip
        return bool(self.entries) and not any(ours)

    @property
    def matching(self) -> tuple[Entry, ...]:
        """The entries that match the pod, so that the API server calls their webhook."""
        if self.namespace is None:
            return ()
        return tuple(entry for entry in self.entries or () if calls(entry, self))


def calls(entry: Entry, situation: Situation) -> bool:
    """Returns whether the API server calls `entry` for the pod. CEL conditions are ignored."""
    spaces = situation.namespace.labels if situation.namespace else {}
    return (
        entry.sees_pods
        and entry.namespaces.matches(spaces)
        and entry.objects.matches(situation.subject.labels)
    )


def discovery_of(situation: Situation) -> tuple[str, str]:
    """Returns namespace and name of the Service that configures sidecars."""
    if situation.foreign:
        return next((entry.service for entry in situation.entries or () if entry.service), ("", ""))
    return contract.CONTROL_NAMESPACE, contract.DISCOVERY_SERVICE


def proxy_of(pod: Object) -> tuple[Object, bool] | None:
    """Returns a pod's sidecar container and whether it is a native one; None if there is none.

    A container of that name with `image: auto` is no sidecar yet: the injector completes it.
    """
    spec = pod.get("spec") or {}
    for group, native in (("containers", False), ("initContainers", True)):
        for container in spec.get(group) or ():
            if (
                container.get("name") == contract.PROXY_CONTAINER
                and container.get("image", "auto") != "auto"
            ):
                return container, native
    return None
