"""`lab walk`, `lab e2e`, `lab docs`, `lab report`."""

import datetime
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from lab import paths
from lab.errors import ScenarioError
from lab.mesh.errors import SidecarLabError
from lab.records import store
from lab.records.model import RecordError
from lab.report.files import write_reports
from lab.report.terminal import summary
from lab.scenario import lab_access
from lab.scenario.chapter import Chapter
from lab.scenario.failure.investigation import Investigation
from lab.scenario.mesh_differences import MESHES, OURS
from lab.scenario.pages import generated, pictures
from lab.scenario.run import find_chapters, pytest_run
from lab.scenario.run.runner import ChapterRunner
from lab.scenario.run.workshop import Route, Workshop, contents
from lab.scenario.world import world_of

PAGE = Path("docs/walkthrough.md")

name_option = click.option(
    "--name", default=paths.DEFAULT_NAME, show_default=True, help="Which lab."
)


@click.command(epilog="Examples:  lab walk  |  lab walk --to 2.3  |  lab walk --chapter 4")
@name_option
@click.option("--from", "first", metavar="CHAPTER.STEP", default="", help="Begin at this step.")
@click.option("--to", "last", metavar="CHAPTER.STEP", default="", help="End after this step.")
@click.option("--chapter", type=int, metavar="N", help="Walk this chapter alone.")
@click.option("--list", "only_list", is_flag=True, help="Print chapters and steps; run nothing.")
@click.option("--no-pause", is_flag=True, help="Do not wait for Enter.")
def walk(
    name: str, first: str, last: str, chapter: int | None, only_list: bool, no_pause: bool
) -> None:
    """Follow the workshop: why, the command, its real output, what was checked.

    Waits for Enter after each step when on a terminal. A chapter stopped in the middle is left
    as it is; the next walk of that chapter begins it anew.
    """
    every = find_chapters.load_all()
    if only_list:
        for line in contents(every):
            click.echo(line)
        return
    route = Route(first, last, chapter)
    if not route.stages(every):
        raise ScenarioError("there is no step to walk", hint="`lab walk --list` shows them all")
    where = paths.lab_paths(name)
    lab = lab_access.open_lab(where)

    def runner(one: Chapter) -> ChapterRunner:
        aftermath = Investigation(where.records / "bundles")
        return ChapterRunner(one, world_of(lab, one.namespace), aftermath=aftermath)

    console = Console(highlight=False)
    waits = sys.stdin.isatty() and sys.stdout.isatty() and not no_pause
    workshop = Workshop(console, runner, _wait_for_enter if waits else _go_on)
    try:
        held = workshop.walk(every, route)
    except (KeyboardInterrupt, click.Abort):
        console.print()
        console.print(
            f"Stopped at {workshop.at}. To go on from here: lab walk --from {workshop.at}"
        )
        sys.exit(130)
    if last or not held:
        console.print(f"Your own kubectl: export KUBECONFIG={where.kubeconfig}", soft_wrap=True)
    sys.exit(0 if held else 1)


@click.command(context_settings={"ignore_unknown_options": True})
@name_option
@click.option("--up", is_flag=True, help="Bring the lab up first.")
@click.option(
    "--mesh",
    type=click.Choice(sorted(MESHES)),
    help="Whose sidecar must be there; with --up it is installed (ours, when not said).",
)
@click.option("--breaks", is_flag=True, help="Prove each check by breaking what it checks.")
@click.option("--chapters", "only", default="", metavar="1,3-5", help="Run these alone.")
@click.option("--workers", default=pytest_run.WORKERS, show_default=True, help="Chapters at once.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def e2e(
    name: str,
    up: bool,
    mesh: str | None,
    breaks: bool,
    only: str,
    workers: int,
    pytest_args: tuple[str, ...],
) -> None:
    """Run the walkthrough as assertions on the lab; further arguments go to pytest."""
    where = paths.lab_paths(name)
    if up:
        _bring_up(where, mesh or OURS.name)
    there = _at_the_gate(where).mesh
    if mesh and there != mesh:
        raise ScenarioError(
            f"the lab {name!r} runs the mesh {there}, not {mesh}",
            hint=f"`lab up --name {name} --mesh {mesh}` changes it, or give --up here",
        )
    arguments = pytest_run.pytest_arguments(
        name, breaks=breaks, only=only, workers=workers, more=pytest_args
    )
    sys.exit(pytest_run.run(arguments))


@click.command()
@name_option
@click.option("--check", is_flag=True, help="Only say whether the page fits the chapters.")
@click.option("--from-records", is_flag=True, help="Use the last run's output; run nothing.")
@click.option(
    "--pictures/--no-pictures", "with_pictures", default=True, help="Make the pictures, too."
)
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), default=PAGE)
def docs(name: str, check: bool, from_records: bool, with_pictures: bool, page: Path) -> None:
    """Write docs/walkthrough.md and its pictures from the chapters, with output recorded now.

    --check needs no lab: it compares headings, prose and command lines, and what the pictures
    are stamped with.
    """
    every = find_chapters.load_all()
    if check:
        files, missing = generated.check(page, every)
        for file in files:
            click.echo(f"{file} fits {len(every) - len(missing)} chapters")
        for one in missing:
            told = f"chapter {one.number} ({one.title}) is not in {page} yet"
            click.echo(f"note: {told}: `nox -s docs` records it, with the lab up")
        return
    if with_pictures:
        pictures.browser()
    where = paths.lab_paths(name)
    if not from_records:
        lab_access.open_lab(where)
        if code := pytest_run.run(pytest_run.pytest_arguments(name)):
            sys.exit(code)
    for file in generated.write(page, every, where, with_pictures=with_pictures):
        click.echo(f"wrote {file}")


@click.command()
@name_option
def report(name: str) -> None:
    """Make JUnit XML and the HTML page from the last run's records."""
    where = paths.lab_paths(name)
    try:
        run = store.load_run(where.records)
    except FileNotFoundError as missing:
        raise ScenarioError("there are no records of a run", hint="run `lab e2e`") from missing
    except RecordError as unreadable:
        raise ScenarioError(f"the last records are unreadable: {unreadable}") from unreadable
    xml, html = write_reports(where.records, run)
    for line in summary(run):
        click.echo(line)
    click.echo(f"report: {html}\njunit:  {xml}")


def _at_the_gate(where: paths.LabPaths) -> lab_access.LabAccess:
    """The lab, if it can be worked with. Raises ClusterError, told in the reports of a lab's."""
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        return lab_access.open_lab(where)
    except SidecarLabError as trouble:
        if where.root.is_dir():
            pytest_run.report_abort(where, trouble, begun, 0.0)
        raise


def _bring_up(where: paths.LabPaths, mesh: str) -> None:
    from lab.cli import lab  # the command line itself is the one way to bring a lab up

    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    started = time.monotonic()
    try:
        lab.main(["up", "--name", where.name, "--mesh", mesh], standalone_mode=False)
    except SidecarLabError as trouble:
        pytest_run.report_abort(where, trouble, begun, time.monotonic() - started)
        raise


def _wait_for_enter() -> None:
    click.prompt("", prompt_suffix="[Enter] ", default="", show_default=False)


def _go_on() -> None:
    return None
