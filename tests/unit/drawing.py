"""How hypothesis draws here: the same values in each default run, other ones in each search.

Left alone, hypothesis also draws constants of whatever modules happen to be loaded: another order
of the tests, another worker or a line changed elsewhere would change the values of a "derandomized"
run and of a repeated seed. So a default run draws none, and a search those of the whole package.
"""

import os
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import _constants_from_source

STEADY: Final = "steady"
"""The profile of the default run: no chance, no clock, nothing carried over from a run before."""
SEARCH: Final = "search"
"""The profile of `nox -s fuzz`: random values, from the seed that pytest is given."""
EXAMPLES: Final = "SIDECAR_LAB_EXAMPLES"
"""Variable with the number of examples that a search tries of each property."""
PACKAGE: Final = Path(__file__).parents[2] / "lab"


def settle() -> None:
    """Make both profiles and take the steady one."""
    settings.register_profile(
        STEADY,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.register_profile(
        SEARCH,
        settings.get_profile(STEADY),
        derandomize=False,
        max_examples=int(os.environ.get(EXAMPLES, "2000")),
        phases=set(Phase) - {Phase.reuse},
    )
    settings.load_profile(STEADY)
    draw_constants_of([])


def draw_constants_of(files: list[Path]) -> None:
    """Let this process draw constants of these Python files and of no module besides."""
    found = providers._local_constants  # sorted sets: others differ in order from run to run
    for file in files:
        found |= _constants_from_source(file.read_bytes(), limit=True)
    providers._get_local_constants = lambda: found
    providers.CONSTANTS_CACHE.cache.clear()


def search() -> None:
    """Draw as a search does: constants of the package are its odd names, ports and words."""
    draw_constants_of(sorted(PACKAGE.rglob("*.py")))
