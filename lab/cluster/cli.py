"""The commands for the lab itself: up, down, pause, rotate, status, doctor, cache."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lab.errors import ClusterError
from lab.paths import DEFAULT_NAME, LabPaths, lab_paths

if TYPE_CHECKING:
    from lab.progress import Progress

LOCK_PATIENCE = 900
"""Seconds to wait for another command on the same lab: a first `up` takes several minutes."""

ROTATION_SECONDS = 60.0
"""Seconds that one rotation may take; it usually takes about one second."""

with_name = click.option(
    "--name",
    default=DEFAULT_NAME,
    show_default=True,
    help="Name of the lab; several labs can run at once.",
)
with_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask questions.")


def progress() -> "Progress":
    """Returns the progress renderer for standard output: live on a terminal, else plain lines."""
    from lab import console

    return console.progress(sys.stdout)


@contextmanager
def exclusively(paths: LabPaths, notify: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of the lab, so that one command at a time works on it.

    If another command holds the lock, calls `notify` with a line of text and waits for the lock.
    Raises ClusterError after LOCK_PATIENCE seconds.
    """
    from filelock import Timeout

    from lab.cluster.build.cache import named_lock

    lock = named_lock(f"lab-{paths.name}")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            notify(f"another command works on the lab {paths.name!r}: waiting for it")
            try:
                lock.acquire(timeout=LOCK_PATIENCE)
            except Timeout as late:
                raise ClusterError(
                    f"the lab {paths.name!r} has been busy for {LOCK_PATIENCE // 60} minutes",
                    hint="find the `lab` process that still runs, and end it",
                ) from late
        yield
    finally:
        lock.release()


@click.command()
@with_name
@click.option(
    "--images",
    "source",
    type=click.Choice(["auto", "pull", "build"]),
    default="auto",
    show_default=True,
    help="Stock images from a registry, or everything built from packages and sources.",
)
@click.option(
    "--mesh",
    type=click.Choice(["sidecar-lab", "istio"]),
    default="sidecar-lab",
    show_default=True,
    help="Which control plane to run: ours, or real Istio (built from its Go modules).",
)
@click.option("--no-provision", is_flag=True, help="Never install or start Docker.")
@click.option("--recreate", is_flag=True, help="Delete the cluster and create it again.")
@with_yes
def up(name: str, source: str, mesh: str, no_provision: bool, recreate: bool, yes: bool) -> None:
    """Bring the lab up; if it is up already, check it and load what changed.

    An existing cluster is deleted only with --recreate, or after you agree on a terminal, or when
    its creation never finished, when it cannot start, or when its folder is gone.
    """
    from lab.cluster import bringup
    from lab.cluster import up as steps
    from lab.cluster.control_plane.switch import Mesh
    from lab.cluster.docker import provision
    from lab.cluster.images.ensure import ImageSource

    started = time.monotonic()
    paths = lab_paths(name)
    shown = progress()
    ask = provision.is_terminal() and not yes
    options = bringup.Options(
        source=ImageSource(source),
        mesh=Mesh(mesh),
        provision=not no_provision,
        confirm=(lambda text: click.confirm(text, default=True)) if ask else None,
        recreate=recreate,
        confirm_loss=(lambda text: click.confirm(text, default=False)) if ask else None,
    )
    with exclusively(paths, shown.note):
        steps.bring_up(bringup.Bringup(paths, options, shown))
    shown.note(f"the lab {name} is up in {time.monotonic() - started:.1f} s")


@click.command()
@with_name
@click.option(
    "--all", "everything", is_flag=True, help="Every lab, and the Docker that the lab started."
)
@click.option(
    "-y", "--yes", is_flag=True, help="Do not ask; also remove a lab whose folder is not here."
)
def down(name: str, everything: bool, yes: bool) -> None:
    """Remove the lab and count what is left of it; exit code 1 if anything is left."""
    from lab.cluster import down as teardown
    from lab.cluster.host_changes import apt

    shown = progress()
    if note := apt.settle():
        shown.note(note)
    if everything:
        left = teardown.down_all(shown, force=yes, exclusively=exclusively)
    else:
        paths = lab_paths(name)
        with exclusively(paths, shown.note):
            left = teardown.down(paths, shown, insist=yes)
    click.echo(f"left over: {len(left)}")
    for leftover in left:
        click.echo(f"  {leftover}")
    if left:
        raise click.exceptions.Exit(1)


@click.command()
@with_name
def pause(name: str) -> None:
    """Freeze the lab: it uses no processor time until `lab up` thaws it."""
    from lab.cluster import state
    from lab.cluster.node import container

    paths = lab_paths(name)
    with exclusively(paths, click.echo):
        click.echo(container.pause(paths, state.load(paths)))


@click.command(
    epilog="""\b
Examples:
  lab rotate                 one rotation
  lab rotate --times 20      twenty, one after the other
"""
)
@with_name
@click.option("--times", type=click.IntRange(1, 1000), default=1, show_default=True)
def rotate(name: str, times: int) -> None:
    """Give the webhook a new CA and a new certificate; it keeps admitting pods meanwhile."""
    from lab.cluster import gate
    from lab.cluster import rotate as rotation
    from lab.kube.client import KubeApi

    paths = lab_paths(name)
    shown = progress()
    with exclusively(paths, shown.note):
        api = KubeApi.from_file(Path(gate.require(paths).kubeconfig))
        for number in range(1, times + 1):
            with shown.task(f"rotation {number} of {times}") as task:
                done = rotation.rotate(api, ROTATION_SECONDS, task)
                task.update(f"SHA-256 {done.fingerprint[:16]}… served in {done.seconds:.1f} s")


@click.command()
@with_name
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--sbom", is_flag=True, help="The images' Debian packages, as CycloneDX.")
def status(name: str, as_json: bool, sbom: bool) -> None:
    """Show what is running and what it was built from; exit code 3 if the lab is not up."""
    from lab.cluster import status as statuses

    if sbom:
        from lab.cluster import state
        from lab.cluster.images import sbom as packages

        known = state.load(lab_paths(name))
        roles = {"node": known.node_image, "observer": known.observer_image, **known.images}
        click.echo(packages.document(roles))
        return
    report = statuses.look(lab_paths(name))
    click.echo(json.dumps(report, indent=1) if as_json else statuses.text(report))
    if report["lab"] != "up":
        raise click.exceptions.Exit(3)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Check this machine: what it has, what `lab up` will do, and how to fix what is missing."""
    from lab.cluster import doctor as judged
    from lab.cluster import machine, machine_findings
    from lab.cluster.host_changes import apt

    if (note := apt.settle()) and not as_json:
        click.echo(note)
    findings = judged.judge(machine.gather())
    report = machine_findings.as_json(findings) if as_json else machine_findings.text(findings)
    click.echo(report)
    if any(finding.verdict == "fail" for finding in findings):
        raise click.exceptions.Exit(1)


@click.group()
def cache() -> None:
    """List and prune what was built (shared by all labs of this user)."""


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cache_list(as_json: bool) -> None:
    """List what was built, Go's caches and the lab's images, with their sizes."""
    from lab.cluster import cache_list as cachelist

    click.echo(cachelist.as_json() if as_json else cachelist.text())


@cache.command("prune")
@click.option(
    "--unused-for",
    default=14,
    show_default=True,
    help="Remove what was not used for this many days.",
)
@click.option("--all", "everything", is_flag=True, help="Remove everything that no lab uses.")
def cache_prune(unused_for: int, everything: bool) -> None:
    """Remove what was not used for a while; the next `up` builds what it needs again."""
    from lab.cluster import cache_list as cachelist

    click.echo(cachelist.prune(0 if everything else unused_for * 86400, progress().note))
