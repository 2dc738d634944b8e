"""Holds what the mesh decides for every sidecar, and what one pod wishes for its own. Pure."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from lab.mesh import contract
from lab.mesh.injector.decision import Policy
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.proxy_config import ProxyConfig

NATIVE_SINCE: Final = (1, 33)
"""Version of Kubernetes since which native sidecars are stable; earlier ones may lack them."""
_VERSION: Final = r"v?([0-9]+)\.([0-9]+)(?:[.+-].*)?"


class Settings(NamedTuple):
    """What the mesh decides for every sidecar; pods override by annotation.

    `requests`, `limits`: Kubernetes quantities. Requests are small so that many lab pods fit
    a node of two CPUs. Periods are in seconds. `native_sidecar` is False as the walkthrough
    shows the classic kind; `native_by_version` chooses as Istio does.
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
    """Whether all kubelets, of these versions ("v1.34.2"), support native sidecars.

    Raises ValueError for what is no version. Returns False if there are no versions.
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
        """The value of Istio's ISTIO_META_OWNER; kubelet fills in the namespace."""
        plural = self.kind.lower() + "s"
        return (
            f"kubernetes://apis/{self.api_version}/namespaces/$(POD_NAMESPACE)/{plural}/{self.name}"
        )


class Wishes(NamedTuple):
    """What one pod wishes for its sidecar: its annotations, read and checked, and the defaults."""

    annotations: Mapping[str, str]
    config: ProxyConfig
    settings: Settings

    @property
    def mode(self) -> str:
        """REDIRECT, TPROXY or NONE."""
        return self.annotations.get(names.INTERCEPTION_MODE) or self.config.mode

    @property
    def status_port(self) -> int:
        """The agent's port; 0: no probes go to it."""
        annotation = self.annotations.get(names.STATUS_PORT)
        return int(annotation) if annotation else self.config.status_port or contract.AGENT_PORT

    @property
    def native(self) -> bool:
        """Whether istio-proxy is an init container that keeps running."""
        wish = self.annotations.get(names.NATIVE_SIDECAR)
        return wish == "true" if wish in ("true", "false") else self.settings.native_sidecar

    @property
    def hold(self) -> bool:
        """Whether the application waits for the proxy."""
        return self.settings.hold_application if self.config.hold is None else self.config.hold

    def holding(self) -> "Wishes":
        """Returns the same, but the application waits for the proxy, unless its config decides."""
        return self._replace(settings=self.settings._replace(hold_application=True))

    @property
    def rewrite_probes(self) -> bool:
        """Whether the application's probes go through the agent."""
        return bool(self.status_port) and names.flag(
            self.annotations.get(names.REWRITE_PROBES), True
        )

    @property
    def merge_metrics(self) -> bool:
        """Whether annotations send Prometheus to the agent."""
        return bool(self.status_port) and names.flag(
            self.annotations.get(names.MERGE_METRICS), True
        )
