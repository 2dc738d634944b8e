"""Frozen data about a pod, its namespace and the mesh's webhook.

In a field that can be None, None means "not known" if the docstring does not say otherwise.
`Situation.unknown` lists what could not be read, and why. Times are texts as the API writes them
(RFC 3339, UTC, to the second), so the later of two times is also the greater text.
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
"""Where a subject comes from.

"live": an existing pod of the cluster. "template": the pod template of a workload of the cluster.
"file": a manifest.
"""
Outcome = Literal["injected", "plain", "refused", "failed", "rejected", "untried"]
"""Result of a dry run.

"injected": the pod came back with a sidecar. "plain": it came back without a sidecar. "refused": a
webhook refused the pod. "failed": a webhook could not be called. "rejected": the API server itself
rejected the pod. "untried": the user has no right to create pods.
"""
REVISION_LABEL: Final = "istio.io/rev"
"""Label of a namespace or pod that chooses one of several injectors."""
INJECTION_KEYS: Final = frozenset(
    {contract.INJECTION_LABEL, contract.INJECT_POD_LABEL, REVISION_LABEL}
)
"""Labels for injection. A webhook whose selectors look at one of them counts as an injector."""


@dataclass(frozen=True)
class Holder:
    """Identifies the workload that creates the pods.

    `template`: the workload's pod template, {} if it was not read.
    """

    kind: str
    name: str
    metadata: Object = field(default_factory=dict)
    template: Object = field(default_factory=dict)


@dataclass(frozen=True)
class Subject:
    """The pod or pod template to explain.

    `pod`: the metadata and spec of the pod or template. `where`: path of the template in the
    workload's object, () for a pod. `created`: the pod's creation time. For a subject from a
    manifest, `place` is the file and line, `file` is the file's name ("" for standard input), and
    `alone` says whether the file has no other document.
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
        """The words that name the subject in a sentence, such as "pod web-1"."""
        if self.origin == "live" or self.holder is None:
            return f"pod {self.name}"
        return f"pod template of {self.holder.kind} {self.holder.name}"


@dataclass(frozen=True)
class Namespace:
    """A namespace. `since`: the time of each label's last change, as far as it is known."""

    name: str
    exists: bool = True
    labels: Labels = field(default_factory=dict)
    created: str = ""
    since: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One webhook entry of a MutatingWebhookConfiguration.

    `index`: the entry's position in the configuration. `sees_pods`: whether the rules cover the
    creation of pods. `conditions`: number of matchConditions. `ignores_failure`: whether
    failurePolicy is Ignore. `service`: namespace and name of the Service, None for an entry with a
    URL. `authority`: the caBundle as PEM text. `since`: creation time of the configuration.
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
    """A port of a Service or a container. `target`: the targetPort of a Service's port."""

    number: int
    name: str = ""
    target: str = ""


@dataclass(frozen=True)
class Workload:
    """A Deployment in the namespace of the webhook's Service.

    `labels`: the labels in its pod template. `wanted`: number of replicas in its spec. `ready`:
    number of ready replicas.
    """

    name: str
    labels: Labels
    wanted: int
    ready: int
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True)
class RootPlace:
    """Where the mesh publishes its root certificate: a key of a ConfigMap or a Secret."""

    namespace: str
    resource: str
    name: str
    key: str

    @classmethod
    def of(cls, namespace: str, service: str) -> "RootPlace":
        """Returns where the mesh that has this webhook Service publishes its root certificate.

        For the lab's webhook, this is a Secret; for another mesh, Istio's ConfigMap.
        """
        if (namespace, service) == (contract.CONTROL_NAMESPACE, contract.WEBHOOK_SERVICE):
            return cls(namespace, "secret", service, "ca.crt")
        return cls(namespace, "configmap", contract.CA_CONFIG_MAP, contract.CA_CONFIG_MAP_KEY)


@dataclass(frozen=True)
class Service:
    """A Service of the webhook or of discovery, and what is known about its namespace.

    `ready`: for each port number of the Service, the number of ready addresses. `workloads`: the
    Deployments of the namespace. `root`: the root certificate that the mesh publishes there (PEM
    text), "" if none was found.
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
        """The Deployment whose pods the Service selects, None if there is none."""
        for workload in self.workloads:
            if self.selector and self.selector.items() <= workload.labels.items():
                return workload
        return None


@dataclass(frozen=True)
class Trial:
    """The answer to a dry-run create.

    `webhook`: name of the webhook entry that the answer's message names, "" if it names none.
    `native`: whether the sidecar is a native one. `passed_over`: whether the API server ignored a
    failed webhook call during the dry run.
    """

    outcome: Outcome
    webhook: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()
    native: bool = False
    passed_over: bool = False
    pod: Object = field(default_factory=dict)
    """The pod that came back, if it has a sidecar; else {}."""


@dataclass(frozen=True)
class Situation:
    """What a verdict is derived from: facts about a pod, its namespace, webhook and injector.

    The answers to dry runs and the pod's symptoms are among these facts.

    `kubectl`: the first words of each kubectl command for this cluster. `restore`: the command that
    installs the mesh again, () if the cluster is not a lab.
    """

    subject: Subject
    namespace: Namespace | None = None
    entries: tuple[Entry, ...] | None = None
    services: Mapping[tuple[str, str], Service] = field(default_factory=dict)
    trial: Trial | None = None
    control: Trial | None = None
    """A second dry run, in which the pod declines a sidecar. Sent only if `trial` was rejected."""
    symptoms: Symptoms | None = None
    """Symptoms of an existing pod with a sidecar, None for any other subject."""
    generations: tuple[str, ...] = ()
    """One text for each ready webhook pod if these pods differ in image or template, else ()."""
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
        """The webhook entries that match the pod. The API server calls their webhooks."""
        if self.namespace is None:
            return ()
        return tuple(entry for entry in self.entries or () if calls(entry, self))


def calls(entry: Entry, situation: Situation) -> bool:
    """Returns whether the API server calls `entry` for the pod.

    The matchConditions of the entry are not evaluated.
    """
    spaces = situation.namespace.labels if situation.namespace else {}
    return (
        entry.sees_pods
        and entry.namespaces.matches(spaces)
        and entry.objects.matches(situation.subject.labels)
    )


def discovery_of(situation: Situation) -> tuple[str, str]:
    """Returns namespace and name of the Service from which sidecars get their configuration."""
    if situation.foreign:
        return next((entry.service for entry in situation.entries or () if entry.service), ("", ""))
    return contract.CONTROL_NAMESPACE, contract.DISCOVERY_SERVICE


def proxy_of(pod: Object) -> tuple[Object, bool] | None:
    """Returns a pod's sidecar, and whether it is a native one; None if the pod has no sidecar.

    A container named istio-proxy with `image: auto`, or without an image, is not a sidecar yet: the
    injector completes it.
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
