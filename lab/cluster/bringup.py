"""The data of one `lab up`: its inputs, and what its steps have found so far."""

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.cluster import state as states
from lab.cluster.control_plane import certificates
from lab.cluster.control_plane.switch import Mesh
from lab.cluster.images.ensure import Built, ImageSource
from lab.cluster.state import LabState
from lab.cluster.versions import DEFAULT, Versions
from lab.kube.client import KubeApi
from lab.kube.paths import Object
from lab.paths import LabPaths
from lab.progress import Progress, Task


@dataclass(frozen=True)
class Options:
    """The options of `lab up` from the command line.

    `confirm` asks the user before Docker is installed or started. If it is None, this is done
    without a question.
    """

    source: ImageSource = ImageSource.AUTO
    provision: bool = True
    confirm: Callable[[str], bool] | None = None
    versions: Versions = DEFAULT
    mesh: Mesh = Mesh.OURS
    recreate: bool = False
    """Whether an existing cluster is deleted and created again even if it could be used."""
    confirm_loss: Callable[[str], bool] | None = None
    """Asks the user whether a cluster may be deleted; None stands for the answer no."""


@dataclass
class Bringup:
    """The inputs of one `lab up` and what its steps have found and built so far."""

    paths: LabPaths
    options: Options
    progress: Progress
    built: Built | None = None
    serving: list[certificates.Serving] = field(default_factory=list)
    wanted: list[Object] = field(default_factory=list)
    """Every Kubernetes object of the mesh that this `up` installs."""
    ours: list[Object] = field(default_factory=list)
    """Every Kubernetes object of our own mesh. They are removed when Istio is installed instead."""
    peer_images: dict[str, str] = field(default_factory=dict)
    """Istio's images, when Istio is installed: image reference → tag in Docker."""
    tools: str = ""
    """Folder that contains istioctl, when Istio is installed; "" for our mesh."""
    state: LabState | None = None
    api: KubeApi | None = None

    @property
    def name(self) -> str:
        """The lab's name, which is also the name of its kind cluster."""
        return self.paths.name

    def remember(self, state: LabState) -> None:
        """Set the lab's state and save it to disk."""
        self.state = state
        states.save(self.paths, state)


@dataclass(frozen=True)
class BringUpStep:
    """One step of `lab up`: the name of its progress line, and the function that runs it."""

    name: str
    run: Callable[[Bringup, Task], None]
