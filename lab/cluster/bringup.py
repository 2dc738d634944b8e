"""What one `lab up` works on: what was asked for, what its steps found so far."""

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
    """What the command line decides. `confirm` asks before Docker is installed or started."""

    source: ImageSource = ImageSource.AUTO
    provision: bool = True
    confirm: Callable[[str], bool] | None = None
    versions: Versions = DEFAULT
    mesh: Mesh = Mesh.OURS
    recreate: bool = False
    """Delete a cluster that is there and make it anew, whatever it is like."""
    confirm_loss: Callable[[str], bool] | None = None
    """Asks before a cluster is deleted; None: nobody can be asked, so it is not."""


@dataclass
class Bringup:
    """What one `up` works on and what its steps found so far."""

    paths: LabPaths
    options: Options
    progress: Progress
    built: Built | None = None
    serving: list[certificates.Serving] = field(default_factory=list)
    wanted: list[Object] = field(default_factory=list)
    """Every object of the mesh that is to run."""
    ours: list[Object] = field(default_factory=list)
    """Every object of our own mesh, to be removed where it is not to run."""
    peer_images: dict[str, str] = field(default_factory=dict)
    """Images of Istio where it is to run: reference → tag in Docker."""
    tools: str = ""
    """Folder of the mesh's own command line."""
    state: LabState | None = None
    api: KubeApi | None = None

    @property
    def name(self) -> str:
        """The lab's name, which is also kind's name of the cluster."""
        return self.paths.name

    def remember(self, state: LabState) -> None:
        """Keep and save the state."""
        self.state = state
        states.save(self.paths, state)


@dataclass(frozen=True)
class Step:
    """One step of `up`: the name of its line, and what it does."""

    name: str
    run: Callable[[Bringup, Task], None]
