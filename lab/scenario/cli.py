"""The commands `lab walk`, `lab e2e`, `lab docs` and `lab report`."""

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
@click.option("--chapter", type=int, metavar="N", help="Walk only this chapter.")
@click.option("--list", "only_list", is_flag=True, help="Print chapters and steps; run nothing.")
@click.option("--no-pause", is_flag=True, help="Do not wait for Enter.")
def walk(
    name: str, first: str, last: str, chapter: int | None, only_list: bool, no_pause: bool
) -> None:
    """Walk through the workshop: for each step its text, commands, real output, and checks.

    On a terminal the walk waits for Enter after each step. If you stop in the middle of a chapter,
    its namespace stays as it is; the next walk of this chapter sets it up again from the beginning.
    """
    chapters = find_chapters.load_all()
    if only_list:
        for line in contents(chapters):
            click.echo(line)
        return
    route = Route(first, last, chapter)
    if not route.stages(chapters):
        raise ScenarioError(
            "no step fits --from, --to and --chapter",
            hint="`lab walk --list` shows all steps",
        )
    where = paths.lab_paths(name)
    lab = lab_access.open_lab(where)

    def runner(chapter_to_walk: Chapter) -> ChapterRunner:
        aftermath = Investigation(where.records / "bundles")
        return ChapterRunner(
            chapter_to_walk, world_of(lab, chapter_to_walk.namespace), aftermath=aftermath
        )

    console = Console(highlight=False)
    waits = sys.stdin.isatty() and sys.stdout.isatty() and not no_pause
    workshop = Workshop(console, runner, _wait_for_enter if waits else _go_on)
    try:
        held = workshop.walk(chapters, route)
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
    help="The mesh that the lab must run; --up installs it (sidecar-lab by default).",
)
@click.option("--breaks", is_flag=True, help="Prove each check by breaking what it checks.")
@click.option("--chapters", "only", default="", metavar="1,3-5", help="Run only these.")
@click.option(
    "--workers",
    default=pytest_run.WORKERS,
    show_default=True,
    help="Chapters that run side by side.",
)
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
    """Run the chapters as tests on the lab; further arguments go to pytest."""
    where = paths.lab_paths(name)
    if up:
        _bring_up(where, mesh or OURS.name)
    there = _at_the_gate(where).mesh
    if mesh and there != mesh:
        raise ScenarioError(
            f"the lab {name!r} runs the mesh {there}, not {mesh}",
            hint=f"`lab up --name {name} --mesh {mesh}` installs {mesh} instead; "
            "with --up this command does so itself",
        )
    arguments = pytest_run.pytest_arguments(
        name, breaks=breaks, only=only, workers=workers, more=pytest_args
    )
    sys.exit(pytest_run.run(arguments))


@click.command()
@name_option
@click.option("--check", is_flag=True, help="Only check whether the page fits the chapters.")
@click.option("--from-records", is_flag=True, help="Use the output of the last run; run nothing.")
@click.option(
    "--pictures/--no-pictures", "with_pictures", default=True, help="Write the pictures, too."
)
@click.option("--page", type=click.Path(dir_okay=False, path_type=Path), default=PAGE)
def docs(name: str, check: bool, from_records: bool, with_pictures: bool, page: Path) -> None:
    """Run the chapters, then write docs/walkthrough.md and its pictures with the recorded output.

    With --check nothing runs and no lab is needed: the page's headings, prose and command lines,
    and the stamps of the pictures, are compared with the chapters.
    """
    chapters = find_chapters.load_all()
    if check:
        files, missing = generated.check(page, chapters)
        for file in files:
            click.echo(f"{file} fits {len(chapters) - len(missing)} chapters")
        for chapter in missing:
            note = f"chapter {chapter.number} ({chapter.title}) is not in {page} yet"
            click.echo(f"note: {note}: `nox -s docs` records it, with the lab up")
        return
    if with_pictures:
        pictures.browser()
    where = paths.lab_paths(name)
    if not from_records:
        lab_access.open_lab(where)
        if code := pytest_run.run(pytest_run.pytest_arguments(name)):
            sys.exit(code)
    for file in generated.write(page, chapters, where, with_pictures=with_pictures):
        click.echo(f"wrote {file}")


@click.command()
@name_option
def report(name: str) -> None:
    """Write JUnit XML and the HTML page from the records of the last run."""
    where = paths.lab_paths(name)
    try:
        run = store.load_run(where.records)
    except FileNotFoundError as missing:
        raise ScenarioError("there are no records of a run", hint="run `lab e2e`") from missing
    except RecordError as unreadable:
        raise ScenarioError(
            f"the record of the last run is unreadable: {unreadable}"
        ) from unreadable
    xml, html = write_reports(where.records, run)
    for line in summary(run):
        click.echo(line)
    click.echo(f"report: {html}\njunit:  {xml}")


def _at_the_gate(where: paths.LabPaths) -> lab_access.LabAccess:
    """Open the lab. If it is not up, write reports with this error and raise ClusterError.

    If the lab has no folder, no reports are written.
    """
    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        return lab_access.open_lab(where)
    except SidecarLabError as error:
        if where.root.is_dir():
            pytest_run.report_abort(where, error, begun, 0.0)
        raise


def _bring_up(where: paths.LabPaths, mesh: str) -> None:
    from lab.cli import lab  # a lab is brought up only through the command line

    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    started = time.monotonic()
    try:
        lab.main(["up", "--name", where.name, "--mesh", mesh], standalone_mode=False)
    except SidecarLabError as error:
        pytest_run.report_abort(where, error, begun, time.monotonic() - started)
        raise


def _wait_for_enter() -> None:
    click.prompt("", prompt_suffix="[Enter] ", default="", show_default=False)


def _go_on() -> None:
    return None
