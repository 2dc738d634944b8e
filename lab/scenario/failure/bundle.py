"""A failure bundle: what a reader needs to find the cause, written before the world moves on.

One folder a step. Bounded in size and time, and one missing part never costs the others: it is
named, with its reason, in the index.
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
"""Bytes kept of one part: its first and last half, with a note between them."""
BUNDLE_LIMIT = 32 << 20
"""Bytes of a whole bundle."""
TIME_LIMIT = 30.0
"""Seconds for a whole bundle; parts that come later are named as missing."""
INDEX = "index.txt"

Part = tuple[str, Callable[[], str]]
"""A file's path within the bundle, and what reads its text."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk: its files' paths within `folder`, and (path, reason) of what is missing."""

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
    """Write everything about `namespace` and the mesh's control plane into `folder`, emptied first.

    `about` heads the index (the step, what failed, the diagnosis). Raises OSError only when
    the folder itself cannot be written.
    """
    return write_parts(folder, parts(cluster, namespace), about=about, seconds=seconds)


def write_parts(
    folder: Path, every: Iterable[Part], *, about: str = "", seconds: float = TIME_LIMIT
) -> Bundle:
    """Write each part that can be read within the limits, then the index."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    deadline = time.monotonic() + seconds
    files: list[str] = []
    missing: list[tuple[str, str]] = []
    left = BUNDLE_LIMIT
    for path, reader in every:
        if time.monotonic() > deadline:
            missing.append((path, f"no time was left of {seconds:g} s"))
            continue
        if left <= 0:
            missing.append((path, f"the bundle has {BUNDLE_LIMIT >> 20} MiB already"))
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
    """The text as UTF-8 of about `limit` bytes; both ends stay: causes come first or last."""
    data = text.encode("utf-8", errors="replace")
    if len(data) <= limit:
        return data
    half = limit // 2
    note = f"\n[… {len(data) - 2 * half} bytes left out …]\n".encode()
    return data[:half] + note + data[-half:]


def parts(cluster: Cluster, namespace: str) -> Iterator[Part]:
    """What a bundle holds, the most telling first. Reading happens when a part is called."""
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
    for seen in listed:
        meta = seen["metadata"]
        pod = Pod(cluster, meta["namespace"], meta["name"], meta["uid"])
        yield from _pod(pod, {"kind": "Pod", **seen}, f"{under}{pod.name}/", inside)


def _pod(pod: Pod, seen: api_objects.Object, under: str, inside: bool) -> Iterator[Part]:
    yield f"{under}pod.yaml", lambda: _yaml(seen)
    every = (*api_objects.pod_inits(seen), *api_objects.pod_containers(seen))
    for one in every:
        yield f"{under}logs/{one.name}.log", _log(pod, one.name, previous=False)
        if one.restarts:
            yield f"{under}logs/{one.name}.previous.log", _log(pod, one.name, previous=True)
    if not inside or not any(one.container_id for one in every):
        return
    yield f"{under}rules.txt", _tool(pod, "iptables-save", "-c")
    yield f"{under}sockets.txt", lambda: _lines(sorted(map(str, pod.listeners())))
    yield f"{under}interfaces.txt", lambda: _lines(pod.interfaces())
    yield f"{under}routes.txt", lambda: _lines(pod.routes())
    yield f"{under}connections.txt", _tool(pod, "netstat", "-ant")
    for one in every:
        if one.running:
            yield f"{under}processes/{one.name}.txt", _processes(pod, one.name)
    if any(one.name == contract.PROXY_CONTAINER and one.running for one in every):
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
        f"{one.user} {one.pid} {one.ppid} {json.dumps(one.argv)}"
        for one in pod.processes(container)
    )


def _envoy(pod: Pod, path: str) -> Callable[[], str]:
    return lambda: pod.envoy().get(path)


def _workloads(cluster: Cluster, namespace: str) -> str:
    found: list[Any] = []
    for path in (
        f"/apis/apps/v1/namespaces/{namespace}/deployments",
        f"/apis/apps/v1/namespaces/{namespace}/replicasets",
        f"/apis/batch/v1/namespaces/{namespace}/jobs",
        f"/api/v1/namespaces/{namespace}/services",
    ):
        found += cluster.get(path).get("items") or ()
    return _yaml([cluster.get(f"/api/v1/namespaces/{namespace}"), *found])


def _lines(every: Iterable[object]) -> str:
    return "".join(f"{_line(one)}\n" for one in every)


def _line(one: object) -> str:
    if (
        isinstance(one, api_objects.Event)
        or not dataclasses.is_dataclass(one)
        or isinstance(one, type)
    ):
        return str(one)
    values = {item.name: getattr(one, item.name) for item in dataclasses.fields(one)}
    return " ".join(
        f"{name}={sorted(value) if isinstance(value, frozenset) else value}"
        for name, value in values.items()
    )


def _yaml(seen: Any) -> str:
    return yaml.safe_dump(seen, sort_keys=False, allow_unicode=True)
