"""Converts JSON objects of the Kubernetes API to the data types of situation.py. Pure."""

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.explain.situation import (
    INJECTION_KEYS,
    Entry,
    Namespace,
    Object,
    Port,
    RootPlace,
    Service,
    Workload,
)
from lab.mesh.injector.decision import Policy
from lab.mesh.label_selectors import parse


def entries(configurations: Iterable[Object]) -> tuple[Entry, ...]:
    """Returns the entries of those MutatingWebhookConfigurations that inject sidecars.

    A configuration counts as one that injects if a selector looks at a label of INJECTION_KEYS.
    """
    injecting = []
    for configuration in configurations:
        meta = configuration["metadata"]
        own_entries = [
            _entry(meta, index, hook)
            for index, hook in enumerate(configuration.get("webhooks") or ())
        ]
        if any(
            (entry.namespaces.keys | entry.objects.keys) & INJECTION_KEYS for entry in own_entries
        ):
            injecting += own_entries
    return tuple(injecting)


def _entry(meta: Object, index: int, hook: Object) -> Entry:
    client = hook.get("clientConfig") or {}
    service = client.get("service")
    return Entry(
        configuration=meta["name"],
        index=index,
        name=hook.get("name", ""),
        namespaces=parse(hook.get("namespaceSelector")),
        objects=parse(hook.get("objectSelector")),
        sees_pods=any(map(_covers_pods, hook.get("rules") or ())),
        conditions=len(hook.get("matchConditions") or ()),
        ignores_failure=hook.get("failurePolicy") == "Ignore",
        service=(service["namespace"], service["name"]) if service else None,
        port=int((service or {}).get("port") or 443),
        path=(service or {}).get("path", ""),
        url=client.get("url", ""),
        authority=_decoded(client.get("caBundle", "")),
        since=meta.get("creationTimestamp", ""),
    )


def _covers_pods(rule: Object) -> bool:
    def has(key: str, value: str) -> bool:
        values = rule.get(key) or ()
        return value in values or "*" in values

    resources = rule.get("resources") or ()
    return (
        has("operations", "CREATE")
        and has("apiGroups", "")
        and has("apiVersions", "v1")
        and any(resource in ("pods", "*", "*/*") for resource in resources)
        and rule.get("scope") != "Cluster"
    )


def _decoded(bundle: str) -> str:
    try:
        return base64.b64decode(bundle).decode()
    except (ValueError, binascii.Error):
        return ""


def namespace(space: Object) -> Namespace:
    """Returns a namespace with its labels and, if known, the times at which they were last set."""
    meta = space["metadata"]
    return Namespace(
        name=meta["name"],
        labels=meta.get("labels") or {},
        created=meta.get("creationTimestamp", ""),
        since=dict(_since(meta.get("managedFields") or ())),
    )


def _since(managed: Sequence[Object]) -> Iterator[tuple[str, str]]:
    for manager in managed:
        labels = ((manager.get("fieldsV1") or {}).get("f:metadata") or {}).get("f:labels") or {}
        for key in labels:
            if key.startswith("f:") and manager.get("time"):
                yield key.removeprefix("f:"), manager["time"]


def root(place: RootPlace, published: Object) -> str:
    """Returns the root certificate (PEM text) in the object `published`, "" if it has none.

    `place`: where the object was read.
    """
    text = str((published.get("data") or {}).get(place.key, ""))
    return _decoded(text) if place.resource == "secret" else text


def service(
    service_object: Object, slices: Iterable[Object], deployments: Iterable[Object], root: str
) -> Service:
    """Returns a Service with its ready addresses and what is known about its namespace.

    `deployments`: the namespace's Deployments. `root`: the root certificate that the mesh publishes
    there (PEM text).
    """
    meta, spec = service_object["metadata"], service_object.get("spec") or {}
    ports = tuple(
        Port(int(port["port"]), port.get("name", ""), str(port.get("targetPort", "")))
        for port in spec.get("ports") or ()
    )
    return Service(
        namespace=meta["namespace"],
        name=meta["name"],
        selector=spec.get("selector") or {},
        ports=ports,
        ready=_ready(ports, slices),
        workloads=tuple(map(_workload, deployments)),
        root=root,
    )


def _ready(ports: Sequence[Port], slices: Iterable[Object]) -> Mapping[int, int]:
    addresses: dict[int, set[str]] = {port.number: set() for port in ports}
    for piece in slices:
        names = {port.get("name") or "" for port in piece.get("ports") or ()}
        here = {
            address
            for endpoint in piece.get("endpoints") or ()
            # The API defines an absent condition as ready.
            if (endpoint.get("conditions") or {}).get("ready") in (True, None)
            for address in endpoint.get("addresses") or ()
        }
        for port in ports:
            if port.name in names:
                addresses[port.number] |= here
    return {number: len(ready) for number, ready in addresses.items()}


def _workload(deployment: Object) -> Workload:
    spec, status = deployment.get("spec") or {}, deployment.get("status") or {}
    template = spec.get("template") or {}
    containers = (template.get("spec") or {}).get("containers") or ()
    return Workload(
        name=deployment["metadata"]["name"],
        labels=(template.get("metadata") or {}).get("labels") or {},
        wanted=int(spec.get("replicas", 1)),
        ready=int(status.get("readyReplicas", 0)),
        ports=tuple(
            Port(int(port["containerPort"]), port.get("name", ""))
            for container in containers
            for port in container.get("ports") or ()
        ),
    )


def generations(pods: Iterable[Object]) -> tuple[str, ...]:
    """Compares the images and the templates of those pods that are ready.

    If they differ, returns one text for each of these pods, with its name, images and template.
    Returns () if all are equal.
    """
    running = {}
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status") or {}
        containers = status.get("containerStatuses") or ()
        if meta.get("deletionTimestamp") or not containers or not all(
            each.get("ready") for each in containers
        ):  # fmt: skip
            continue
        images = ", ".join(
            str(each.get("imageID") or each.get("image")).rpartition(":")[2][:12]
            for each in containers
        )
        template = (meta.get("labels") or {}).get("pod-template-hash") or "none"
        running[meta["name"]] = f"image {images}, template {template}"
    if len(set(running.values())) < 2:
        return ()
    return tuple(f"{name}: {what}" for name, what in sorted(running.items()))


def policy(config: Any) -> Policy:
    """Returns the policy in an injector's configuration.

    Returns the default policy if `config` is not a JSON object. The lab's injector and Istio's use
    the same fields.
    """
    if not isinstance(config, Mapping):
        return Policy()
    return Policy(
        policy=str(config.get("policy") or "enabled"),
        never=tuple(map(parse, config.get("neverInjectSelector") or ())),
        always=tuple(map(parse, config.get("alwaysInjectSelector") or ())),
    )
