"""`nox -s fuzz`: random search, with another seed each day.

The property tests with thousands of examples; then mutated admission reviews and manifests, each
answer looked at. Needs a lab that is up: its API server judges by dry runs, its webhook answers a
part of the reviews over HTTPS. A case is made from the seed and its number alone.
"""

import contextlib
import datetime
import shlex
import sys
import tempfile
import time
from pathlib import Path

import click

from lab import command, console, paths, streams
from lab.cli import print_error
from lab.cluster import gate
from lab.mesh.errors import SidecarLabError
from tests.fuzz import apiserver, files, refusals, seeds
from tests.fuzz.apiserver import Judge
from tests.fuzz.cases import Cases, Kind
from tests.fuzz.properties import search
from tests.fuzz.runner import Found, run

EXAMPLES = """\b
Examples:
  nox -s fuzz                                         all of it, with today's seed
  nox -s fuzz -- --reviews 2000 --documents 500 --seed mine
  nox -s fuzz -- --properties 0 --reviews 0           documents alone
  nox -s fuzz -- --again .lab/sidecar-lab/fuzz/review-17.json   one case that failed

\b
Exit code: 0 nothing found; 1 findings, or the time was up before the count; 2 misuse.
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--properties", default=2_000, show_default=True, help="Examples of each property.")
@click.option("--reviews", default=100_000, show_default=True, help="Mutated admission reviews.")
@click.option("--documents", default=20_000, show_default=True, help="Mutated files of manifests.")
@click.option(
    "--seed",
    default=lambda: datetime.datetime.now(datetime.UTC).date().isoformat(),
    show_default="today's date",
    help="Any text; the same makes the same.",
)
@click.option("--minutes", default=60.0, show_default=True, help="Time for each of the two.")
@click.option("--workers", default=4, show_default=True, help="Processes.")
@click.option("--name", default=paths.DEFAULT_NAME, show_default=True, help="Which lab judges.")
@click.option("--offline", is_flag=True, help="Without a lab: no dry runs, no webhook.")
@click.option(
    "--again",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only the case in this file, as it was left by a run.",
)
def fuzz(
    properties: int,
    reviews: int,
    documents: int,
    seed: str,
    minutes: float,
    workers: int,
    name: str,
    offline: bool,
    again: Path | None,
) -> None:
    """Search at random; nothing may crash, hang or be answered wrongly."""
    print(f"seed {seed!r}: the same is tried again with --seed {shlex.quote(seed)}", flush=True)
    lab = None if offline else gate.require(paths.lab_paths(name))
    kubeconfig = Path(lab.kubeconfig) if lab else None
    left = paths.lab_paths(name).root / "fuzz"
    with apiserver.namespace(kubeconfig) if kubeconfig else contextlib.nullcontext():
        if again:
            sys.exit(_again(again, seed, kubeconfig))
        good = not lab or _reasons(Path(lab.kubeconfig), lab.kubectl)
        if properties:
            good &= search(seed, properties, workers)
        counts: dict[Kind, int] = {"review": reviews, "document": documents}
        for kind, count in counts.items():
            if count:
                good &= _all(kind, count, seed, minutes, workers, kubeconfig, left)
    sys.exit(0 if good else 1)


def _reasons(kubeconfig: Path, kubectl: str) -> bool:
    """Whether everything that is refused on purpose still has its reason."""

    def ask(manifest: str) -> str:
        words = [kubectl, "--kubeconfig", str(kubeconfig), "--namespace", seeds.NAMESPACE]
        done = command.run(
            [*words, "create", "--dry-run=server", "-f", "-"],
            stdin=manifest,
            timeout=60,
            check=False,
        )
        return done.stderr if done.returncode else ""

    with tempfile.TemporaryDirectory() as folder:
        wrong = list(
            refusals.untrue(lambda data: files.refused(data, Path(folder)), Judge(kubeconfig), ask)
        )
    print(f"refused on purpose: {len(refusals.REFUSALS)} reasons checked, {len(wrong)} untrue")
    for one in wrong:
        print(f"         {one}")
    print(flush=True)
    return not wrong


def _all(
    kind: Kind,
    count: int,
    seed: str,
    minutes: float,
    workers: int,
    kubeconfig: Path | None,
    left: Path,
) -> bool:
    """Run and report the cases of one kind; whether nothing was found."""
    found = Found()
    with console.progress(sys.stdout).task(f"{count} mutated {kind}s") as task:
        for found in run(kind, count, seed, minutes * 60, workers, kubeconfig):
            task.update(f"{len(found.findings)} findings", done=found.done, total=count)
    print(f"\n{found.done} {kind}s in {found.seconds:.0f} s, seed {seed!r}")
    for outcome, number in found.outcomes.most_common():
        print(f"{number:8}  {outcome}")
    if kubeconfig:
        print(f"{found.asked:8}  requests to the API server, for dry runs of each such answer")
    if found.over_https:
        print(f"{found.over_https:8}  also answered by the running webhook, alike")
    if found.hung:
        print("hung: no batch ended in time")
    if found.done < count:
        print(f"the time was up: {count - found.done} were not tried (--minutes, or --workers)")
    _report(kind, seed, kubeconfig, found, left)
    print(f"{sum(one.count for one in found.findings.values())} of them wrong\n", flush=True)
    return not found.findings and not found.hung and found.done == count


def _report(kind: Kind, seed: str, kubeconfig: Path | None, found: Found, left: Path) -> None:
    if not found.findings:
        return
    cases = Cases(kind, seed, kubeconfig)
    left.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60
    for one in sorted(found.findings.values(), key=lambda one: -one.count):
        data = cases.make(one.index)
        if time.monotonic() < deadline:
            data = cases.smaller(data, one.problem)
        file = left / f"{kind}-{one.index}.{'json' if kind == 'review' else 'yaml'}"
        file.write_bytes(data)
        print(f"{one.count:8} x {one.problem}\n           again: nox -s fuzz -- --again {file}")
    cases.close()


def _again(file: Path, seed: str, kubeconfig: Path | None) -> int:
    kind: Kind = "document" if file.name.startswith("document") else "review"
    cases = Cases(kind, seed, kubeconfig)
    verdict = cases.look(file.read_bytes(), sampled=True)
    cases.close()
    print(f"{verdict.outcome}{': ' if verdict.problem else ''}{verdict.problem}")
    return 1 if verdict.problem else 0


def main() -> None:
    """Run the command line; what went wrong with the lab is an error with a hint."""
    try:
        streams.prepare()
        fuzz(standalone_mode=False)
        streams.finish()
    except click.ClickException as misuse:
        misuse.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        print_error("interrupted", "a smaller --reviews and --documents takes less time")
        sys.exit(130)
    except OSError as broken:
        print_error(str(broken), "look at the lab with `lab status`, and run it again")
        sys.exit(1)
    except SidecarLabError as error:
        print_error(error.message, error.hint)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
