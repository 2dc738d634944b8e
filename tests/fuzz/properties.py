"""The property tests of tests/unit, searched at random: other values for each seed.

The default run draws the same values each time; what is found here becomes an `@example` there.
"""

import hashlib
import os
import subprocess
import sys

from tests.dataplane.everyones import ROOT
from tests.unit import drawing


def argv(seed: str, workers: int) -> list[str]:
    """The pytest that searches; the same values for the same seed."""
    options = ["-q", "-p", "no:cacheprovider", "-n", str(workers), "--dist", "loadfile"]
    profile = f"--hypothesis-profile={drawing.SEARCH}"
    chosen = ["-m", "hypothesis", profile, f"--hypothesis-seed={number_of(seed)}", "tests/unit"]
    return [sys.executable, "-m", "pytest", *options, *chosen]


def search(seed: str, examples: int, workers: int) -> bool:
    """Try so many examples of each property and show pytest's report; whether none failed."""
    number = number_of(seed)
    environment = {
        **os.environ,
        drawing.EXAMPLES: str(examples),
        "PYTHONHASHSEED": str(number % 2**32),
    }
    print(
        f"properties, {examples} examples of each, seed {seed!r} (hypothesis: {number})", flush=True
    )
    done = subprocess.run(argv(seed, workers), cwd=ROOT, env=environment, check=False)
    print(flush=True)
    return done.returncode == 0


def number_of(seed: str) -> int:
    """A seed in words as hypothesis takes it."""
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:6])
