"""Builds real Istio from its Go module; tests compare our injector and rules with it.

The module istio.io/istio is fetched and compiled like the node's programs: go.mod and go.sum in
`sources/istio` pin the versions and hashes of all modules. istioctl runs on this host. The other
programs run in the images that `lab up --mesh istio` loads into the node.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.build import cache, go_programs
from lab.cluster.images.ensure import host_go
from lab.cluster.versions import DEFAULT, Versions
from lab.progress import Progress, Task

MODULE = "istio.io/istio"
_TEMPLATE = "tools/packaging/common/envoy_bootstrap.json"


@dataclass(frozen=True)
class IstioBinaries:
    """Paths of the programs of one Istio version: istioctl for this host, the others for Linux."""

    istioctl: Path
    pilot_agent: Path
    pilot_discovery: Path
    bootstrap_template: Path
    """The template from which pilot-agent writes Envoy's bootstrap."""
    version: str
    """The version of the Go module istio.io/istio."""

    @property
    def folder(self) -> Path:
        """The folder that holds istioctl; add it to PATH to call istioctl by its name."""
        return self.istioctl.parent


def istio_binaries(
    progress: Progress, versions: Versions = DEFAULT, architecture: str = ""
) -> IstioBinaries:
    """Build the programs of Istio that are missing; return the paths of all of them.

    Takes about 8 minutes on two cores when all are missing, and 0.1 s when all are cached.
    `architecture` is the architecture of the images; "" means that of this host. Raises BuildError.
    """
    wanted = inputs(versions, architecture or host_go()[1])
    entries = {name: cache.find(part) for name, part in wanted.items()}
    if any(entry is None for entry in entries.values()):
        with progress.task("programs: Istio") as task:
            entries = {name: _build(name, wanted, versions, task) for name in wanted}
    paths = {name: entry.path for name, entry in entries.items() if entry is not None}
    return IstioBinaries(
        istioctl=paths["istioctl"] / "istioctl",
        pilot_agent=paths["istio"] / "pilot-agent",
        pilot_discovery=paths["istio"] / "pilot-discovery",
        bootstrap_template=paths["template"] / Path(_TEMPLATE).name,
        version=versions.istio,
    )


def inputs(versions: Versions, architecture: str) -> dict[str, cache.Inputs]:
    """Maps the name of each part of Istio to the part's cache inputs.

    The parts are `istioctl`, `istio` (the programs that run in the node) and `template` (the
    template of Envoy's bootstrap).
    """
    programs = go_programs.inputs(go_programs.istio(), "linux", architecture)
    return {
        "istioctl": go_programs.inputs(go_programs.istioctl(), *host_go()),
        "istio": programs,
        "template": cache.Inputs("istio-template", {"module": versions.istio, "file": _TEMPLATE}),
    }


def _build(
    name: str, wanted: dict[str, cache.Inputs], versions: Versions, task: Task
) -> cache.Entry:
    if name == "template":

        def copy(folder: Path) -> cache.Facts:
            source = go_programs.module_folder(go_programs.istio(), MODULE, versions.istio, task)
            shutil.copyfile(source / _TEMPLATE, folder / Path(_TEMPLATE).name)
            return {"module": f"{MODULE} {versions.istio}"}

        return cache.obtain(wanted[name], copy, task=task)
    if name == "istioctl":
        return go_programs.build(go_programs.istioctl(), *host_go(), task)
    values = wanted[name].values
    return go_programs.build(go_programs.istio(), "linux", values["architecture"], task)
