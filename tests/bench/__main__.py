"""`nox -s bench`: what the project costs, beside real Istio and beside a bare kind cluster."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from lab import console, streams
from lab.cluster.images.istio_programs import istio_binaries
from lab.mesh.errors import SidecarLabError
from tests.bench import clusters, meshes, programs
from tests.bench.figures import Table

PARTS = ("inject", "rules", "meshes", "lab")
EXAMPLES = """Examples:

\b
  nox -s bench                          everything (about eight minutes)
  nox -s bench -- inject rules          only the programs, beside real Istio's (root)
  nox -s bench -- meshes --runs 5       admission, memory, a Deployment: both meshes on one lab
  nox -s bench -- lab                   lab up, e2e, pause, beside a bare kind cluster
  nox -s bench -- --json figures.json   for programs

Nothing is judged: a goal that is missed is said, with what explains it, and the exit code stays 0.
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", nargs=-1, type=click.Choice(PARTS))
@click.option("--runs", default=3, show_default=True, help="Samples of each figure, at the least.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Also there.")
def bench(parts: tuple[str, ...], runs: int, file: Path | None) -> None:
    """Measure, and print the table: ours, real Istio's, ratios with their spread, goals."""
    shown = console.progress(sys.stderr)
    whole = Table()
    binaries = istio_binaries(shown)
    every: dict[str, Callable[[], Table]] = {
        "inject": lambda: programs.inject(binaries, runs),
        "rules": lambda: programs.rules(binaries, runs),
        "meshes": lambda: meshes.measure(runs),
        "lab": clusters.lab,
    }
    for name in parts or PARTS:
        with shown.task(f"measuring: {name}"):
            made = every[name]()
        whole.rows += made.rows
        whole.singles += made.singles
    click.echo(whole.text())
    if file is not None:
        file.write_text(json.dumps(whole.plain(), indent=1) + "\n")


if __name__ == "__main__":
    try:
        streams.prepare()
        bench(standalone_mode=True)
    except SidecarLabError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(error.exit_code)
