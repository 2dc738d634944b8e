"""The two containers and the volumes that a pod gets. Pure.

istio-init has a `command` and istio-proxy has `args`, on one image, as the walkthrough shows:
a command replaces the image's ENTRYPOINT, args are given to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lab.mesh import annotations as names
from lab.mesh import contract
from lab.mesh.annotations import ProxyConfig, csv
from lab.mesh.decision import Policy

VOLUME_CONFIG: Final = "istio-envoy"
VOLUME_DATA: Final = "istio-data"
VOLUME_PODINFO: Final = "istio-podinfo"
VOLUME_ROOT: Final = "istiod-ca-cert"
VOLUMES: Final = (VOLUME_CONFIG, VOLUME_DATA, VOLUME_PODINFO, VOLUME_ROOT)


@dataclass(frozen=True)
class Settings:
    """What the mesh decides for every sidecar; pods override by annotation.

    `requests`, `limits`: Kubernetes quantities. Requests are small so that many lab pods fit
    a node of two CPUs. Seconds where not said otherwise.
    """

    image: str = contract.PROXY_IMAGE
    pull_policy: str = "IfNotPresent"
    discovery_address: str = contract.DISCOVERY_ADDRESS
    cluster_domain: str = contract.CLUSTER_DOMAIN
    log_level: str = "warning"
    native_sidecar: bool = False
    hold_application: bool = False
    startup_period: int = 1
    startup_failures: int = 600
    readiness_period: int = 2
    readiness_failures: int = 4
    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "10m", "memory": "40Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"cpu": "2", "memory": "1Gi"})
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True)
class Owner:
    """The workload that a pod belongs to, as the mesh names it."""

    name: str
    kind: str = "Pod"
    api_version: str = "v1"

    @property
    def address(self) -> str:
        """Istio's ISTIO_META_OWNER; kubelet fills in the namespace."""
        plural = self.kind.lower() + "s"
        return (
            f"kubernetes://apis/{self.api_version}/namespaces/$(POD_NAMESPACE)/{plural}/{self.name}"
        )


@dataclass(frozen=True)
class Wishes:
    """What one pod's annotations, read and checked, say about its sidecar."""

    annotations: Mapping[str, str]
    config: ProxyConfig
    settings: Settings

    @property
    def mode(self) -> str:
        """REDIRECT, TPROXY or NONE."""
        return self.annotations.get(names.INTERCEPTION_MODE, "REDIRECT")

    @property
    def status_port(self) -> int:
        """The agent's port; 0: no probes go to it."""
        return int(self.annotations.get(names.STATUS_PORT, contract.AGENT_PORT))

    @property
    def native(self) -> bool:
        """Whether istio-proxy is an init container that keeps running."""
        wish = self.annotations.get(names.NATIVE_SIDECAR)
        return wish == "true" if wish in ("true", "false") else self.settings.native_sidecar

    @property
    def hold(self) -> bool:
        """Whether the application waits for the proxy."""
        return self.settings.hold_application if self.config.hold is None else self.config.hold

    @property
    def rewrite_probes(self) -> bool:
        """Whether the application's probes go through the agent."""
        return bool(self.status_port) and self.annotations.get(names.REWRITE_PROBES) != "false"


def init_container(wishes: Wishes) -> dict[str, Any]:
    """istio-init: programs the pod's redirection rules and ends."""
    return {
        "name": contract.INIT_CONTAINER,
        "image": _image(wishes),
        "imagePullPolicy": wishes.settings.pull_policy,
        "command": [contract.IPTABLES_PROGRAM, *iptables_arguments(wishes)],
        "resources": _resources(wishes),
        "securityContext": _security(
            0, 0, ("NET_ADMIN", "NET_RAW"), allowPrivilegeEscalation=False, privileged=False
        ),
    }


def iptables_arguments(wishes: Wishes) -> list[str]:
    """The arguments of istio-iptables: the mesh's defaults and the pod's exclusions."""
    given = wishes.annotations
    excluded_inbound = [
        str(contract.ENVOY_STATS_PORT),
        str(contract.ENVOY_HEALTH_PORT),
        *([str(wishes.status_port)] if wishes.status_port else []),
        *csv(given.get(names.EXCLUDE_INBOUND_PORTS, "")),
    ]
    arguments = [
        *("-p", str(contract.OUTBOUND_PORT)),
        *("-z", str(contract.INBOUND_PORT)),
        *("-u", str(contract.PROXY_UID)),
        *("-m", wishes.mode),
        *("-i", given.get(names.INCLUDE_OUTBOUND_CIDRS, "*")),
        *("-x", given.get(names.EXCLUDE_OUTBOUND_CIDRS, "")),
        *("-b", given.get(names.INCLUDE_INBOUND_PORTS, "*")),
        *("-d", ",".join(dict.fromkeys(excluded_inbound))),
    ]
    interfaces = given.get(names.REROUTE_INTERFACES, given.get(names.KUBEVIRT_INTERFACES))
    optional = (
        ("-q", given.get(names.INCLUDE_OUTBOUND_PORTS)),
        ("-o", given.get(names.EXCLUDE_OUTBOUND_PORTS)),
        ("-k", interfaces),
        ("-c", given.get(names.EXCLUDE_INTERFACES)),
    )
    for flag, value in optional:
        if value:
            arguments += (flag, value)
    return arguments


def proxy_container(
    wishes: Wishes, owner: Owner, app_containers: str, app_ports: str, probers: str
) -> dict[str, Any]:
    """istio-proxy: the agent (the image's ENTRYPOINT) and, as its child, Envoy.

    `app_containers`: names joined by commas; `app_ports`: JSON list; `probers`: JSON or "".
    """
    settings = wishes.settings
    tproxy = wishes.mode == "TPROXY"
    container: dict[str, Any] = {
        "name": contract.PROXY_CONTAINER,
        "image": _image(wishes),
        "imagePullPolicy": settings.pull_policy,
        "args": [
            *("proxy", "sidecar"),
            *("--domain", f"$(POD_NAMESPACE).svc.{settings.cluster_domain}"),
            *("--configPath", contract.CONFIG_DIR),
            *("--binaryPath", contract.ENVOY_PATH),
            *(
                "--discoveryAddress",
                str(wishes.config.fields.get("discoveryAddress") or settings.discovery_address),
            ),
            *("--proxyLogLevel", wishes.annotations.get(names.LOG_LEVEL, settings.log_level)),
            *(
                ("--agentPort", str(wishes.status_port))
                if wishes.status_port not in (0, contract.AGENT_PORT)
                else ()
            ),
        ],
        "env": _environment(wishes, owner, app_containers, app_ports, probers),
        "ports": [
            {
                "name": "http-envoy-prom",
                "containerPort": contract.ENVOY_STATS_PORT,
                "protocol": "TCP",
            }
        ],
        **_probes(wishes),
        "resources": _resources(wishes),
        "securityContext": _security(
            0 if tproxy else contract.PROXY_UID,
            contract.PROXY_GID,
            ("NET_ADMIN",) if tproxy else (),
            allowPrivilegeEscalation=False,
            privileged=False,
        ),
        "volumeMounts": [
            {"name": VOLUME_CONFIG, "mountPath": contract.CONFIG_DIR},
            {"name": VOLUME_DATA, "mountPath": "/var/lib/istio/data"},
            {"name": VOLUME_PODINFO, "mountPath": contract.POD_INFO_DIR},
            {"name": VOLUME_ROOT, "mountPath": contract.ROOT_CERT_DIR, "readOnly": True},
        ],
    }
    if wishes.native:
        container["restartPolicy"] = "Always"
    elif wishes.hold:
        # Kubelet starts containers one after another and waits for this hook in between.
        container["lifecycle"] = {"postStart": {"exec": {"command": ["pilot-agent", "wait"]}}}
    return container


def volumes() -> list[dict[str, Any]]:
    """What istio-proxy mounts: its configuration, the pod's labels, the mesh's root."""
    fields = [
        {"path": part, "fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.{part}"}}
        for part in ("labels", "annotations")
    ]
    return [
        {"name": VOLUME_CONFIG, "emptyDir": {"medium": "Memory"}},
        {"name": VOLUME_DATA, "emptyDir": {}},
        {"name": VOLUME_PODINFO, "downwardAPI": {"items": fields}},
        {"name": VOLUME_ROOT, "configMap": {"name": contract.CA_CONFIG_MAP}},
    ]


def _environment(
    wishes: Wishes, owner: Owner, app_containers: str, app_ports: str, probers: str
) -> list[dict[str, Any]]:
    own = {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "INSTANCE_IP": "status.podIP",
        "SERVICE_ACCOUNT": "spec.serviceAccountName",
        "HOST_IP": "status.hostIP",
        "ISTIO_META_NODE_NAME": "spec.nodeName",
    }
    plain = {
        "PROXY_CONFIG": wishes.config.environment,
        "ISTIO_META_POD_PORTS": app_ports,
        "ISTIO_META_APP_CONTAINERS": app_containers,
        "ISTIO_META_CLUSTER_ID": "Kubernetes",
        "ISTIO_META_INTERCEPTION_MODE": wishes.mode,
        "ISTIO_META_WORKLOAD_NAME": owner.name,
        "ISTIO_META_OWNER": owner.address,
        "ISTIO_META_MESH_ID": wishes.settings.cluster_domain,
        "TRUST_DOMAIN": wishes.settings.cluster_domain,
        **({"ISTIO_KUBE_APP_PROBERS": probers} if probers else {}),
    }
    plain |= {key: value for key, value in wishes.config.metadata.items() if key not in own}
    return [
        *(
            {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
            for name, path in own.items()
        ),
        *({"name": name, "value": value} for name, value in plain.items()),
    ]


def _probes(wishes: Wishes) -> dict[str, Any]:
    if not wishes.status_port:
        return {}
    given, settings = wishes.annotations, wishes.settings
    asking = {"httpGet": {"path": "/healthz/ready", "port": wishes.status_port}}
    return {
        # Every second, so that a pod is Ready as soon as it can be.
        "startupProbe": {
            **asking,
            "periodSeconds": settings.startup_period,
            "timeoutSeconds": 3,
            "failureThreshold": settings.startup_failures,
        },
        "readinessProbe": {
            **asking,
            "initialDelaySeconds": int(given.get(names.INITIAL_DELAY, 0)),
            "periodSeconds": int(given.get(names.PERIOD, settings.readiness_period)),
            "timeoutSeconds": 3,
            "failureThreshold": int(
                given.get(names.FAILURE_THRESHOLD, settings.readiness_failures)
            ),
        },
    }


def _image(wishes: Wishes) -> str:
    return wishes.annotations.get(names.PROXY_IMAGE) or wishes.settings.image


def _resources(wishes: Wishes) -> dict[str, Any]:
    """Any resource annotation drops all of the mesh's defaults, as in Istio."""
    given = wishes.annotations
    if not any(name in given for name in names.RESOURCES):
        return {"requests": dict(wishes.settings.requests), "limits": dict(wishes.settings.limits)}
    chosen = {
        "requests": {"cpu": given.get(names.PROXY_CPU), "memory": given.get(names.PROXY_MEMORY)},
        "limits": {
            "cpu": given.get(names.PROXY_CPU_LIMIT),
            "memory": given.get(names.PROXY_MEMORY_LIMIT),
        },
    }
    said = {
        group: {key: value for key, value in entries.items() if value is not None}
        for group, entries in chosen.items()
    }
    return {group: entries for group, entries in said.items() if entries}


def _security(uid: int, gid: int, capabilities: tuple[str, ...], **more: bool) -> dict[str, Any]:
    granted = {"add": list(capabilities)} if capabilities else {}
    return {
        **more,
        "capabilities": {**granted, "drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsUser": uid,
        "runAsGroup": gid,
        "runAsNonRoot": uid != 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
