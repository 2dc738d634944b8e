"""Reads a pod's symptoms from an API server: its events, its logs, Envoy's counters.

A symptom that cannot be read is left out. Logs and counters are read up to a size limit, because
the pod decides what it sends.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from lab.explain import symptoms
from lab.explain.findings import refused
from lab.explain.situation import Object
from lab.explain.symptoms import (
    LOG_BYTES,
    LOG_LINES,
    OURS,
    STATISTICS_BYTES,
    Container,
    Symptoms,
)
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.kube.paths import pods as pods_of
from lab.mesh import contract

_STATISTICS: Final = "/stats/prometheus?filter=update_(rejected%7Ctime)"
_SLICES: Final = 2000
"""At most this number of EndpointSlices is searched for an address."""


def examine(api: KubeApi, pod: Object, discovery: tuple[str, str]) -> Symptoms:
    """Reads and returns one pod's symptoms.

    `discovery`: namespace and name of the Service from which the sidecar gets its configuration.
    """
    metadata = pod["metadata"]
    base = f"/api/v1/namespaces/{metadata['namespace']}"
    here = f"{base}/pods/{metadata['name']}"
    observed = symptoms.of_pod(pod)
    created = symptoms.moment(str(metadata.get("creationTimestamp", "")))
    observed = replace(
        observed, age=max(0.0, time.time() - created) if created is not None else 0.0
    )
    if not observed.ready:
        uid = str(metadata.get("uid", ""))
        events = _items(api, f"{base}/events", fieldSelector=f"involvedObject.uid={uid}")
        observed = replace(observed, events=symptoms.events(events, uid))
    logs = {container.name: _log(api, here, container) for container in _with_useful_logs(observed)}
    proxy = logs.get(contract.PROXY_CONTAINER, "")
    if not proxy.strip() and not observed.ready:
        logs["discovery"] = _discovery_log(api, discovery)
    observed = replace(observed, logs=logs)
    if " rejected: " not in proxy:
        return observed
    counted = _read(api, f"{here}:{contract.ENVOY_STATS_PORT}/proxy{_STATISTICS}", STATISTICS_BYTES)
    if counted:
        observed = replace(observed, updates=symptoms.updates(counted))
    return replace(observed, holders=dict(_holders(api, refused.suspects(proxy))))


def _with_useful_logs(observed: Symptoms) -> Iterator[Container]:
    """Yields the containers whose logs may contain the reason why the pod does not work."""
    for container in observed.containers:
        started = container.running or container.ended or container.restarts > 0
        sidecar = container.name == contract.PROXY_CONTAINER
        if started and (
            sidecar or container.failing or (container.restarts and container.name not in OURS)
        ):
            yield container


def _log(api: KubeApi, pod: str, container: Container) -> str:
    """Returns the end of a container's log.

    If the container was restarted and does not work, the log of its previous run comes first.
    """
    query = {
        "container": container.name,
        "tailLines": str(LOG_LINES),
        "limitBytes": str(LOG_BYTES),
    }
    text = _read(api, f"{pod}/log", LOG_BYTES, **query)
    if container.restarts and (container.failing or not container.ready):
        text = _read(api, f"{pod}/log", LOG_BYTES, **query, previous="true") + text
    return text


def _discovery_log(api: KubeApi, discovery: tuple[str, str]) -> str:
    namespace, name = discovery
    path = pods_of(namespace)
    pods = _items(api, path, labelSelector=f"app={name}")
    query = {"tailLines": str(LOG_LINES), "limitBytes": str(LOG_BYTES)}
    return "".join(
        _read(api, f"{path}/{found_pod['metadata']['name']}/log", LOG_BYTES, **query)
        for found_pod in pods[:2]
    )


def _holders(api: KubeApi, addresses: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not addresses:
        return
    slices = _items(api, "/apis/discovery.k8s.io/v1/endpointslices", limit=str(_SLICES))
    for address in addresses:
        for piece in slices:
            held = (a for each in piece.get("endpoints") or () for a in each.get("addresses") or ())
            if address in held:
                meta = piece["metadata"]
                yield address, f"EndpointSlice {meta['namespace']}/{meta['name']}"
                break


def _items(api: KubeApi, path: str, **query: str) -> list[Object]:
    try:
        return list(api.items(path, **query))
    except ApiError:
        return []


def _read(api: KubeApi, path: str, most: int, **query: str) -> str:
    try:
        return api.excerpt(path, most, query)
    except ApiError:
        return ""
