"""Where things live: the checkout's own files, per-lab state, and the shared cache."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lab.mesh.errors import SidecarLabError

PACKAGE = Path(__file__).resolve().parent
DEFAULT_NAME = "sidecar-lab"
_MOVED = "set SIDECAR_LAB_CACHE to a folder that this user can write"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def manifests() -> Path:
    """The folder `manifests/`: in a checkout beside `lab`, in an installed package inside it."""
    inside = PACKAGE / "_manifests"
    return inside if inside.is_dir() else PACKAGE.parent / "manifests"


def cache_root() -> Path:
    """What several labs and checkouts share; every entry is named by the content of its inputs.

    `SIDECAR_LAB_CACHE` moves it; the default is the platform's cache folder. Raises
    SidecarLabError where the user has no home (a number without HOME in a container).
    """
    given = os.environ.get("SIDECAR_LAB_CACHE")
    if given:
        return Path(given).expanduser().resolve()
    from platformdirs import user_cache_path  # not needed by kube-inject

    found = user_cache_path("sidecar-lab", appauthor=False)
    if not found.is_absolute():
        raise SidecarLabError("this user has no home folder for the cache", hint=_MOVED)
    return found


def made_in_cache(name: str) -> Path:
    """A folder of the cache, made if need be. Raises SidecarLabError where it cannot be."""
    folder = cache_root() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SidecarLabError(
            f"the cache folder {folder} cannot be made: {error.strerror}", hint=_MOVED
        ) from error
    return folder


@dataclass(frozen=True)
class LabPaths:
    """The files of one lab, all under `.lab/NAME/` of the folder it was made in."""

    name: str
    root: Path

    def make(self) -> None:
        """Make the folder, open to its owner alone: it holds keys. One that is there is closed."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.root.stat().st_mode & 0o077:
            self.root.chmod(0o700)

    @property
    def kubeconfig(self) -> Path:
        """The lab's own kubeconfig; the user's is never touched."""
        return self.root / "kubeconfig"

    @property
    def certificates(self) -> Path:
        """CA and serving certificates, PEM."""
        return self.root / "certificates"

    @property
    def state(self) -> Path:
        """JSON: what `up` made and from what."""
        return self.root / "state.json"

    @property
    def logs(self) -> Path:
        """Logs of long steps, kept on failure."""
        return self.root / "logs"

    @property
    def records(self) -> Path:
        """Records, JUnit and HTML of the last scenario runs, and failure bundles."""
        return self.root / "records"


def lab_paths(name: str = DEFAULT_NAME, base: Path | None = None) -> LabPaths:
    """Paths of the lab `name`. Raises SidecarLabError when it is no usable name."""
    if not _NAME.fullmatch(name):
        raise SidecarLabError(
            f"lab name {name!r} is not usable",
            hint="use 1 to 40 lower-case letters, digits and inner hyphens",
        )
    root = Path(os.environ.get("SIDECAR_LAB_HOME") or (base or Path.cwd()) / ".lab")
    return LabPaths(name, root.resolve() / name)
