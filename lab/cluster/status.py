"""`lab status`: shows what is running and what it was built from."""

from pathlib import Path
from typing import Any

from lab.cluster import state
from lab.cluster.control_plane import install, switch
from lab.cluster.docker import client as engine
from lab.cluster.docker import daemon_processes
from lab.kube.client import KubeApi
from lab.kube.errors import KubeError
from lab.kube.paths import collection
from lab.paths import LabPaths

Report = dict[str, Any]
"""What `lab status --json` prints."""


def look(paths: LabPaths) -> Report:
    """Returns the facts about the lab as data that can be printed as JSON.

    The value of the key `lab` is up, paused, incomplete, stopped or absent. It is derived from the
    recorded phase and from what runs now.
    """
    known = state.find(paths)
    report: Report = {
        "name": paths.name,
        "folder": str(paths.root),
        "lab": "absent",
        "docker": "answers",
        "docker_started_by_lab": daemon_processes.process(daemon_processes.recorded()) is not None,
    }
    if unreachable := engine.why_unreachable():
        report["docker"] = unreachable
        report["lab"] = "stopped" if known else "absent"
        return report
    if known is None:
        return report
    node = engine.container_state(known.node)
    report |= {
        "node": {"container": known.node, "state": node or "gone", "image": known.node_image},
        "kubernetes": known.kubernetes,
        "kubeconfig": known.kubeconfig,
        "kubectl": known.kubectl,
        "images": dict(known.images) | {"observer": known.observer_image},
        "source": known.source,
        "mesh": known.mesh,
    }
    if node == "paused":
        report["lab"] = "paused"
    elif node != "running":
        report["lab"] = "stopped"
    else:
        report["lab"] = "up" if known.phase == "ready" else "incomplete"
        _look_inside(report)
    return report


def _look_inside(report: Report) -> None:
    try:
        api = KubeApi.from_file(Path(report["kubeconfig"]), timeout=5)
        report["api"] = api.ready() or "ready"
        report["kubernetes"] = api.version()
        traits = switch.TRAITS[switch.Mesh(report["mesh"])]
        deployments = api.items(collection(("apps/v1", "Deployment"), traits.namespace))
        api.close()
    except KubeError as error:
        report["api"] = error.message
        report["lab"] = "incomplete"
        return
    parts = {
        deployment["metadata"]["name"]: install.not_rolled_out(deployment) or "ready"
        for deployment in deployments
    }
    report["control_plane"] = parts
    if any(parts.get(name) != "ready" for name in traits.deployments) or report["api"] != "ready":
        report["lab"] = "incomplete"


def text(report: Report) -> str:
    """Returns the report as a table for people to read."""
    rows = [("lab", f"{report['name']}: {report['lab']}"), ("folder", report["folder"])]
    whose = " (started by the lab)" if report["docker_started_by_lab"] else ""
    rows.append(("docker", report["docker"] + whose))
    if "node" in report:
        node = report["node"]
        rows.append(("node", f"{node['container']}: {node['state']}, from {node['image']}"))
        rows.append(("kubernetes", f"{report['kubernetes']}, API {report.get('api', 'not asked')}"))
        rows.append(("mesh", report["mesh"]))
        rows += [
            (name.removeprefix("sidecar-lab-"), how)
            for name, how in report.get("control_plane", {}).items()
        ]
        rows += [(f"image {name}", ref) for name, ref in sorted(report["images"].items())]
        rows.append(("kubeconfig", report["kubeconfig"]))
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{name:<{width}}{value}" for name, value in rows]
    if report["lab"] != "up":
        lines.append("`lab up` brings it up")
    return "\n".join(lines)
