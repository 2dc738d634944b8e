"""What is known of a pod, its namespace and the mesh's webhook: plain frozen data.

None stands for "not known" wherever a field may be None; what could not be read, and why, is in
`Situation.unknown`. Times are the API's (RFC 3339, UTC, to the second) and compare as text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lab.explain.symptoms import Symptoms
from lab.mesh import contract
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.label_selectors import Labels, LabelSelector

Object = Mapping[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""
Origin = Literal["live", "template", "file"]
"""A pod of the cluster; the pod template of a workload there; a manifest."""
Outcome = Literal["injected", "plain", "refused", "failed", "rejected", "untried"]
"""Of a dry run: with or without a sidecar; refused by a webhook; a webhook could not be called;
rejected by something else of the API server; not possible for us."""


@dataclass(frozen=True)
class Holder:
    """The workload that makes the pods; `template` is its pod template, {} when not read."""

    kind: str
    name: str
    metadata: Object = field(default_factory=dict)
    template: Object = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """What is explained: `pod` holds metadata and spec of a pod or of a pod template.

    `where` is the template's path in its object, () for a pod. `alone` says that a file holds
    no other document.
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
        """How to call it in a sentence."""
        if self.origin == "live" or self.holder is None:
            return f"pod {self.name}"
        return f"pod template of {self.holder.kind} {self.holder.name}"


@dataclass(frozen=True)
class Namespace:
    """A namespace; `since` says when a label was last set, where the API remembers it."""

    name: str
    exists: bool = True
    labels: Labels = field(default_factory=dict)
    created: str = ""
    since: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One entry of a MutatingWebhookConfiguration; `index` is its place there.

    `service` is (namespace, name) or None where it is called by URL. `authority` is the
    caBundle's PEM text.
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
    """A port of a Service, or of a container: `target` is a number, or the name of a port."""

    number: int
    name: str = ""
    target: str = ""


@dataclass(frozen=True)
class Workload:
    """A Deployment beside the webhook's Service."""

    name: str
    labels: Labels
    wanted: int
    ready: int
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class RootPlace:
    """Where an authority is published: a key of a ConfigMap, or of a Secret (base64 there)."""

    namespace: str
    resource: str
    name: str
    key: str

    @classmethod
    def of(cls, namespace: str, service: str) -> "RootPlace":
        """Of a webhook's Service: ours has its Secret, Istio's a ConfigMap."""
        if (namespace, service) == (contract.CONTROL_NAMESPACE, contract.WEBHOOK_SERVICE):
            return cls(namespace, "secret", service, "ca.crt")
        return cls(namespace, "configmap", contract.CA_CONFIG_MAP, contract.CA_CONFIG_MAP_KEY)


@dataclass(frozen=True)
class Service:
    """A webhook's Service and what stands behind it.

    `ready` counts the ready addresses by port number of the Service. `root` is the authority
    that the mesh publishes in that namespace (PEM text), "" where it does not.
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
        """The Deployment whose pods it selects."""
        for workload in self.workloads:
            if self.selector and self.selector.items() <= workload.labels.items():
                return workload
        return None


@dataclass(frozen=True)
class Trial:
    """The answer to a dry-run create. `webhook` is the entry that it names, "" if none.

    `passed_over`: the API server counted a failed call that it ignored meanwhile.
    """

    outcome: Outcome
    webhook: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    native: bool = False
    passed_over: bool = False
    pod: Object = field(default_factory=dict)
    """The pod as it came back, with its sidecar; {} where none came."""


@dataclass(frozen=True)
class Situation:
    """All that a judgement is made from.

    `kubectl` is how to call it for this cluster. `restore` is the command that makes the mesh
    whole again, () on a cluster that is no lab.
    """

    subject: Subject
    namespace: Namespace | None = None
    entries: tuple[Entry, ...] | None = None
    services: Mapping[tuple[str, str], Service] = field(default_factory=dict)
    trial: Trial | None = None
    control: Trial | None = None
    """The same without a sidecar, where the one with it was rejected."""
    symptoms: Symptoms | None = None
    """Of a pod that is there and has a sidecar."""
    generations: tuple[str, ...] = ()
    """Of the webhook's pods: how they differ, in words; () where they are alike or not known."""
    refusals: tuple[str, ...] = ()
    """Messages of the workload's FailedCreate events, the newest last."""
    settings: Settings = field(default_factory=Settings)
    """The injector's own, where its configuration can be read."""
    unknown: tuple[str, ...] = ()
    kubectl: tuple[str, ...] = ("kubectl",)
    restore: tuple[str, ...] = ()

    @property
    def foreign(self) -> bool:
        """Whether the injector that is there is another mesh's."""
        ours = (entry.service and entry.service[1] == contract.WEBHOOK_SERVICE for entry in
                self.entries or ())  # fmt: skip
        return bool(self.entries) and not any(ours)

    @property
    def matching(self) -> tuple[Entry, ...]:
        """The entries for which the API server calls the webhook about this pod."""
        if self.namespace is None:
            return ()
        return tuple(entry for entry in self.entries or () if calls(entry, self))


def calls(entry: Entry, situation: Situation) -> bool:
    """Whether the API server calls `entry` about the pod (conditions in CEL are not evaluated)."""
    spaces = situation.namespace.labels if situation.namespace else {}
    return (
        entry.sees_pods
        and entry.namespaces.matches(spaces)
        and entry.objects.matches(situation.subject.labels)
    )


def discovery_of(situation: Situation) -> tuple[str, str]:
    """Namespace and name of the Service that sidecars are configured by."""
    if situation.foreign:
        return next((entry.service for entry in situation.entries or () if entry.service), ("", ""))
    return contract.CONTROL_NAMESPACE, contract.DISCOVERY_SERVICE


def proxy_of(pod: Object) -> tuple[Object, bool] | None:
    """The sidecar of a pod and whether it is a native one; None when there is none.

    A container of that name whose image is still to be filled in (`auto`) is a wish, no sidecar.
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
