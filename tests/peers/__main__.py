"""`nox -s peers`: what this mesh decides beside what real Istio decides."""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

import click

from lab import console, streams
from lab.cli import print_error
from lab.cluster.images.istio_programs import IstioBinaries, istio_binaries
from lab.mesh.errors import SidecarLabError
from lab.progress import Progress
from tests.peers import probers
from tests.peers.result import Result

KUBELETS: Final = "probers"
"""The comparison that needs nothing of Istio."""
WITHOUT_ROOT: Final = ("injection", KUBELETS)
COMPARISONS: Final = ("injection", "rules", "flows", "flows-real", KUBELETS)
EXAMPLES: Final = """\b
Examples:
  nox -s peers                         every comparison (about ten minutes; root)
  nox -s peers -- injection            manifests through both injectors
  nox -s peers -- rules flows          istio-iptables of both: the rules, and where packets go
  nox -s peers -- flows-real           packets through real Envoy, agent and discovery
  nox -s peers -- probers              the agent's probes and hooks beside kubelet's own code

\b
Exit code: 0 every difference is explained; 1 one is not; 2 misuse.
"""


def _comparison(name: str) -> Callable[[IstioBinaries, Progress], Result]:
    """Loaded when wanted: the rules and the flows need root and libraries of Linux."""
    compare: Callable[[IstioBinaries, Progress], Result] = importlib.import_module(
        f"tests.peers.{name.replace('-', '_')}"
    ).compare
    return compare


def told(result: Result) -> str:
    """What a reader gets to see of one comparison."""
    seen = sum(each.count for each in result.accepted)
    lines = [
        f"{result.what}: {result.compared} compared, {seen} differences accepted"
        f" (reasons: {len(result.accepted)}), {len(result.unexplained)} unexplained"
    ]
    lines += [f"  {each.count:5}  {each.name}: {each.reason}" for each in result.accepted]
    lines += [f"  unexplained: {text}" for text in result.unexplained]
    return "\n".join(lines)


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(COMPARISONS))
def peers(names: tuple[str, ...]) -> int:
    """Compare with real Istio, built from its Go modules; every one, or only the named."""
    chosen = names or COMPARISONS
    if os.geteuid() and (needs := [name for name in chosen if name not in WITHOUT_ROOT]):
        hint = f"as root; without it: nox -s peers -- {' '.join(WITHOUT_ROOT)}"
        problem = f"{', '.join(needs)}: network namespaces are made there, which needs root"
        raise SidecarLabError(problem, hint=hint)
    progress = console.progress(sys.stderr)
    results = []
    for name in chosen:
        if name == KUBELETS:
            results.append(probers.compare(progress))
        else:
            results.append(_comparison(name)(istio_binaries(progress), progress))
        print(told(results[-1]), flush=True)
    return 1 if any(result.unexplained for result in results) else 0


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    try:
        code: int = peers.main(list(arguments), "nox -s peers --", standalone_mode=False)
    except click.ClickException as misuse:
        misuse.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        print_error("interrupted", "one comparison takes less time than all: see --help")
        return 130
    except SidecarLabError as error:
        print_error(error.message, error.hint)
        return error.exit_code
    return code


if __name__ == "__main__":
    streams.prepare()
    sys.exit(main(sys.argv[1:]))
