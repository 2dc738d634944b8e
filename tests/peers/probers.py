"""The agent's probes and hooks beside kubelet's own code (`tests.probers`)."""

from lab.progress import Progress
from tests.peers.result import Result
from tests.probers import compare as probers


def compare(progress: Progress) -> Result:
    """Every odd server, and every Location. Raises BuildError."""
    outcome = probers.compare(progress)
    what = f"probes and hooks ({outcome.cases} servers, {outcome.locations} Locations)"
    return Result(what, outcome.cases * 2 + outcome.locations, (), outcome.differences)
