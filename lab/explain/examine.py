"""From an API server to a pod's symptoms: its events, its logs, Envoy's counters. Thin.

What cannot be read is a symptom less. Nothing that a pod answers is read without a limit.
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
from lab.mesh import contract

_STATISTICS: Final = "/stats/prometheus?filter=update_(rejected%7Ctime)"
_SLICES: Final = 2000
"""EndpointSlices at most among which an address is looked for."""


def examine(api: KubeApi, pod: Object, discovery: tuple[str, str]) -> Symptoms:
    """What one pod shows. `discovery`: the Service that configures it."""
    metadata = pod["metadata"]
    base = f"/api/v1/namespaces/{metadata['namespace']}"
    here = f"{base}/pods/{metadata['name']}"
    seen = symptoms.of_pod(pod)
    made = symptoms.moment(str(metadata.get("creationTimestamp", "")))
    seen = replace(seen, age=max(0.0, time.time() - made) if made is not None else 0.0)
    if not seen.ready:
        uid = str(metadata.get("uid", ""))
        events = _items(api, f"{base}/events", fieldSelector=f"involvedObject.uid={uid}")
        seen = replace(seen, events=symptoms.events(events, uid))
    logs = {one.name: _log(api, here, one) for one in _telling(seen)}
    proxy = logs.get(contract.PROXY_CONTAINER, "")
    if not proxy.strip() and not seen.ready:
        logs["discovery"] = _discovery_log(api, discovery)
    seen = replace(seen, logs=logs)
    if " rejected: " not in proxy:
        return seen
    counted = _read(api, f"{here}:{contract.ENVOY_STATS_PORT}/proxy{_STATISTICS}", STATISTICS_BYTES)
    if counted:
        seen = replace(seen, updates=symptoms.updates(counted))
    return replace(seen, holders=dict(_holders(api, refused.suspects(proxy))))


def _telling(seen: Symptoms) -> Iterator[Container]:
    """The containers whose logs may tell something."""
    for one in seen.containers:
        started = one.running or one.ended or one.restarts > 0
        sidecar = one.name == contract.PROXY_CONTAINER
        if started and (sidecar or one.failing or (one.restarts and one.name not in OURS)):
            yield one


def _log(api: KubeApi, pod: str, container: Container) -> str:
    """A container's log; of one that waits to be started again, that of its last run."""
    query = {
        "container": container.name,
        "tailLines": str(LOG_LINES),
        "limitBytes": str(LOG_BYTES),
    }
    found = _read(api, f"{pod}/log", LOG_BYTES, **query)
    if container.restarts and (container.failing or not container.ready):
        found = _read(api, f"{pod}/log", LOG_BYTES, **query, previous="true") + found
    return found


def _discovery_log(api: KubeApi, discovery: tuple[str, str]) -> str:
    namespace, name = discovery
    path = f"/api/v1/namespaces/{namespace}/pods"
    pods = _items(api, path, labelSelector=f"app={name}")
    query = {"tailLines": str(LOG_LINES), "limitBytes": str(LOG_BYTES)}
    return "".join(
        _read(api, f"{path}/{one['metadata']['name']}/log", LOG_BYTES, **query) for one in pods[:2]
    )


def _holders(api: KubeApi, addresses: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    if not addresses:
        return
    found = _items(api, "/apis/discovery.k8s.io/v1/endpointslices", limit=str(_SLICES))
    for address in addresses:
        for one in found:
            held = (a for each in one.get("endpoints") or () for a in each.get("addresses") or ())
            if address in held:
                meta = one["metadata"]
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
