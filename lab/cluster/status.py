"""`lab status`: what is running, and from what it was built."""

from pathlib import Path
from typing import Any

from lab.cluster import state
from lab.cluster.control_plane import install, switch
from lab.cluster.docker import client as engine
from lab.cluster.docker import daemon
from lab.kube.client import KubeApi
from lab.kube.errors import KubeError
from lab.kube.paths import collection
from lab.paths import LabPaths

Seen = dict[str, Any]


def look(paths: LabPaths) -> Seen:
    """Facts as JSON-able data. `lab` is up, paused, incomplete, stopped or absent.

    Looks at what is there now; what was recorded is only said beside it.
    """
    known = state.find(paths)
    seen: Seen = {
        "name": paths.name,
        "folder": str(paths.root),
        "lab": "absent",
        "docker": "answers",
        "docker_started_by_lab": daemon.process(daemon.recorded()) is not None,
    }
    if unreachable := engine.why_unreachable():
        seen["docker"] = unreachable
        seen["lab"] = "stopped" if known else "absent"
        return seen
    if known is None:
        return seen
    node = engine.container_state(known.node)
    seen |= {
        "node": {"container": known.node, "state": node or "gone", "image": known.node_image},
        "kubernetes": known.kubernetes,
        "kubeconfig": known.kubeconfig,
        "kubectl": known.kubectl,
        "images": dict(known.images) | {"observer": known.observer_image},
        "source": known.source,
        "mesh": known.mesh,
    }
    if node == "paused":
        seen["lab"] = "paused"
    elif node != "running":
        seen["lab"] = "stopped"
    else:
        seen["lab"] = "up" if known.phase == "ready" else "incomplete"
        _look_inside(seen)
    return seen


def _look_inside(seen: Seen) -> None:
    try:
        api = KubeApi.from_file(Path(seen["kubeconfig"]), timeout=5)
        seen["api"] = api.ready() or "ready"
        seen["kubernetes"] = api.version()
        traits = switch.TRAITS[switch.Mesh(seen["mesh"])]
        deployments = api.items(collection(("apps/v1", "Deployment"), traits.namespace))
        api.close()
    except KubeError as error:
        seen["api"] = error.message
        seen["lab"] = "incomplete"
        return
    parts = {
        deployment["metadata"]["name"]: install.not_rolled_out(deployment) or "ready"
        for deployment in deployments
    }
    seen["control_plane"] = parts
    if any(parts.get(name) != "ready" for name in traits.deployments) or seen["api"] != "ready":
        seen["lab"] = "incomplete"


def text(seen: Seen) -> str:
    """The same for people."""
    rows = [("lab", f"{seen['name']}: {seen['lab']}"), ("folder", seen["folder"])]
    whose = " (started by the lab)" if seen["docker_started_by_lab"] else ""
    rows.append(("docker", seen["docker"] + whose))
    if "node" in seen:
        node = seen["node"]
        rows.append(("node", f"{node['container']}: {node['state']}, from {node['image']}"))
        rows.append(("kubernetes", f"{seen['kubernetes']}, API {seen.get('api', 'not asked')}"))
        rows.append(("mesh", seen["mesh"]))
        rows += [
            (name.removeprefix("sidecar-lab-"), how)
            for name, how in seen.get("control_plane", {}).items()
        ]
        rows += [(f"image {name}", ref) for name, ref in sorted(seen["images"].items())]
        rows.append(("kubeconfig", seen["kubeconfig"]))
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:<{width}}{value}" for name, value in rows]
    if seen["lab"] != "up":
        lines.append("`lab up` brings it up")
    return "\n".join(lines)
