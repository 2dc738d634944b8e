"""Situations to judge: the lab's own webhook as its manifest says, and one as Istio installs it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml

from lab.explain.gather import api_objects
from lab.explain.situation import (
    Entry,
    Holder,
    Namespace,
    Port,
    Service,
    Situation,
    Subject,
    Workload,
)
from lab.mesh import contract
from lab.mesh.label_selectors import parse
from lab.paths import manifests

INJECT = contract.INJECT_POD_LABEL
ON = {contract.INJECTION_LABEL: "enabled"}
PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
ROOT = PEM.format("AAAA")
MADE = "2026-01-01T10:00:00Z"
KEY = (contract.CONTROL_NAMESPACE, contract.WEBHOOK_SERVICE)


def ours() -> tuple[Entry, ...]:
    found = yaml.safe_load((manifests() / "lab" / "injector.yaml").read_text())
    return tuple(replace(one, authority=ROOT, since=MADE) for one in api_objects.entries([found]))


def revisioned(*names: str) -> tuple[Entry, ...]:
    """Entries for revisions alone: nothing is meant for istio-injection."""
    return tuple(
        Entry(
            configuration=f"injector-{name}",
            index=0,
            name=f"rev.{name}.example",
            namespaces=parse(
                {
                    "matchExpressions": [
                        {"key": "istio.io/rev", "operator": "In", "values": [name]},
                        {"key": "istio-injection", "operator": "DoesNotExist"},
                    ]
                }
            ),
            service=("istio-system", f"istiod-{name}"),
            authority=ROOT,
        )
        for name in names
    )


def service(**changes: Any) -> Service:
    sound = Service(
        namespace=KEY[0],
        name=KEY[1],
        selector={"app": KEY[1]},
        ports=(Port(443, "https", "8443"),),
        ready={443: 2},
        workloads=(Workload(KEY[1], {"app": KEY[1]}, 2, 2, (Port(8443, "https"),)),),
        root=ROOT,
    )
    return replace(sound, **changes)


def template(
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    *,
    own: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
    namespace: str = "shop",
    kind: str = "Deployment",
) -> Subject:
    """The pod template of `kind` web; `own` is the workload's own metadata."""
    pod = pod_of(labels, annotations, spec)
    where = ("spec", "template")
    return Subject("template", namespace, "web", pod, Holder(kind, "web", own or {}, pod), where)


def pod_of(
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web", **(labels or {})}, "annotations": annotations or {}},
        "spec": {"containers": [{"name": "web", "image": "web"}], **(spec or {})},
    }


def live(pod: Mapping[str, Any] | None = None, *, created: str = "", **more: Any) -> Subject:
    """A pod web-1; without a holder unless one is given."""
    return Subject("live", "shop", "web-1", pod or pod_of(), created=created, **more)


def situation(
    subject: Subject | None = None, labels: Mapping[str, str] | None = None, **more: Any
) -> Situation:
    """A sound mesh; `labels` are the namespace's."""
    chosen = subject or template()
    name = chosen.namespace
    given = {"kubernetes.io/metadata.name": name, **(labels or {})}
    known: dict[str, Any] = {
        "namespace": Namespace(name, labels=given),
        "entries": ours(),
        "services": {KEY: service()},
        **more,
    }
    return Situation(chosen, **known)


def with_proxy(pod: Mapping[str, Any], *, native: bool = False) -> dict[str, Any]:
    """The pod with a sidecar."""
    group = "initContainers" if native else "containers"
    proxy = {"name": contract.PROXY_CONTAINER, "image": "proxy"}
    spec = {**pod["spec"], group: [*pod["spec"].get(group, ()), proxy]}
    return {**pod, "spec": spec}
