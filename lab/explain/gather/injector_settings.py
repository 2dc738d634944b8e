"""Reads the settings of a cluster's injector from the injector's ConfigMap."""

from typing import Final

import yaml

from lab.explain.dry_run import short
from lab.explain.gather import api_objects
from lab.explain.situation import Situation
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.mesh import contract
from lab.mesh.errors import SidecarLabError
from lab.mesh.injector.settings import config
from lab.mesh.injector.settings.pod_settings import Settings

_ISTIO_CONFIG: Final = ("istio-sidecar-injector", "config")
"""The ConfigMap in which Istio keeps the injector's policy: its name, and the key."""


def read(api: KubeApi, known: Situation, unknown: list[str]) -> Settings:
    """Returns the injector's settings, or the defaults if they cannot be read.

    If the ConfigMap has invalid settings, appends the reason to `unknown`. For the injector of
    another mesh, only the policy is read, and all other settings are the defaults.
    """
    entries = known.matching or known.entries or ()
    service = next((entry.service for entry in entries if entry.service), None)
    if service is None:
        return Settings()
    name, key = _ISTIO_CONFIG if known.foreign else contract.INJECTOR_CONFIG
    text = _config_map(api, service[0], name, key)
    try:
        if known.foreign:
            return Settings(policy=api_objects.policy(yaml.safe_load(text)))
        kubelets = _kubelets(api) if "auto" in text else ()
        return config.read(text, f"ConfigMap {name}", None, kubelets)
    except (yaml.YAMLError, SidecarLabError) as bad:
        unknown.append(f"the injector's policy (ConfigMap {name}: {short(str(bad))})")
        return Settings()


def _config_map(api: KubeApi, namespace: str, name: str, key: str) -> str:
    try:
        config_map = api.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
    except ApiError:
        return ""  # without it, the explanation uses the injector's default settings
    return str((config_map.get("data") or {}).get(key, ""))


def _kubelets(api: KubeApi) -> tuple[str, ...]:
    """Returns the versions of the nodes' kubelets, () if they cannot be read."""
    try:
        nodes = api.items("/api/v1/nodes")
    except ApiError:
        return ()
    return tuple(node["status"]["nodeInfo"]["kubeletVersion"] for node in nodes)
