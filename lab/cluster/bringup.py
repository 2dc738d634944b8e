"""The inputs of one `lab up`, and what its steps have found so far."""

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
    """What the command line decides.

    `confirm` asks the user before Docker is installed or started; None means do not ask.
    """

    source: ImageSource = ImageSource.AUTO
    provision: bool = True
    confirm: Callable[[str], bool] | None = None
    versions: Versions = DEFAULT
    mesh: Mesh = Mesh.OURS
    recreate: bool = False
    """Whether an existing cluster is deleted and created again, whatever its state."""
    confirm_loss: Callable[[str], bool] | None = None
    """Asks the user before a cluster is deleted; None means do not ask and keep the cluster."""


@dataclass
class Bringup:
    """The inputs of one `lab up` and what its steps have found and built so far."""

    paths: LabPaths
    options: Options
    progress: Progress
    built: Built | None = None
    serving: list[certificates.Serving] = field(default_factory=list)
    wanted: list[Object] = field(default_factory=list)
    """Every object of the mesh that this `up` installs."""
    ours: list[Object] = field(default_factory=list)
    """Every object of our own mesh; they are removed when Istio is installed instead."""
    peer_images: dict[str, str] = field(default_factory=dict)
    """Istio's images, when Istio is installed: image reference → tag in Docker."""
    tools: str = ""
    """Folder with the mesh's own command line (istioctl); "" for our mesh."""
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
