"""Programs that start, work and end: kube-inject and the iptables program, beside Istio's."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab import paths
from lab.cluster.images.istio_programs import IstioBinaries
from lab.command import run
from lab.errors import CommandError, HostError
from tests.bench.figures import Row, Table
from tests.peers.istioctl import Injector
from tests.peers.rules_cases import Case
from tests.peers.rules_world import OURS, Program, observe

MANIFEST: Final = paths.manifests() / "jiuxi-deployment.yaml"
LAB: Final = (sys.executable, "-m", "lab")
RULES: Final = (
    *("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", ""),
    *("-b", "*", "-d", "15090,15021,15020"),
)
TIMEOUT: Final = 120


LAUNCH: Final = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
process.returncode = os.waitstatus_to_exitcode(status)
with open(sys.argv[1], "w") as told:
    print(process.returncode, seconds, usage.ru_maxrss, file=told)
"""
"""A small process that starts the program: what starts it counts as its largest size, too."""


def measured(argv: Sequence[str | Path], **environment: str) -> tuple[float, float]:
    """Run a program; seconds of wall time, and MB (10^6 bytes) of its largest resident size.

    Raises CommandError when it exits other than 0.
    """
    words = [str(word) for word in argv]
    with tempfile.TemporaryFile() as out, tempfile.NamedTemporaryFile("r") as told:
        subprocess.run(
            [sys.executable, "-IS", "-c", LAUNCH, told.name, *words],
            stdout=out, stderr=out, env={**os.environ, **environment}, check=True,
        )  # fmt: skip
        code, seconds, largest = told.read().split()
        if code != "0":
            out.seek(0)
            raise CommandError(words, int(code), "", out.read().decode(errors="replace"))
    return float(seconds), int(largest) * 1024 / 1e6


def inject(binaries: IstioBinaries, runs: int) -> Table:
    """kube-inject, one Deployment and 500: time and memory, turn about.

    Ours finds its bytecode, as wherever Python may write it; here it is in a folder of its own.
    """
    table = Table()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        injector = Injector(binaries.istioctl, folder)
        theirs = [str(binaries.istioctl), *injector.arguments]
        one = MANIFEST.read_text()
        several = (one.replace("name: jiuxi", f"name: jiuxi-{n}") for n in range(500))
        many = folder / "many.yaml"
        many.write_text("---\n".join(several))
        for file, what, goal, times in ((MANIFEST, "1", 0.5, 4 * runs), (many, "500", 0.25, runs)):
            ours = [*LAB, "kube-inject", "-f", str(file)]
            kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
            measured(ours, **kept)  # the first writes the bytecode
            why = importing(ours, ["env", *(f"{key}={value}" for key, value in kept.items())])
            pairs = [
                (measured(ours, **kept), measured([*theirs, "-f", file], HOME=name))
                for _ in range(times)
            ]
            mine, istios = zip(*pairs, strict=True)
            title = f"kube-inject, {what} Deployment{'s' if what != '1' else ''}"
            seconds = tuple(m[0] for m in mine), tuple(i[0] for i in istios)
            memory = tuple(m[1] for m in mine), tuple(i[1] for i in istios)
            table.rows.append(Row(title, "s", *seconds, goal=goal, why=why))
            limit = 40.0 if what == "1" else None
            table.rows.append(Row(f"{title}, largest", "MB", *memory, limit=limit, why=why))
    return table


def rules(binaries: IstioBinaries, runs: int) -> Table:
    """The iptables program in a network namespace with nothing in it, one for each run."""
    if os.geteuid():
        raise HostError("network namespaces need root", hint="sudo python3 noxfile.py -s bench")
    theirs = Program("Istio's", (str(binaries.pilot_agent), "istio-iptables"))
    case = Case(RULES)
    with tempfile.TemporaryDirectory() as folder:
        resolv = Path(folder) / "resolv.conf"
        pairs = [
            tuple(observe(program, case, resolv).runs[0].seconds for program in (OURS, theirs))
            for _ in range(6 * runs)
        ]
    mine, istios = (tuple(pair[side] for pair in pairs) for side in (0, 1))
    bare = min(measured([sys.executable, "-IS", "-c", ""])[0] for _ in range(5))
    why = f"  {bare:.3f} s of ours: starting Python\n{importing([*OURS.argv, '-n', *RULES])}"
    row = Row("iptables program, empty namespace", "s", mine, istios, goal=1.0, why=why)
    return Table([row])


def importing(argv: Sequence[str], before: Sequence[str] = ()) -> str:
    """The longest imports of a Python program: what its start is made of."""
    words = [*before, argv[0], "-X", "importtime", *argv[1:]]
    said = run(words, check=False, timeout=TIMEOUT).stderr
    found = []
    for line in said.splitlines():
        parts = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and parts[0].strip().isdigit():
            found.append((int(parts[0]), parts[2].strip()))
    whole = sum(own for own, _ in found) / 1e6
    longest = sorted(found, reverse=True)[:6]
    told = ", ".join(f"{name} {own / 1000:.1f} ms" for own, name in longest)
    return f"  {whole:.3f} s of ours: imports (measured with their own cost), longest: {told}"
