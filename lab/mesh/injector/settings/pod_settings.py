"""Defines the mesh's settings for all sidecars, and the settings for one pod's sidecar. Pure."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from lab.mesh import contract
from lab.mesh.injector.decision import Policy
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.proxy_config import ProxyConfig

NATIVE_SINCE: Final = (1, 33)
"""The first version of Kubernetes in which native sidecars are stable."""
_VERSION: Final = r"v?([0-9]+)\.([0-9]+)(?:[.+-].*)?"


class Settings(NamedTuple):
    """The mesh's settings for every sidecar; a pod overrides many of them by annotation.

    `requests`, `limits`: Kubernetes quantities. Requests are small so that many lab pods fit on
    a node with two CPUs. Periods are in seconds. `native_sidecar` is False by default because the
    walkthrough shows the classic kind of sidecar; Istio chooses as `native_by_version` does.
    """

    image: str = contract.PROXY_IMAGE
    pull_policy: str = "IfNotPresent"
    discovery_address: str = contract.DISCOVERY_ADDRESS
    cluster_domain: str = contract.CLUSTER_DOMAIN
    revision: str = "default"
    log_level: str = "warning"
    native_sidecar: bool = False
    hold_application: bool = False
    startup_period: int = 1
    startup_failures: int = 600
    readiness_period: int = 2
    readiness_failures: int = 4
    requests: Mapping[str, str] = MappingProxyType({"cpu": "10m", "memory": "40Mi"})
    limits: Mapping[str, str] = MappingProxyType({"cpu": "2", "memory": "1Gi"})
    policy: Policy = Policy()


def native_by_version(versions: Iterable[str]) -> bool:
    """Whether kubelets of all these versions (such as "v1.34.2") support native sidecars.

    False if there are no versions. Raises ValueError if a text is not a version of Kubernetes.
    """
    read = []
    for version in versions:
        match = re.fullmatch(_VERSION, version.strip())
        if not match:
            raise ValueError(f"{version!r} is no version of Kubernetes")
        read.append((int(match[1]), int(match[2])))
    return bool(read) and min(read) >= NATIVE_SINCE


class Owner(NamedTuple):
    """The workload that a pod belongs to, as the mesh names it."""

    name: str
    kind: str = "Pod"
    api_version: str = "v1"

    @property
    def address(self) -> str:
        """The value of the variable ISTIO_META_OWNER; kubelet fills in the namespace."""
        plural = self.kind.lower() + "s"
        return (
            f"kubernetes://apis/{self.api_version}/namespaces/$(POD_NAMESPACE)/{plural}/{self.name}"
        )


class Wishes(NamedTuple):
    """The settings for one pod's sidecar.

    `annotations`: the pod's, already checked. `config`: the pod's ProxyConfig. `settings`: the
    mesh's settings, used where the pod has none.
    """

    annotations: Mapping[str, str]
    config: ProxyConfig
    settings: Settings

    @property
    def mode(self) -> str:
        """How traffic reaches Envoy: REDIRECT, TPROXY or NONE."""
        return self.annotations.get(names.INTERCEPTION_MODE) or self.config.mode

    @property
    def status_port(self) -> int:
        """The agent's port; 0 means that no probes go to the agent."""
        annotation = self.annotations.get(names.STATUS_PORT)
        return int(annotation) if annotation else self.config.status_port or contract.AGENT_PORT

    @property
    def native(self) -> bool:
        """Whether istio-proxy shall be a native sidecar: an init container that keeps running."""
        wish = self.annotations.get(names.NATIVE_SIDECAR)
        return wish == "true" if wish in ("true", "false") else self.settings.native_sidecar

    @property
    def hold(self) -> bool:
        """Whether the application waits for the proxy."""
        return self.settings.hold_application if self.config.hold is None else self.config.hold

    def holding(self) -> "Wishes":
        """Returns a copy with `hold` true, unless the pod's ProxyConfig sets it to false."""
        return self._replace(settings=self.settings._replace(hold_application=True))

    @property
    def rewrite_probes(self) -> bool:
        """Whether the application's probes go through the agent."""
        return bool(self.status_port) and names.flag(
            self.annotations.get(names.REWRITE_PROBES), True
        )

    @property
    def merge_metrics(self) -> bool:
        """Whether the injector may add annotations that make Prometheus scrape the agent.

        It adds them only to a pod that has no annotations for Prometheus.
        """
        return bool(self.status_port) and names.flag(
            self.annotations.get(names.MERGE_METRICS), True
        )
