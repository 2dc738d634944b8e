"""The corpus for kube-inject: what both injectors are given.

Oddities of text are files in corpus/; what differs only in data is a row of a table here.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.injector.settings import annotations as names
from tests.peers import case_pods
from tests.peers.pods import Data, app, pod
from tests.peers.values import VALUES

FILES: Final = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Case:
    """One manifest; `name` tells what is special about it."""

    name: str
    text: bytes


def corpus() -> tuple[Case, ...]:
    """All of it, names unique, in a fixed order."""
    found = [Case(file.name, file.read_bytes()) for file in sorted(FILES.iterdir())]
    found += (Case(name, json.dumps(value).encode()) for name, value in _tables())
    return tuple(found)


def _tables() -> Iterator[tuple[str, Data]]:
    for table in (
        _kinds(),
        _decisions(),
        _values(),
        case_pods.various(),
        case_pods.unfit(),
        case_pods.probes(),
        case_pods.own_proxies(),
    ):
        yield from table


def _template(**metadata: Any) -> Data:
    whole = pod(**metadata)
    return {"metadata": {"labels": {"app": "web"}, **metadata}, "spec": whole["spec"]}


def _workload(kind: str, version: str, spec: Data, **metadata: Any) -> Data:
    made = {"name": f"my-{kind.lower()}", **metadata}
    return {"apiVersion": version, "kind": kind, "metadata": made, "spec": spec}


def _kinds() -> Iterator[tuple[str, Data]]:
    selector = {"matchLabels": {"app": "web"}}
    chosen = {"selector": selector, "template": _template()}
    yield "kind Pod", pod()
    yield "kind Deployment", _workload("Deployment", "apps/v1", {"replicas": 3, **chosen})
    yield "kind DaemonSet", _workload("DaemonSet", "apps/v1", chosen)
    yield "kind ReplicaSet", _workload("ReplicaSet", "apps/v1", chosen)
    claims = [
        {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}}
    ]
    yield (
        "kind StatefulSet",
        _workload("StatefulSet", "apps/v1", {**chosen, "volumeClaimTemplates": claims}),
    )
    yield (
        "kind ReplicationController",
        _workload("ReplicationController", "v1", {**chosen, "selector": {"app": "web"}}),
    )
    yield "kind Job", _workload("Job", "batch/v1", {"backoffLimit": 2, "template": _template()})
    cron: Data = {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": _template()}}}
    yield "kind CronJob", _workload("CronJob", "batch/v1", cron)
    declined = {"sidecar.istio.io/inject": "false"}
    cron = {**cron, "jobTemplate": {"spec": {"template": _template(labels=declined)}}}
    yield "kind CronJob, its pods decline", _workload("CronJob", "batch/v1", cron)
    yield (
        "kind Deployment without a name",
        {
            **_workload("Deployment", "apps/v1", chosen),
            "metadata": {},
        },
    )
    long = "a-name-of-sixty-three-or-more-characters-which-no-label-can-hold-x"
    bare = {**chosen, "template": {"spec": pod()["spec"]}}
    yield "a name too long for a label", _workload("Deployment", "apps/v1", bare, name=long)
    yield "no template metadata", _workload("Deployment", "apps/v1", bare)
    yield "Deployment in a namespace", _workload("Deployment", "apps/v1", chosen, namespace="shop")
    yield "Deployment without a template", _workload("Deployment", "apps/v1", {"replicas": 1})
    yield "ReplicationController without a template", _workload("ReplicationController", "v1", {})
    big = "\n".join(f"line {number} of a long text" for number in range(40_000))
    yield (
        "ConfigMap of 1 MB",
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "big"},
            "data": {"text": big},
        },
    )
    yield "Pod of 1 MB", app(args=[big])
    every = [{"name": f"c{number}", "image": "nginx"} for number in range(50)]
    yield "fifty containers", pod({"containers": every})
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d59f98", "uid": "u"}
    yield (
        "Pod of a Deployment",
        pod(
            generateName="web-5d59f98-",
            labels={"pod-template-hash": "5d59f98"},
            ownerReferences=[{**owner, "controller": True}],
        ),
    )
    job = {"apiVersion": "batch/v1", "kind": "Job", "name": "backup-28473920", "uid": "u"}
    yield (
        "Pod of a CronJob",
        pod(generateName="backup-28473920-", ownerReferences=[{**job, "controller": True}]),
    )


def _decisions() -> Iterator[tuple[str, Data]]:
    label = contract.INJECT_POD_LABEL
    for value in ("true", "false", "yes", ""):
        yield f"label inject {value!r}", pod(labels={label: value})
        yield f"annotation inject {value!r}", pod(annotations={label: value})
    yield "label yes, annotation no", pod(labels={label: "true"}, annotations={label: "false"})
    yield "label no, annotation yes", pod(labels={label: "false"}, annotations={label: "true"})
    yield "host network", pod({"hostNetwork": True}, labels={label: "true"})
    yield (
        "host network refused by its label too",
        pod({"hostNetwork": True}, labels={label: "false"}),
    )
    for namespace in sorted(contract.IGNORED_NAMESPACES):
        yield f"Pod in {namespace}", pod(namespace=namespace)
    chosen = {"selector": {"matchLabels": {"app": "web"}}, "template": _template()}
    system = _workload("Deployment", "apps/v1", chosen, namespace="kube-system")
    yield "Deployment in kube-system", system
    yield (
        "a declined pod with a bad annotation",
        pod(labels={label: "false"}, annotations={names.PROXY_CPU: "lots"}),
    )
    yield "a revision asked for", pod(labels={"istio.io/rev": "canary"})


def _values() -> Iterator[tuple[str, Data]]:
    for name, values in VALUES.items():
        for value in values:
            probed = app(
                ports=[{"containerPort": 8080}],
                livenessProbe={"httpGet": {"path": "/live", "port": 8080}},
            )
            probed["metadata"]["annotations"] = {name: value}
            if name == names.USER_VOLUME_MOUNT:
                probed["spec"]["volumes"] = [{"name": "mine", "emptyDir": {}}]
            yield f"{name}: {value!r}", probed
    both = {names.REROUTE_INTERFACES: "tap1", names.KUBEVIRT_INTERFACES: "tap0"}
    yield "both interface annotations", pod(annotations=both)
    two = {names.PROXY_CPU: "lots", names.STATUS_PORT: "http"}
    yield "two bad annotations", pod(annotations=two)
    held = {names.PROXY_CONFIG: "holdApplicationUntilProxyStarts: true"}
    yield "held and native", pod(annotations={**held, names.NATIVE_SIDECAR: "true"})
    none = {names.INTERCEPTION_MODE: "NONE", names.NATIVE_SIDECAR: "true"}
    yield "native without rules", pod(annotations=none)
    network = {"topology.istio.io/network": "far", "service.istio.io/workload-name": "named"}
    yield "labels that name network and workload", pod(labels=network)
