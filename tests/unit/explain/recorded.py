"""What a lab's API server said of broken pods, cut to what an explanation reads."""

from collections.abc import Mapping
from typing import Any

from lab.explain import symptoms
from lab.explain.symptoms import Symptoms
from lab.mesh import contract
from tests.unit.explain.sample import pod_of, with_proxy

UID = "0d6b9d4e"
INIT, PROXY = contract.INIT_CONTAINER, contract.PROXY_CONTAINER
RUNNING: Mapping[str, Any] = {"running": {"startedAt": "2026-11-25T10:16:42Z"}}
FETCH: Mapping[str, Any] = {"name": "fetch", "image": "curl"}
INITIALIZING: Mapping[str, Any] = {"waiting": {"reason": "PodInitializing"}}


def ended(code: int, reason: str = "") -> dict[str, Any]:
    return {
        "terminated": {"exitCode": code, "reason": reason or ("Error" if code else "Completed")}
    }


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def status(
    name: str,
    state: Mapping[str, Any],
    *,
    last: Mapping[str, Any] | None = None,
    ready: bool = False,
    restarts: int = 0,
) -> dict[str, Any]:
    return {
        "name": name,
        "state": dict(state),
        "lastState": dict(last or {}),
        "ready": ready,
        "restartCount": restarts,
    }


def injected(
    annotations: Mapping[str, str] | None = None,
    spec: Mapping[str, Any] | None = None,
    *,
    inits: tuple[Mapping[str, Any], ...] = (),
    statuses: tuple[dict[str, Any], ...] = (),
    conditions: tuple[dict[str, Any], ...] = (),
) -> dict[str, Any]:
    """Pod web-1 with a classic sidecar; `inits` come behind istio-init."""
    pod = with_proxy(pod_of({}, annotations, spec))
    rules = {"name": INIT, "image": "proxy"}
    pod["spec"]["initContainers"] = [*pod["spec"].get("initContainers", ()), rules, *inits]
    resources = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "10m"}}
    pod["spec"]["containers"][-1] |= {
        "resources": resources,
        "volumeMounts": [
            {"name": "istio-envoy", "mountPath": "/etc/istio/proxy"},
            {"name": "custom-bootstrap-volume", "mountPath": "/etc/istio/custom-bootstrap"},
            {"name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio"},
        ],
    }
    names = {one["name"] for one in pod["spec"]["initContainers"]}
    pod["metadata"] |= {"name": "web-1", "namespace": "shop", "uid": UID}
    pod["status"] = {
        "conditions": list(conditions),
        "initContainerStatuses": [one for one in statuses if one["name"] in names],
        "containerStatuses": [one for one in statuses if one["name"] not in names],
    }
    return pod


def event(reason: str, message: str, container: str = "", uid: str = UID) -> dict[str, Any]:
    about = {"kind": "Pod", "uid": uid}
    if container:
        group = "initContainers" if container == INIT else "containers"
        about["fieldPath"] = f"spec.{group}{{{container}}}"
    return {"type": "Warning", "reason": reason, "message": message, "involvedObject": about}


def shown(
    pod: Mapping[str, Any],
    *events: Mapping[str, Any],
    logs: Mapping[str, str] | None = None,
    age: float = 60.0,
    **more: Any,
) -> Symptoms:
    """The symptoms of a pod, as they are gathered."""
    from dataclasses import replace

    found = symptoms.events(events, UID)
    return replace(symptoms.of_pod(pod), events=found, logs=logs or {}, age=age, **more)


STARTED = (
    "2026-11-25T10:16:42.293Z\tINFO\tpilot-agent\twrote /etc/istio/proxy/envoy-rev0.json\n"
    "2026-11-25T10:16:42.487Z\tINFO\tpilot-agent\tEnvoy runs as pid 10 (start 1)\n"
)
PORT_15001 = STARTED + (
    "2026-11-25T10:16:42.793714Z\twarning\tenvoy upstream source/common/listener_manager/lds_api.cc"
    ":89\tlds: listener 'virtualOutbound' config rejected: cannot bind '0.0.0.0:15001': Address "
    "already in use\tthread=10\n"
    "2026-11-25T10:16:42.794015Z\twarning\tenvoy config source/extensions/config_subscription/grpc/"
    "grpc_subscription_impl.cc:160\tgRPC config for type.googleapis.com/envoy.config.listener.v3."
    "Listener rejected: Error adding/updating listener(s) virtualOutbound: cannot bind "
    "'0.0.0.0:15001': Address already in use\n\tthread=10\n"
)
PORT_15000 = STARTED + (
    "2026-11-25T10:16:56.129498Z\tcritical\tenvoy main source/server/server.cc:449\terror `cannot "
    "bind '127.0.0.1:15000': Address already in use` initializing config\tthread=21\n"
)
PORT_15020 = STARTED + (
    "error: agentPort: cannot listen on port 15020: [Errno 98] Address already in use\n"
    "hint: another process of this pod uses it; see `netstat -ntlp | grep 15020`\n"
)
PORT_15020_ISTIO = (
    "2026-11-25T10:16:42Z\tinfo\tOpening status port 15020\n"
    "2026-11-25T10:16:42Z\terror\tError listening on status port: listen tcp :15020: bind: address "
    "already in use\n"
)
LATE = (
    "nginx: [emerg] bind() to 0.0.0.0:15001 failed (98: Address already in use)\n"
    "nginx: [emerg] still could not bind()\n"
)
NODE_LATE = "Error: listen EADDRINUSE: address already in use :::15006\n    at Server.setup\n"
NO_NAME = STARTED + (
    "2026-11-25T10:15:45.976Z\tWARNING\tpilot-agent\txDS: sidecar-lab-discovery.sidecar-lab.svc:"
    "15012: [Errno -2] Name or service not known; Envoy will try again\n"
)
REFUSED = STARTED + (
    "2026-11-25T10:15:45.976Z\tWARNING\tpilot-agent\txDS: sidecar-lab-discovery.sidecar-lab.svc:"
    "15012: [Errno 111] Connection refused; Envoy will try again\n"
)
KILLED = STARTED + "".join(
    f"2026-11-25T10:15:{50 + n}.391Z\tWARNING\tpilot-agent\tEnvoy (pid {14 + n}) was killed by "
    f"SIGKILL after 0.1 s; starting it again in {2**n}.6 s\n"
    for n in range(3)
)
ENDPOINTS = STARTED + (
    "2026-11-25T10:17:33.935088Z\twarning\tenvoy config source/extensions/config_subscription/grpc/"
    "grpc_subscription_impl.cc:160\tgRPC config for type.googleapis.com/envoy.config.endpoint.v3."
    "ClusterLoadAssignment rejected: malformed IP address: db.example.com. Consider setting "
    "resolver_name or setting cluster type to 'STRICT_DNS' or 'LOGICAL_DNS'\tthread=10\n"
)
CLUSTER = STARTED + (
    "2026-11-25T10:17:33.935088Z\twarning\tenvoy config grpc_subscription_impl.cc:160\tgRPC config "
    "for type.googleapis.com/envoy.config.cluster.v3.Cluster rejected: Error adding/updating "
    "cluster(s) outbound|80||ext.shop.svc.cluster.local: no such policy\tthread=10\n"
)
STATISTICS = """\
# TYPE envoy_cluster_manager_cds_update_rejected counter
envoy_cluster_manager_cds_update_rejected{} 1
envoy_cluster_manager_cds_update_time{} 1795601853929
envoy_listener_manager_lds_update_rejected{} 0
envoy_listener_manager_lds_update_time{} 1795601853953
envoy_cluster_brk_svc_cluster_local_update_rejected{envoy_cluster_name="outbound|80||ext"} 1
envoy_cluster_brk_svc_cluster_local_update_time{envoy_cluster_name="outbound|80||ext"} 0
envoy_cluster_kube_system_svc_cluster_local_update_rejected{envoy_cluster_name="outbound|53||dns"} 0
envoy_cluster_kube_system_svc_cluster_local_update_time{envoy_cluster_name="outbound|53||dns"} 0
envoy_http_0_0_0_80_rds_80_update_rejected{envoy_http_conn_manager_prefix="outbound_0"} 0
envoy_http_0_0_0_80_rds_80_update_time{envoy_http_conn_manager_prefix="outbound_0"} 1795601853954
"""
CRASHED = (
    "error: no rule can be read or set here\nhint: this process lacks the capability NET_ADMIN\n"
)
NO_RULES = "error: no rule can be read or set here"
