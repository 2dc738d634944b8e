"""Writes a failure bundle: the files that a reader needs to find the cause of a failure.

Each failed step or set-up gets a folder, which is written before anything else changes the cluster.
Size and time are limited. If a part of the bundle cannot be read, the others are still written, and
the index names the missing part with the reason.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.errors import ObservationError
from lab.mesh import contract
from lab.observe import api_objects
from lab.observe.cluster import Cluster
from lab.observe.pod import Pod

FILE_LIMIT = 1 << 20
"""Largest size of one part in bytes. Of a longer part the middle is replaced by a note."""
BUNDLE_LIMIT = 32 << 20
"""When a bundle has this many bytes, no further part is written."""
TIME_LIMIT = 30.0
"""After this many seconds no further part is read; the index lists it as missing."""
INDEX = "index.txt"

Part = tuple[str, Callable[[], str]]
"""The path of a file in the bundle, and the function that reads the text for this file."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. `files` are the paths, below `folder`, of the parts that were written.

    `missing` has a pair for each other part: its path, and the reason why it is missing.
    """

    folder: Path
    files: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]


def write_bundle(
    cluster: Cluster,
    namespace: str,
    folder: Path,
    *,
    about: str = "",
    seconds: float = TIME_LIMIT,
) -> Bundle:
    """Empty `folder` and write a bundle about `namespace` and the mesh's control plane into it.

    The index begins with `about` (the step, the failure, the diagnosis). Raises OSError when the
    folder cannot be written.
    """
    return write_parts(folder, parts(cluster, namespace), about=about, seconds=seconds)


def write_parts(
    folder: Path, wanted: Iterable[Part], *, about: str = "", seconds: float = TIME_LIMIT
) -> Bundle:
    """Empty `folder`; write each part that can be read within the limits; then write the index."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    deadline = time.monotonic() + seconds
    files: list[str] = []
    missing: list[tuple[str, str]] = []
    left = BUNDLE_LIMIT
    for path, reader in wanted:
        if time.monotonic() > deadline:
            missing.append((path, f"the time limit of {seconds:g} s is over"))
            continue
        if left <= 0:
            missing.append((path, f"the bundle has reached its limit of {BUNDLE_LIMIT >> 20} MiB"))
            continue
        try:
            data = bounded(reader())
        except ObservationError as error:
            missing.append((path, error.message))
            continue
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        left -= len(data)
        files.append(path)
    lines = [about.rstrip(), ""] if about else []
    lines += [*files, *(f"missing: {path}: {reason}" for path, reason in missing)]
    (folder / INDEX).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Bundle(folder, tuple(files), tuple(missing))


def bounded(text: str, limit: int = FILE_LIMIT) -> bytes:
    """Return `text` as UTF-8. If it is longer than `limit` bytes, its middle is left out.

    The cause of a failure is usually at the beginning or at the end of a log.
    """
    data = text.encode("utf-8", errors="replace")
    if len(data) <= limit:
        return data
    half = limit // 2
    note = f"\n[… {len(data) - 2 * half} bytes left out …]\n".encode()
    return data[:half] + note + data[-half:]


def parts(cluster: Cluster, namespace: str) -> Iterator[Part]:
    """Yield the parts of a bundle, the most useful first. Their texts are not read yet."""
    yield "events.txt", lambda: _lines(cluster.events(namespace))
    yield "workloads.yaml", lambda: _workloads(cluster, namespace)
    yield from _pods(cluster, namespace, "")
    yield "control/events.txt", lambda: _lines(cluster.events(contract.CONTROL_NAMESPACE))
    yield (
        "control/webhook-configuration.yaml",
        lambda: _yaml(
            cluster.get(
                "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/"
                + contract.WEBHOOK_CONFIGURATION
            )
        ),
    )
    yield from _pods(cluster, contract.CONTROL_NAMESPACE, "control/", inside=False)


def _pods(cluster: Cluster, namespace: str, under: str, *, inside: bool = True) -> Iterator[Part]:
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        listed = cluster.get(path).get("items") or ()
    except ObservationError as error:
        problem = error  # the name of an `except` clause does not outlive it

        def failed() -> str:
            raise problem

        yield f"{under}pods", failed
        return
    for pod_object in listed:
        meta = pod_object["metadata"]
        pod = Pod(cluster, meta["namespace"], meta["name"], meta["uid"])
        yield from _pod(pod, {"kind": "Pod", **pod_object}, f"{under}{pod.name}/", inside)


def _pod(pod: Pod, pod_object: api_objects.Object, under: str, inside: bool) -> Iterator[Part]:
    yield f"{under}pod.yaml", lambda: _yaml(pod_object)
    containers = (*api_objects.pod_inits(pod_object), *api_objects.pod_containers(pod_object))
    for container in containers:
        yield f"{under}logs/{container.name}.log", _log(pod, container.name, previous=False)
        if container.restarts:
            yield (
                f"{under}logs/{container.name}.previous.log",
                _log(pod, container.name, previous=True),
            )
    if not inside or not any(container.container_id for container in containers):
        return
    yield f"{under}rules.txt", _tool(pod, "iptables-save", "-c")
    yield f"{under}sockets.txt", lambda: _lines(sorted(map(str, pod.listeners())))
    yield f"{under}interfaces.txt", lambda: _lines(pod.interfaces())
    yield f"{under}routes.txt", lambda: _lines(pod.routes())
    yield f"{under}connections.txt", _tool(pod, "netstat", "-ant")
    for container in containers:
        if container.running:
            yield f"{under}processes/{container.name}.txt", _processes(pod, container.name)
    if any(
        container.name == contract.PROXY_CONTAINER and container.running for container in containers
    ):
        for name in ("server_info", "config_dump", "clusters", "listeners", "stats"):
            suffix = "?include_eds" if name == "config_dump" else ""
            if name in ("clusters", "listeners"):
                suffix = "?format=json"
            yield f"{under}envoy/{name}.txt", _envoy(pod, f"/{name}{suffix}")


def _log(pod: Pod, container: str, *, previous: bool) -> Callable[[], str]:
    return lambda: pod.logs(container, previous=previous, tail=5000)


def _tool(pod: Pod, *argv: str) -> Callable[[], str]:
    def read() -> str:
        done = pod.run(argv)
        return done.stdout + done.stderr

    return read


def _processes(pod: Pod, container: str) -> Callable[[], str]:
    return lambda: _lines(
        f"{process.user} {process.pid} {process.ppid} {json.dumps(process.argv)}"
        for process in pod.processes(container)
    )


def _envoy(pod: Pod, path: str) -> Callable[[], str]:
    return lambda: pod.envoy().get(path)


def _workloads(cluster: Cluster, namespace: str) -> str:
    objects: list[Any] = []
    for path in (
        f"/apis/apps/v1/namespaces/{namespace}/deployments",
        f"/apis/apps/v1/namespaces/{namespace}/replicasets",
        f"/apis/batch/v1/namespaces/{namespace}/jobs",
        f"/api/v1/namespaces/{namespace}/services",
    ):
        objects += cluster.get(path).get("items") or ()
    return _yaml([cluster.get(f"/api/v1/namespaces/{namespace}"), *objects])


def _lines(items: Iterable[object]) -> str:
    return "".join(f"{_line(item)}\n" for item in items)


def _line(reading: object) -> str:
    if (
        isinstance(reading, api_objects.Event)
        or not dataclasses.is_dataclass(reading)
        or isinstance(reading, type)
    ):
        return str(reading)
    values = {item.name: getattr(reading, item.name) for item in dataclasses.fields(reading)}
    return " ".join(
        f"{name}={sorted(value) if isinstance(value, frozenset) else value}"
        for name, value in values.items()
    )


def _yaml(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
