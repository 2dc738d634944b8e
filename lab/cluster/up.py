"""`lab up` as a list of steps; each step does only what is still missing, so it can be repeated.

preflight → docker → images → certificates → cluster → control plane → ready
"""

from collections.abc import Sequence
from pathlib import Path

from lab.cluster import cluster_step, doctor, down, machine_findings
from lab.cluster.bringup import Bringup, BringUpStep
from lab.cluster.control_plane import certificates, install, switch
from lab.cluster.control_plane import manifests as mesh_manifests
from lab.cluster.control_plane.switch import Mesh
from lab.cluster.docker import client as engine
from lab.cluster.docker import provision
from lab.cluster.images import ensure
from lab.cluster.machine_findings import Finding
from lab.cluster.node import ownership
from lab.cluster.state import LabState
from lab.errors import HostError, RefusedError
from lab.mesh.errors import SidecarLabError
from lab.paths import manifests
from lab.progress import Progress, Quiet, Task

MINIMUM_FREE = 4 << 30
"""Bytes of free disk that `up` needs to begin: a full disk causes errors that are hard to read."""


GONE_SECONDS = 60.0
"""Seconds that the deletion of the other mesh's objects may take when the mesh is replaced."""


def preflight(up: Bringup, task: Task) -> None:
    """Create the lab's folders and check that there is enough free disk.

    Raises HostError when less than MINIMUM_FREE bytes are free.
    """
    import shutil

    from lab.paths import cache_root

    up.paths.make()
    up.paths.logs.mkdir(exist_ok=True)
    cache_root().mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache_root()).free
    if free < MINIMUM_FREE:
        raise HostError(
            f"{cache_root()} has only {free / 2**30:.1f} GiB free, at least 4 are needed",
            hint="`lab cache prune` frees what no lab uses; SIDECAR_LAB_CACHE moves the cache",
        )
    task.update(f"{free / 2**30:.0f} GiB free")


def docker(up: Bringup, task: Task) -> None:
    """Ensure that a Docker daemon answers, and remove an abandoned lab that has the same name.

    A lab is abandoned if its folder no longer exists.
    """
    provision.ensure_docker(
        up.progress,
        task,
        up.paths.logs,
        allowed=up.options.provision,
        confirm=up.options.confirm,
    )
    if abandoned := ownership.find(up.paths):
        up.progress.note(f"removing the lab {up.name} of {abandoned}: that folder no longer exists")
        down.down(up.paths, Quiet())


def build_images(up: Bringup, task: Task) -> None:
    """Build or pull the images that are missing: the node image and the lab's other images."""
    up.built = ensure.ensure(up.options.source, up.options.versions, up.progress)
    if up.options.mesh is Mesh.ISTIO:
        from lab.cluster.images import (  # loaded only when Istio is installed
            istio_images,
            istio_programs,
        )

        binaries = istio_programs.istio_binaries(up.progress, up.options.versions)
        up.tools = str(binaries.folder)
        up.peer_images = istio_images.ensure(up.built.source, up.options.versions, up.progress)
    task.update(f"{up.built.source.value}, {up.built.node_image}")


def make_certificates(up: Bringup, task: Task) -> None:
    """Create the CA and the serving certificates, and the list of Kubernetes objects to install."""
    assert up.built is not None
    up.serving, created = certificates.ensure(up.paths.certificates)
    up.ours = mesh_manifests.documents(
        manifests() / "lab",
        up.serving,
        up.built.control_image,
        up.built.kubernetes,
    )
    up.wanted = up.ours
    task.update(f"created {', '.join(created)}" if created else "all valid")
    if up.options.mesh is Mesh.ISTIO:
        from lab.cluster.control_plane import istio
        from lab.cluster.images import istio_programs

        binaries = istio_programs.istio_binaries(up.progress, up.options.versions)
        up.wanted = istio.documents(binaries, up.peer_images)
        task.update("Istio creates its own certificates")


def control_plane(up: Bringup, task: Task) -> None:
    """Remove the Kubernetes objects of the other mesh and apply those of the wanted mesh."""
    assert up.api is not None
    removed = switch.remove(up.api, switch.other(up.options.mesh), up.ours, GONE_SECONDS, task)
    install.apply(up.api, up.wanted, task)
    if removed:
        task.update(f"{up.options.mesh} in place of {switch.other(up.options.mesh)}")


def ready(up: Bringup, task: Task) -> None:
    """Wait until the control plane runs and injects a test pod, then record the lab as ready.

    The control plane runs when its Deployments are rolled out, its pods are ready, and their
    containers started after the node's last start.
    """
    assert up.api is not None
    assert up.state is not None
    namespace = switch.TRAITS[up.options.mesh].namespace
    since = engine.started_at(up.state.node)
    install.wait_rolled_out(up.api, up.wanted, install.READY_SECONDS, task, namespace)
    install.wait_alive(up.api, since, install.READY_SECONDS, task, namespace)
    install.wait_injecting(up.api, 60, task)
    proven = up.state.having(phase="ready", kubernetes=up.api.version())
    if proven != up.state:
        up.remember(proven)
    task.update(f"KUBECONFIG={shown(up.paths.kubeconfig)}")


def shown(file: Path) -> str:
    """Returns the path of `file`, relative if it is below the current folder, else absolute."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


STEPS = (
    BringUpStep("preflight", preflight),
    BringUpStep("docker", docker),
    BringUpStep("images", build_images),
    BringUpStep("certificates", make_certificates),
    BringUpStep("cluster", cluster_step.cluster),
    BringUpStep("control plane", control_plane),
    BringUpStep("ready", ready),
)


def bring_up(up: Bringup) -> LabState:
    """Run the steps in order and return the lab's state.

    If a step fails, prints the findings of `lab doctor` that may have caused the failure, with
    their fixes, and raises the step's exception. Prints nothing for a RefusedError, since nothing
    failed then. The finished steps are not undone.
    """
    for step in STEPS:
        try:
            with up.progress.task(step.name) as task:
                step.run(up, task)
        except RefusedError:
            raise
        except SidecarLabError as error:
            explain(error, doctor.likely_causes(step.name), up.progress)
            raise
    assert up.state is not None
    return up.state


def explain(error: SidecarLabError, findings: Sequence[Finding], progress: Progress) -> None:
    """Print the findings that may have caused the error; put the first fix before its hint."""
    if not findings:
        return
    progress.note("what `lab doctor` finds here that may be the cause:")
    for row in machine_findings.text(findings).splitlines():
        progress.note(f"  {row}")
    fix = next((finding.fix for finding in findings if finding.fix), "")
    if fix and fix not in error.hint:
        error.hint = f"first: {fix}\n{error.hint}".strip()
