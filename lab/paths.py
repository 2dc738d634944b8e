"""Paths of folders and files: those in the checkout, those of each lab, and the shared cache."""

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
    """Returns the folder of manifests: `lab/_manifests` if installed, `manifests` in a checkout."""
    inside = PACKAGE / "_manifests"
    return inside if inside.is_dir() else PACKAGE.parent / "manifests"


def cache_root() -> Path:
    """Returns the cache folder, which all labs and checkouts of the user share.

    `SIDECAR_LAB_CACHE` sets it; the default is the platform's cache folder. Raises
    SidecarLabError when the user has no home folder (in a container: a numeric uid without HOME).
    """
    configured = os.environ.get("SIDECAR_LAB_CACHE")
    if configured:
        return Path(configured).expanduser().resolve()
    from platformdirs import user_cache_path  # not needed by kube-inject

    default = user_cache_path("sidecar-lab", appauthor=False)
    if not default.is_absolute():
        raise SidecarLabError("this user has no home folder for the cache", hint=_MOVED)
    return default


def made_in_cache(name: str) -> Path:
    """Returns the folder `name` in the cache; creates the folder if it does not exist.

    Raises SidecarLabError when the folder cannot be created.
    """
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
    """Paths of one lab's files. All are below `root`, the lab's folder.

    `lab_paths` tells where this folder is.
    """

    name: str
    root: Path

    def make(self) -> None:
        """Create the folder if necessary; let only its owner open it, since it contains keys."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.root.stat().st_mode & 0o077:
            self.root.chmod(0o700)

    @property
    def kubeconfig(self) -> Path:
        """The lab's own kubeconfig; the lab never changes the user's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def certificates(self) -> Path:
        """Folder of the CA and the serving certificates, in PEM format."""
        return self.root / "certificates"

    @property
    def state(self) -> Path:
        """JSON file that tells what `lab up` created and what it was built from."""
        return self.root / "state.json"

    @property
    def logs(self) -> Path:
        """Folder of the logs of `lab up`."""
        return self.root / "logs"

    @property
    def records(self) -> Path:
        """Folder of the last scenario runs: records, JUnit, HTML and failure bundles."""
        return self.root / "records"


def lab_paths(name: str = DEFAULT_NAME, base: Path | None = None) -> LabPaths:
    """Returns the paths of the lab `name`: its folder is `.lab/NAME` in `base`.

    `base` None: the current folder. If SIDECAR_LAB_HOME is set, the lab's folder is `NAME` in that
    folder. Raises SidecarLabError when the name is not allowed.
    """
    if not _NAME.fullmatch(name):
        raise SidecarLabError(
            f"lab name {name!r} is not usable",
            hint="use 1 to 40 lower-case letters, digits and inner hyphens",
        )
    root = Path(os.environ.get("SIDECAR_LAB_HOME") or (base or Path.cwd()) / ".lab")
    return LabPaths(name, root.resolve() / name)
