"""Our istio-iptables beside Istio's: the same flags, two fresh namespaces, the same kernel state.

Compared are the whole texts of iptables-save and ip6tables-save, of nft and of legacy, order
included, policy rules and all routes; then values that no program may accept. The seed is printed;
SIDECAR_LAB_PEERS_SEED sets another one, SIDECAR_LAB_PEERS_SETS another number of flag sets.
"""

import os
import shutil
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from lab.cluster.images.istio_programs import IstioBinaries
from lab.progress import Progress, Task
from tests.dataplane.world import INJECTED, TOOLS
from tests.peers import rules_accepted as accepted
from tests.peers.result import Accepted, Result
from tests.peers.rules_accepted import Met, without_empty_tables
from tests.peers.rules_bad import BAD_ROWS, BadValue, bad_values
from tests.peers.rules_cases import Case, flag_sets
from tests.peers.rules_world import OURS, Program, Seen, differences, observe

SEED: Final = 20261123
SETS: Final = 320
BAD: Final = 100
T = TypeVar("T")
U = TypeVar("U")


def compare(binaries: IstioBinaries, progress: Progress) -> Result:
    """Run every case in both programs. Needs Linux, root, iptables and iproute2."""
    missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
    if missing or os.geteuid():
        needs = f"the packages {', '.join(missing)}" if missing else "root, for namespaces"
        raise RuntimeError(f"the comparison of rules needs {needs}")
    theirs = Program("Istio", (str(binaries.pilot_agent), "istio-iptables"))
    number = int(os.environ.get("SIDECAR_LAB_PEERS_SEED", SEED))
    cases = flag_sets(int(os.environ.get("SIDECAR_LAB_PEERS_SETS", SETS)), number, FIXED)
    bad = bad_values(BAD, number)
    progress.note(f"iptables: {len(cases)} flag sets, {len(bad)} bad values, seed {number}")
    verdict = _Verdict()
    with tempfile.TemporaryDirectory() as folder, progress.task("iptables rules") as task:
        pair = _Pair(theirs, Path(folder))
        for met in _each(pair.both, cases, task):
            verdict.judge(met)
        as_cases = [value.case for value in bad]
        for value, met in zip(bad, _each(pair.both, as_cases, task), strict=True):
            verdict.judge_bad(value, met.ours, met.theirs)
    progress.note(verdict.speed())
    return verdict.result(len(cases), len(bad))


class _Pair:
    """Runs a case in both programs, in files of its own."""

    def __init__(self, theirs: Program, folder: Path) -> None:
        self.theirs, self.folder = theirs, folder

    def both(self, numbered: tuple[int, Case]) -> Met:
        number, case = numbered
        file = self.folder / f"resolv-{number}.conf"
        ours, theirs = observe(OURS, case, file), observe(self.theirs, case, file)
        again = case.before is not None
        fresh = observe(OURS, replace(case, before=None), file) if again else ours
        file.unlink()
        return Met(case, ours, theirs, fresh)


def _each(act: Callable[[tuple[int, T]], U], items: Sequence[T], task: Task) -> list[U]:
    """In parallel: a case mostly waits for processes that it started."""
    results = []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for done, result in enumerate(pool.map(act, enumerate(items)), start=1):
            task.update("run in both", done=done, total=len(items))
            results.append(result)
    return results


class _Verdict:
    """Collects what was the same, what was accepted and why, and what nobody explained."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.unexplained: list[str] = []
        self.seconds: list[tuple[float, float]] = []

    def judge(self, met: Met) -> None:
        """One flag set. A case is explained by one row at most, beside the empty tables."""
        case, ours, theirs = met.case, met.ours, met.theirs
        if case.flags == INJECTED and case.before is None:
            self.seconds.append((ours.runs[0].seconds, theirs.runs[0].seconds))
        bare = Met(case, *map(without_empty_tables, (ours, theirs, met.fresh)))
        found = differences(bare.ours, bare.theirs)
        if len(differences(ours, theirs)) > len(found):
            self.counts[accepted.EMPTY_TABLES] += 1
        if _succeeded(ours) == _succeeded(theirs) and not found:
            return
        for row in accepted.ROWS:
            if row.applies(bare):
                self.counts[row.name] += 1
                return
        codes = f"exit codes: ours {ours.codes}, Istio's {theirs.codes}"
        failed = [run.log for run in (*ours.runs, *theirs.runs) if run.code]
        last = ["  " + log.strip()[-600:] for log in failed]
        self.unexplained.append("\n    ".join([str(case), codes, *found, *last]))

    def judge_bad(self, value: BadValue, ours: Seen, theirs: Seen) -> None:
        """One bad value: both fail, ours by name and before anything is touched."""
        log = ours.runs[0].log
        said = log.partition("error: ")[2]
        if ours.codes != (2,) or not all(part in said for part in value.told):
            self.unexplained.append(f"{value.case}: ours exits {ours.codes} and says {log!r}")
        elif without_empty_tables(ours).tables:
            self.unexplained.append(f"{value.case}: ours left rules behind")
        elif theirs.codes == (0,):
            row = next((row for row in BAD_ROWS if row.applies(value)), None)
            if row:
                self.counts[row.name] += 1
            else:
                self.unexplained.append(f"{value.case}: Istio's accepts it")

    def speed(self) -> str:
        """Both programs with the injected flags in an empty namespace, measured side by side."""
        mine, other = (statistics.median(times) for times in zip(*self.seconds, strict=True))
        return (
            f"iptables: the injected flags take {mine * 1000:.0f} ms here, {other * 1000:.0f} ms "
            f"in Istio's program: {mine / other:.2f} (median of {len(self.seconds)}, side by side)"
        )

    def result(self, sets: int, bad: int) -> Result:
        """The result; a row that matched nothing has outlived its reason, and is told."""
        reasons = {accepted.EMPTY_TABLES: accepted.EMPTY_REASON}
        reasons |= {row.name: row.reason for row in accepted.ROWS}
        reasons |= {row.name: row.reason for row in BAD_ROWS}
        unused = [f"the row {name!r} matched nothing" for name in reasons if not self.counts[name]]
        return Result(
            f"iptables flag sets ({sets}) and bad values ({bad})",
            sets + bad,
            tuple(Accepted(name, why, self.counts[name]) for name, why in reasons.items()),
            (*self.unexplained, *unused),
        )


def _succeeded(seen: Seen) -> tuple[bool, ...]:
    return tuple(code == 0 for code in seen.codes)


TPROXY: Final = (*INJECTED, "-m", "TPROXY")
FIXED: Final = (
    *(Case(INJECTED, servers=(f"10.96.0.{last}",)) for last in range(10, 20)),
    Case(INJECTED, addresses="dual"),
    Case((*INJECTED, "--dual-stack"), addresses="dual"),
    Case(INJECTED, addresses="ipv6"),
    Case(INJECTED, legacy=True),
    Case(INJECTED, before=INJECTED),
    Case(INJECTED, before=INJECTED, legacy=True),
    Case(INJECTED, before=INJECTED, nft_only=True),
    Case((*INJECTED, "--force-apply"), before=INJECTED, nft_only=True),
    Case((*INJECTED, "--cleanup-only"), before=INJECTED, nft_only=True),
    Case(("--cleanup-only",), before=INJECTED, nft_only=True),
    Case((*INJECTED, "--cleanup-only"), before=TPROXY, nft_only=True),
    Case((*TPROXY, "--cleanup-only"), before=TPROXY, nft_only=True),
    Case(TPROXY, before=TPROXY, nft_only=True),
    Case((*INJECTED, "-o", "8080"), before=INJECTED, nft_only=True),
    Case((*INJECTED, "-o", "8080"), before=INJECTED, legacy=True),
    Case((*INJECTED, "--reconcile"), before=TPROXY, nft_only=True),
    Case((*TPROXY, "--reconcile=false"), before=INJECTED, nft_only=True),
    Case(()),
)
"""Always there: what injection asks for, timed ten times, and each way to run it again.

What hypothesis draws changes with the code (it draws constants of it, too): each accepted row is
met by one of these, so that none seems to have outlived its reason by chance.
"""
