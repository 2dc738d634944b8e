"""A scenario's access to the lab (kubeconfig, node, programs), read from state.json."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lab.cluster import gate
from lab.observe.cluster import Cluster
from lab.paths import LabPaths


@dataclass(frozen=True)
class LabAccess:
    """How to reach a lab that is up: its folders, cluster, programs, mesh and images.

    `home` is the folder `.lab`, in which `lab` commands find the lab. Each chapter has a folder for
    its files in the folder `work`. `environment` is added to the environment of every command.
    `mesh` is the name of the mesh whose control plane runs. If the mesh is Istio, `tools` is the
    folder with istioctl, otherwise None. The values of `images` are names of images in Docker; the
    keys are "proxy", "control" and "nginx" and, if the mesh is Istio, the references of its images.
    """

    name: str
    home: Path
    work: Path
    kubeconfig: Path
    node: str
    observer_image: str
    kubectl: Path | None = None
    kind: Path | None = None
    kubernetes: str = ""
    mesh: str = "sidecar-lab"
    tools: Path | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def cluster(self) -> Cluster:
        """The client of this lab's cluster, created at first use."""
        return Cluster(self.kubeconfig, self.node, self.observer_image, lab=self.name)

    def variables(self) -> dict[str, str]:
        """The environment variables for a step's commands; PATH begins with the lab's programs."""
        return {
            **self.environment,
            "KUBECONFIG": str(self.kubeconfig),
            "SIDECAR_LAB_HOME": str(self.home),
            "PATH": search_path(self.kubectl, self.tools and self.tools / "istioctl"),
        }


def search_path(*programs: Path | None) -> str:
    """Return a value for PATH: the folders of `programs`, the folder of this Python, and PATH.

    The program `lab` is in the folder of this Python. A program that is None is left out.
    """
    # Links are not resolved: a virtual environment's python is a link to another folder.
    folders = [str(program.parent) for program in programs if program is not None]
    folders.append(str(Path(sys.executable).parent))
    return os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])


def open_lab(paths: LabPaths) -> LabAccess:
    """Return the access to the lab of `paths`. Raises ClusterError if the lab is not up."""
    state = gate.require(paths)
    return LabAccess(
        name=paths.name,
        home=paths.root.parent,
        work=paths.root / "work",
        kubeconfig=Path(state.kubeconfig),
        node=state.node,
        observer_image=state.observer_image,
        kubectl=_kubectl(Path(state.kubectl)),
        kind=Path(state.kind),
        kubernetes=state.kubernetes,
        mesh=state.mesh,
        tools=Path(state.tools) if state.tools else None,
        images=state.images,
    )


def _kubectl(recorded: Path) -> Path:
    """Return the path `recorded` of kubectl, if this file still exists.

    The file is gone if the checkout that brought the lab up was deleted. Then this returns the
    path of this checkout's kubectl.
    """
    if recorded.is_file():
        return recorded
    from lab.cluster.images import ensure

    return ensure.kubectl()
