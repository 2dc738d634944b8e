"""Real Istio, built from its Go modules: the peer that our injector and rules are compared with.

istio.io/istio is fetched and compiled like the node's programs; go.mod and go.sum in
`sources/istio` pin every byte. istioctl runs here, the others in the images that
`lab up --mesh istio` puts into the node.
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
    """Programs of one version of Istio. istioctl is for this host, the others for Linux."""

    istioctl: Path
    pilot_agent: Path
    pilot_discovery: Path
    bootstrap_template: Path
    """From which pilot-agent makes Envoy's bootstrap."""
    version: str
    """Of the Go module."""

    @property
    def folder(self) -> Path:
        """Where istioctl lies, for PATH."""
        return self.istioctl.parent


def istio_binaries(
    progress: Progress, versions: Versions = DEFAULT, architecture: str = ""
) -> IstioBinaries:
    """Build what is missing: about 8 minutes of two cores from nothing, 0.1 s when all is there.

    `architecture` is that of the images, "" this host's. Raises BuildError.
    """
    wanted = inputs(versions, architecture or host_go()[1])
    found = {name: cache.find(one) for name, one in wanted.items()}
    if any(entry is None for entry in found.values()):
        with progress.task("programs: Istio") as task:
            found = {name: _build(name, wanted, versions, task) for name in wanted}
    paths = {name: entry.path for name, entry in found.items() if entry is not None}
    return IstioBinaries(
        istioctl=paths["istioctl"] / "istioctl",
        pilot_agent=paths["istio"] / "pilot-agent",
        pilot_discovery=paths["istio"] / "pilot-discovery",
        bootstrap_template=paths["template"] / Path(_TEMPLATE).name,
        version=versions.istio,
    )


def inputs(versions: Versions, architecture: str) -> dict[str, cache.Inputs]:
    """What each part depends on: istioctl, istio (the node's programs), template."""
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
