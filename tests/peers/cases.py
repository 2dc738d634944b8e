"""The corpus for kube-inject: what both injectors are given.

Oddities of text are files in corpus/; what differs only in data is a row of a table here.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.mesh import annotations as names
from lab.mesh import contract
from tests.peers.values import VALUES

FILES: Final = Path(__file__).parent / "corpus"
Data = dict[str, Any]


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
    for table in (_kinds(), _decisions(), _values(), _pods(), _probes(), _own_proxies()):
        yield from table


def pod(spec: Mapping[str, Any] | None = None, **metadata: Any) -> Data:
    """A Pod with one container, and what else is given."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}, **metadata},
        "spec": {"containers": [{"name": "app", "image": "nginx"}], **(spec or {})},
    }


def app(**fields: Any) -> Data:
    """A Pod whose one container has these fields."""
    return pod({"containers": [{"name": "app", "image": "nginx", **fields}]})


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


def _pods() -> Iterator[tuple[str, Data]]:
    two = [{"name": "one", "image": "nginx"}, {"name": "two", "image": "redis"}]
    inits = [{"name": "first", "image": "a"}, {"name": "second", "image": "b"}]
    native = {names.NATIVE_SIDECAR: "true"}
    held = {names.PROXY_CONFIG: "holdApplicationUntilProxyStarts: true"}
    yield "two containers", pod({"containers": two})
    yield "two containers, held", pod({"containers": two}, annotations=held)
    yield "init containers", pod({"containers": two, "initContainers": inits})
    yield (
        "init containers, native",
        pod({"containers": two, "initContainers": inits}, annotations=native),
    )
    log = {"name": "log", "image": "c", "restartPolicy": "Always"}
    yield "a user's native sidecar", pod({"initContainers": [inits[0], log, inits[1]]})
    yield (
        "a user's native sidecar, ours native too",
        pod({"initContainers": [inits[0], log]}, annotations=native),
    )
    yield "volumes", pod(
        {"volumes": [{"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
                     {"name": "conf", "configMap": {"name": "c", "optional": True}}]}
    )  # fmt: skip
    yield (
        "a volume named as one of ours",
        pod({"volumes": [{"name": "istio-envoy", "emptyDir": {"sizeLimit": "5Mi"}}]}),
    )
    yield "security of the pod", pod(
        {"securityContext": {"runAsUser": 1000, "fsGroup": 2000, "runAsNonRoot": True,
                             "sysctls": [{"name": "net.core.somaxconn", "value": "1024"}]}}
    )  # fmt: skip
    hardened = {"runAsUser": 1000, "readOnlyRootFilesystem": True, "privileged": False,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}  # fmt: skip
    yield "security of a container", app(securityContext=hardened)
    yield "the proxy's own user", app(securityContext={"runAsUser": 1337})
    yield "a rich pod", pod(
        {
            "serviceAccountName": "robot", "nodeSelector": {"disk": "ssd"}, "hostname": "h",
            "imagePullSecrets": [{"name": "pull"}], "priorityClassName": "high",
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}]}},
            "topologySpreadConstraints": [
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
            "dnsPolicy": "ClusterFirst",
            "dnsConfig": {"options": [{"name": "ndots", "value": "2"}]},
            "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
            "readinessGates": [{"conditionType": "example.com/gate"}],
            "automountServiceAccountToken": False, "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 5, "restartPolicy": "OnFailure",
        },
        annotations={"example.com/any": "thing"},
    )  # fmt: skip
    yield (
        "a DNS policy of its own",
        pod({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"]}}),
    )
    yield "environment of all sorts", app(
        env=[
            {"name": "PLAIN", "value": "v"}, {"name": "EMPTY", "value": ""},
            {"name": "REF", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        ],
        envFrom=[{"configMapRef": {"name": "all"}}],
        resources={"requests": {"cpu": "0.25"}, "limits": {"memory": "1024Mi", "cpu": 1}},
        volumeDevices=[{"name": "raw", "devicePath": "/dev/xvda"}],
    )  # fmt: skip
    yield "ports of all sorts", app(
        ports=[{"name": "http", "containerPort": 8080}, {"containerPort": 53, "protocol": "UDP"},
               {"name": "node", "containerPort": 9000, "hostPort": 9000, "hostIP": "127.0.0.1"}]
    )  # fmt: skip
    yield (
        "labels that name the workload",
        pod(labels={"app.kubernetes.io/name": "n", "app.kubernetes.io/version": "2", "app": "a"}),
    )
    canonical = {"service.istio.io/canonical-name": "c", "service.istio.io/canonical-revision": "r"}
    yield "canonical labels of its own", pod(labels=canonical)
    ephemeral = [{"name": "debug", "image": "busybox", "targetContainerName": "app"}]
    yield "an ephemeral container", pod({"ephemeralContainers": ephemeral})
    yield "no labels at all", pod(labels={})


def _probes() -> Iterator[tuple[str, Data]]:
    actions: dict[str, Data] = {
        "HTTP": {"httpGet": {"path": "/p", "port": 8080}},
        "HTTP of a named port": {"httpGet": {"path": "/p", "port": "web"}},
        "HTTP of an unknown port": {"httpGet": {"path": "/p", "port": "nowhere"}},
        "HTTPS": {"httpGet": {"path": "/p", "port": 8443, "scheme": "HTTPS"}},
        "HTTP with headers": {
            "httpGet": {"path": "/p", "port": 8080, "httpHeaders": [{"name": "Host", "value": "h"}]}
        },
        "HTTP of another host": {"httpGet": {"path": "/p", "port": 8080, "host": "10.1.2.3"}},
        "HTTP of the agent": {"httpGet": {"path": "/healthz/ready", "port": 15020}},
        "HTTP without a path": {"httpGet": {"port": 8080}},
        "TCP": {"tcpSocket": {"port": 8080}},
        "TCP of a named port": {"tcpSocket": {"port": "web"}},
        "TCP of another host": {"tcpSocket": {"port": 8080, "host": "10.1.2.3"}},
        "gRPC": {"grpc": {"port": 9000}},
        "gRPC of a service": {"grpc": {"port": 9000, "service": "shop.Cart"}},
        "exec": {"exec": {"command": ["true"]}},
    }
    ports = [{"name": "web", "containerPort": 8080}]
    for name, action in actions.items():
        timed = {**action, "periodSeconds": 3, "timeoutSeconds": 2, "failureThreshold": 4}
        yield (
            f"probes by {name}",
            app(ports=ports, readinessProbe=timed, livenessProbe=action, startupProbe=timed),
        )
    for name in ("HTTP", "HTTP of a named port", "HTTPS", "HTTP with headers", "TCP", "exec"):
        hooks = {"postStart": actions[name], "preStop": actions[name]}
        yield f"hooks by {name}", app(ports=ports, lifecycle=hooks)
    yield "a hook that sleeps", app(lifecycle={"preStop": {"sleep": {"seconds": 3}}})
    log = {"name": "log", "image": "c", "restartPolicy": "Always", "startupProbe": actions["TCP"]}
    yield "probes of an init container", pod({"initContainers": [{**log, "ports": ports}]})
    probed = {"image": "nginx", "livenessProbe": actions["HTTP"]}
    yield (
        "probes of two containers",
        pod({"containers": [{"name": "one", **probed}, {"name": "two", **probed}]}),
    )


def _own_proxies() -> Iterator[tuple[str, Data]]:
    own: dict[str, Data] = {
        "nothing": {},
        "resources": {"resources": {"limits": {"cpu": "9"}, "requests": {"memory": "1Gi"}}},
        "an image": {"image": "example.com/own:1"},
        "environment": {
            "env": [{"name": "TRUST_DOMAIN", "value": "td"}, {"name": "X", "value": "y"}]
        },
        "a mount": {"volumeMounts": [{"name": "mine", "mountPath": "/mine"}]},
        "a hook": {"lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}}},
        "a user": {"securityContext": {"runAsUser": 4711, "runAsGroup": 4711}},
        "arguments": {"args": ["proxy", "sidecar", "--concurrency", "1"]},
        "a port": {"ports": [{"name": "more", "containerPort": 15999}]},
        "a probe": {"readinessProbe": {"httpGet": {"path": "/other", "port": 15020}}},
    }  # fmt: skip
    for name, fields in own.items():
        proxy = {"name": "istio-proxy", "image": "auto", **fields}
        both = [proxy, {"name": "app", "image": "nginx"}]
        yield f"own istio-proxy: {name}", pod({"containers": both})
    proxy = {"name": "istio-proxy", "image": "auto", **own["resources"]}
    both = [{"name": "app", "image": "nginx"}, proxy]
    native = {names.NATIVE_SIDECAR: "true"}
    yield "own istio-proxy, native", pod({"containers": both}, annotations=native)
    yield (
        "own istio-proxy as an init container, native",
        pod({"initContainers": [proxy]}, annotations=native),
    )
    user = {"name": "istio-proxy", "image": "auto", **own["a user"]}
    tproxy = {names.INTERCEPTION_MODE: "TPROXY"}
    yield (
        "own istio-proxy: a user with TPROXY",
        pod({"containers": [user, {"name": "app", "image": "nginx"}]}, annotations=tproxy),
    )
    init = {"name": "istio-init", "image": "auto", "env": [{"name": "A", "value": "b"}]}
    yield "own istio-init", pod({"initContainers": [init]})
    yield "only an istio-proxy", pod({"containers": [proxy]})
