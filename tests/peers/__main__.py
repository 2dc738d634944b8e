"""`nox -s peers`: what this mesh decides beside what real Istio decides.

    nox -s peers                every comparison
    nox -s peers -- injection   only the named ones: injection, rules, flows, flows-real, probers

The last is beside kubelet: its own probes and hooks, on odd servers.

Exit code 1 when a difference is not explained; 2 for an unknown name.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Final

from lab import console
from lab.cluster.peers import IstioBinaries, istio_binaries
from lab.progress import Progress
from tests.peers import probers
from tests.peers.result import Result

KUBELETS: Final = "probers"
"""The comparison that needs nothing of Istio."""
COMPARISONS: Final = ("injection", "rules", "flows", "flows-real", KUBELETS)


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


def main(arguments: Sequence[str]) -> int:
    """Run the named comparisons, or all; return the exit code."""
    unknown = [name for name in arguments if name not in COMPARISONS]
    if unknown:
        known = ", ".join(COMPARISONS)
        print(f"error: no comparison {unknown[0]!r}\nhint: there are {known}", file=sys.stderr)
        return 2
    progress = console.progress(sys.stderr)
    results = []
    for name in arguments or COMPARISONS:
        if name == KUBELETS:
            results.append(probers.compare(progress))
        else:
            results.append(_comparison(name)(istio_binaries(progress), progress))
        print(told(results[-1]), flush=True)
    return 1 if any(result.unexplained for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
