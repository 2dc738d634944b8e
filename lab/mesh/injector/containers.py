"""Builds the two containers that injection adds to a pod. Pure.

Both containers run the same image. istio-init has a `command`, which replaces the image's
ENTRYPOINT; istio-proxy has only `args`, which the ENTRYPOINT gets. The walkthrough shows this.

The parts that are the same in every pod are built once, and all results share them. So no caller
may change them in place.
"""

from collections.abc import Mapping
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.grammar import traffic_grammar
from lab.mesh.injector.checks.program_checks import DNS_VARIABLES
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.pod_settings import Owner, Wishes
from lab.mesh.injector.sidecar_volumes import BOOTSTRAP_FILE, mounts

WORKLOAD_LABEL: Final = "service.istio.io/workload-name"
NETWORK_LABEL: Final = "topology.istio.io/network"

_DOWNWARD: Final = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "INSTANCE_IP": "status.podIP",
    "SERVICE_ACCOUNT": "spec.serviceAccountName",
    "HOST_IP": "status.hostIP",
    "ISTIO_META_NODE_NAME": "spec.nodeName",
}
_DOWNWARD_ENTRIES: Final = tuple(
    {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
    for name, path in _DOWNWARD.items()
)
_PORTS: Final = (
    {"name": "http-envoy-prom", "containerPort": contract.ENVOY_STATS_PORT, "protocol": "TCP"},
)


def init_container(wishes: Wishes) -> dict[str, Any]:
    """Returns istio-init, which applies the pod's redirection rules and ends."""
    metadata = wishes.config.metadata
    env = [{"name": k, "value": v} for k, v in metadata.items() if k not in DNS_VARIABLES]
    return {
        "name": contract.INIT_CONTAINER,
        "image": _image(wishes),
        "imagePullPolicy": wishes.settings.pull_policy,
        "command": [contract.IPTABLES_PROGRAM, *iptables_arguments(wishes)],
        **({"env": env} if env else {}),
        "resources": _resources(wishes),
        "securityContext": _security(0, 0, ("NET_ADMIN", "NET_RAW")),
    }


def iptables_arguments(wishes: Wishes) -> list[str]:
    """Returns the arguments of istio-iptables, from the mesh's ports and the pod's annotations."""
    annotations = wishes.annotations
    excluded_inbound = [
        str(contract.ENVOY_STATS_PORT),
        str(contract.ENVOY_HEALTH_PORT),
        *([str(wishes.status_port)] if wishes.status_port else []),
        *traffic_grammar.entries(annotations.get(names.EXCLUDE_INBOUND_PORTS, "")),
    ]
    arguments = [
        *("-p", str(contract.OUTBOUND_PORT)),
        *("-z", str(contract.INBOUND_PORT)),
        *("-u", str(contract.PROXY_UID)),
        *("-m", wishes.mode),
        *("-i", annotations.get(names.INCLUDE_OUTBOUND_CIDRS, "*")),
        *("-x", annotations.get(names.EXCLUDE_OUTBOUND_CIDRS, "")),
        *("-b", annotations.get(names.INCLUDE_INBOUND_PORTS, "*")),
        *("-d", ",".join(dict.fromkeys(excluded_inbound))),
    ]
    interfaces = annotations.get(
        names.REROUTE_INTERFACES, annotations.get(names.KUBEVIRT_INTERFACES)
    )
    optional = (
        ("-q", annotations.get(names.INCLUDE_OUTBOUND_PORTS)),
        ("-o", annotations.get(names.EXCLUDE_OUTBOUND_PORTS)),
        ("-k", interfaces),
        ("-c", annotations.get(names.EXCLUDE_INTERFACES)),
    )
    for flag, value in optional:
        if value:
            arguments += (flag, value)
    return arguments


def proxy_container(
    wishes: Wishes,
    owner: Owner,
    labels: Mapping[str, str],
    app_containers: str,
    app_ports: str,
    probers: str,
) -> dict[str, Any]:
    """Returns istio-proxy, which runs the agent (the image's ENTRYPOINT) and, as its child, Envoy.

    `labels`: the pod's labels. `app_containers`: the names of the application's containers, joined
    by commas. `app_ports`: the pod's declared ports as a JSON list. `probers`: the application's
    original probes as JSON, or "".
    """
    tproxy = wishes.mode == "TPROXY"
    container: dict[str, Any] = {
        "name": contract.PROXY_CONTAINER,
        "image": _image(wishes),
        "imagePullPolicy": wishes.settings.pull_policy,
        "args": _arguments(wishes),
        "env": _environment(wishes, owner, labels, app_containers, app_ports, probers),
        "ports": list(_PORTS),
        **_probes(wishes),
        "resources": _resources(wishes),
        "securityContext": _security(
            0 if tproxy else contract.PROXY_UID,
            contract.PROXY_GID,
            ("NET_ADMIN",) if tproxy else (),
        ),
        "volumeMounts": mounts(wishes),
    }
    if wishes.native:
        container["restartPolicy"] = "Always"
        if wishes.status_port:
            # The proxy gets its SIGTERM only after the application has ended; this hook makes it
            # drain when the pod begins to end, so that no new connections come in.
            container["lifecycle"] = {"preStop": _hook("request", wishes, "POST", "/drain")}
    elif wishes.hold:
        # Kubelet starts containers one after another and waits for this hook in between.
        container["lifecycle"] = {"postStart": _hook("wait", wishes)}
    return container


def _hook(command: str, wishes: Wishes, *more: str) -> dict[str, Any]:
    port = wishes.status_port
    where = () if port in (0, contract.AGENT_PORT) else ("--agentPort", str(port))
    return {"exec": {"command": ["pilot-agent", command, *where, *more]}}


def _arguments(wishes: Wishes) -> list[str]:
    settings, annotations = wishes.settings, wishes.annotations
    discovery = wishes.config.fields.get("discoveryAddress") or settings.discovery_address
    arguments = [
        *("proxy", "sidecar"),
        *("--domain", f"$(POD_NAMESPACE).svc.{settings.cluster_domain}"),
        *("--configPath", contract.CONFIG_DIR),
        *("--binaryPath", contract.ENVOY_PATH),
        *("--discoveryAddress", str(discovery)),
        *("--proxyLogLevel", annotations.get(names.LOG_LEVEL, settings.log_level)),
    ]
    for flag, name in (
        ("--proxyComponentLogLevel", names.COMPONENT_LOG_LEVEL),
        ("--log_output_level", names.AGENT_LOG_LEVEL),
    ):
        if name in annotations:
            arguments += (flag, annotations[name])
    if wishes.status_port not in (0, contract.AGENT_PORT):
        arguments += ("--agentPort", str(wishes.status_port))
    return arguments


def _environment(
    wishes: Wishes,
    owner: Owner,
    labels: Mapping[str, str],
    app_containers: str,
    app_ports: str,
    probers: str,
) -> list[dict[str, Any]]:
    domain = wishes.settings.cluster_domain
    plain = {
        "PROXY_CONFIG": wishes.config.environment,
        "ISTIO_META_POD_PORTS": app_ports,
        "ISTIO_META_APP_CONTAINERS": app_containers,
        "ISTIO_META_CLUSTER_ID": "Kubernetes",
        "ISTIO_META_INTERCEPTION_MODE": wishes.mode,
        "ISTIO_META_MESH_ID": domain,
        "TRUST_DOMAIN": domain,
    }
    if name := labels.get(WORKLOAD_LABEL) or owner.name:
        plain["ISTIO_META_WORKLOAD_NAME"] = name
    if owner.name and owner.api_version:
        plain["ISTIO_META_OWNER"] = owner.address
    if probers:
        plain[contract.PROBES_VARIABLE] = probers
    if network := labels.get(NETWORK_LABEL):
        plain["ISTIO_META_NETWORK"] = network
    if names.BOOTSTRAP_OVERRIDE in wishes.annotations:
        plain["ISTIO_BOOTSTRAP_OVERRIDE"] = BOOTSTRAP_FILE
    plain |= {key: value for key, value in wishes.config.metadata.items() if key not in _DOWNWARD}
    return [*_DOWNWARD_ENTRIES, *({"name": key, "value": value} for key, value in plain.items())]


def _probes(wishes: Wishes) -> dict[str, Any]:
    if not wishes.status_port:
        return {}
    annotations, settings = wishes.annotations, wishes.settings
    action = {"httpGet": {"path": "/healthz/ready", "port": wishes.status_port}}
    return {
        # Every second by default, so that a pod is Ready as soon as possible.
        "startupProbe": {
            **action,
            "periodSeconds": settings.startup_period,
            "timeoutSeconds": 3,
            "failureThreshold": settings.startup_failures,
        },
        "readinessProbe": {
            **action,
            "initialDelaySeconds": int(annotations.get(names.INITIAL_DELAY, 0)),
            "periodSeconds": int(annotations.get(names.PERIOD, settings.readiness_period)),
            "timeoutSeconds": 3,
            "failureThreshold": int(
                annotations.get(names.FAILURE_THRESHOLD, settings.readiness_failures)
            ),
        },
    }


def _image(wishes: Wishes) -> str:
    return wishes.annotations.get(names.PROXY_IMAGE) or wishes.settings.image


def _resources(wishes: Wishes) -> dict[str, Any]:
    """Returns the requests and limits of an injected container.

    As in Istio, a single resource annotation drops all of the mesh's defaults.
    """
    annotations = wishes.annotations
    if not any(name in annotations for name in names.RESOURCES):
        return {"requests": dict(wishes.settings.requests), "limits": dict(wishes.settings.limits)}
    chosen = {
        "requests": {
            "cpu": annotations.get(names.PROXY_CPU),
            "memory": annotations.get(names.PROXY_MEMORY),
        },
        "limits": {
            "cpu": annotations.get(names.PROXY_CPU_LIMIT),
            "memory": annotations.get(names.PROXY_MEMORY_LIMIT),
        },
    }
    present = {
        group: {key: value for key, value in entries.items() if value is not None}
        for group, entries in chosen.items()
    }
    return {group: entries for group, entries in present.items() if entries}


def _security(uid: int, gid: int, capabilities: tuple[str, ...]) -> dict[str, Any]:
    granted = {"add": list(capabilities)} if capabilities else {}
    return {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "capabilities": {**granted, "drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "runAsNonRoot": uid != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
