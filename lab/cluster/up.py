"""`lab up`, as the visible list of steps it is; every step converges and may be repeated.

preflight → docker → images → certificates → cluster → control plane → ready
"""

from collections.abc import Sequence
from pathlib import Path

from lab.cluster import cluster_step, doctor, down
from lab.cluster.bringup import Bringup, Step
from lab.cluster.control_plane import certificates, install, switch
from lab.cluster.control_plane import manifests as mesh_manifests
from lab.cluster.control_plane.switch import Mesh
from lab.cluster.docker import client as engine
from lab.cluster.docker import provision
from lab.cluster.images import ensure
from lab.cluster.node import ownership
from lab.cluster.state import LabState
from lab.errors import HostError, RefusedError
from lab.mesh.errors import SidecarLabError
from lab.paths import manifests
from lab.progress import Progress, Quiet, Task

MINIMUM_FREE = 4 << 30
"""Bytes of disk below which `up` does not begin: a full disk breaks the node in odd ways."""


GONE_SECONDS = 60.0
"""How long the objects of a mesh that is replaced may take to go."""


def preflight(up: Bringup, task: Task) -> None:
    """What must hold before anything is begun."""
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
    """A daemon that answers."""
    provision.ensure_docker(
        up.progress,
        task,
        up.paths.logs,
        allowed=up.options.provision,
        confirm=up.options.confirm,
    )
    if abandoned := ownership.find(up.paths):
        up.progress.note(f"removing the lab {up.name} of {abandoned}: that folder is gone")
        down.down(up.paths, Quiet())


def build_images(up: Bringup, task: Task) -> None:
    """Node image and lab images, only what changed."""
    up.built = ensure.ensure(up.options.source, up.options.versions, up.progress)
    if up.options.mesh is Mesh.ISTIO:
        from lab.cluster.images import (  # not for those who never ask for Istio
            istio_images,
            istio_programs,
        )

        binaries = istio_programs.istio_binaries(up.progress, up.options.versions)
        up.tools = str(binaries.folder)
        up.peer_images = istio_images.ensure(up.built.source, up.options.versions, up.progress)
    task.update(f"{up.built.source.value}, {up.built.node_image}")


def make_certificates(up: Bringup, task: Task) -> None:
    """Authority and serving certificates, and the documents that hold them."""
    assert up.built is not None
    up.serving, made = certificates.ensure(up.paths.certificates)
    up.ours = mesh_manifests.documents(
        manifests() / "lab",
        up.serving,
        up.built.control_image,
        up.built.kubernetes,
    )
    up.wanted = up.ours
    task.update(f"made {', '.join(made)}" if made else "sound")
    if up.options.mesh is Mesh.ISTIO:
        from lab.cluster.control_plane import istio
        from lab.cluster.images import istio_programs

        binaries = istio_programs.istio_binaries(up.progress, up.options.versions)
        up.wanted = istio.documents(binaries, up.peer_images)
        task.update("Istio makes its own")


def control_plane(up: Bringup, task: Task) -> None:
    """The mesh's objects as its manifests say; those of the other mesh go."""
    assert up.api is not None
    gone = switch.remove(up.api, switch.other(up.options.mesh), up.ours, GONE_SECONDS, task)
    install.apply(up.api, up.wanted, task)
    if gone:
        task.update(f"{up.options.mesh} in place of {switch.other(up.options.mesh)}")


def ready(up: Bringup, task: Task) -> None:
    """Proven to work: pods rolled out, and a pod on trial comes back injected."""
    assert up.api is not None
    assert up.state is not None
    inside = switch.TRAITS[up.options.mesh].namespace
    since = engine.started_at(up.state.node)
    install.wait_rolled_out(up.api, up.wanted, install.READY_SECONDS, task, inside)
    install.wait_alive(up.api, since, install.READY_SECONDS, task, inside)
    install.wait_injecting(up.api, 60, task)
    proven = up.state.having(phase="ready", kubernetes=up.api.version())
    if proven != up.state:
        up.remember(proven)
    task.update(f"KUBECONFIG={shown(up.paths.kubeconfig)}")


def shown(file: Path) -> str:
    """A path as short as a reader here can use it."""
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


STEPS = (
    Step("preflight", preflight),
    Step("docker", docker),
    Step("images", build_images),
    Step("certificates", make_certificates),
    Step("cluster", cluster_step.cluster),
    Step("control plane", control_plane),
    Step("ready", ready),
)


def bring_up(up: Bringup) -> LabState:
    """Run the steps in order. Raises what a step raises; what was done stays done.

    What `lab doctor` finds here that bears on a step that failed is said before, with its fix.
    """
    for step in STEPS:
        try:
            with up.progress.task(step.name) as task:
                step.run(up, task)
        except RefusedError:
            raise
        except SidecarLabError as error:
            explain(error, doctor.bearing(step.name), up.progress)
            raise
    assert up.state is not None
    return up.state


def explain(error: SidecarLabError, findings: Sequence[doctor.Finding], progress: Progress) -> None:
    """Say the findings; the first one's fix leads the error's hint."""
    if not findings:
        return
    progress.note("what `lab doctor` finds here that may be the cause:")
    for row in doctor.text(findings).splitlines():
        progress.note(f"  {row}")
    fix = next((one.fix for one in findings if one.fix), "")
    if fix and fix not in error.hint:
        error.hint = f"first: {fix}\n{error.hint}".strip()
