"""How a scenario reaches the lab: kubeconfig, node, programs. Opened from state.json."""

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
    """What is needed to work with one lab that is up.

    `home` is the folder `.lab` (kept for `lab` commands that run elsewhere), `work` the folder
    below which each chapter has its files. `environment` is added to every command's.
    `mesh` says whose control plane runs, `tools` is the folder of that mesh's own command line.
    `images` names the lab's images in Docker ("proxy", "control", "nginx").
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
        """Observation of this lab; connects when first used, shared by the chapters of a run."""
        return Cluster(self.kubeconfig, self.node, self.observer_image, lab=self.name)

    def variables(self) -> dict[str, str]:
        """Environment of every command a step runs: the lab's cluster, and our programs first."""
        return {
            **self.environment,
            "KUBECONFIG": str(self.kubeconfig),
            "SIDECAR_LAB_HOME": str(self.home),
            "PATH": search_path(self.kubectl, self.tools and self.tools / "istioctl"),
        }


def search_path(*programs: Path | None) -> str:
    """PATH with the folders of `programs` and of this Python (where `lab` is) at its front."""
    # Not resolved: a virtual environment's python is a link to one elsewhere.
    folders = [str(program.parent) for program in programs if program is not None]
    folders.append(str(Path(sys.executable).parent))
    return os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])


def open_lab(paths: LabPaths) -> LabAccess:
    """The lab `paths` speaks of. Raises ClusterError, with what mends it, when it is not up."""
    known = gate.require(paths)
    return LabAccess(
        name=paths.name,
        home=paths.root.parent,
        work=paths.root / "work",
        kubeconfig=Path(known.kubeconfig),
        node=known.node,
        observer_image=known.observer_image,
        kubectl=Path(known.kubectl),
        kind=Path(known.kind),
        kubernetes=known.kubernetes,
        mesh=known.mesh,
        tools=Path(known.tools) if known.tools else None,
        images=known.images,
    )
