"""Differences between our iptables program and Istio's that are right as they are, each a row.

In a fresh namespace there is one, an empty table. All others are about a second run over the rules
of a first. A row about those holds only where ours left what a first run leaves.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from lab.mesh.errors import VerifyError
from lab.mesh.redirection.options import RedirectionOptions, parse
from tests.peers.rules_cases import Case
from tests.peers.rules_world import ROUTING, Seen

Tables = Mapping[tuple[str, str], tuple[str, ...]]


@dataclass(frozen=True)
class Met:
    """A case, what both programs left behind, and what ours leaves without an earlier run."""

    case: Case
    ours: Seen
    theirs: Seen
    fresh: Seen

    @property
    def request(self) -> RedirectionOptions:
        """What the last run was asked for."""
        return parse(self.case.flags, dict(self.case.env))

    @property
    def as_new(self) -> bool:
        """Whether ours, run over an earlier run, left what it leaves in a fresh namespace."""
        same = _without_interfaces(self.ours.tables) == _without_interfaces(self.fresh.tables)
        return same and all(code == 0 for code in self.ours.codes)

    @property
    def both_succeeded(self) -> bool:
        """Whether every run of both programs ended with 0."""
        return not any((*self.ours.codes, *self.theirs.codes))


@dataclass(frozen=True)
class Row:
    """A difference that is right: `applies` sees one case."""

    name: str
    reason: str
    applies: Callable[[Met], bool]


EMPTY_TABLES: Final = "a table without any rule"
EMPTY_REASON: Final = (
    "Istio tries a variant by adding a rule to the filter table and deleting it, which leaves "
    "that table behind, empty; ours reads only"
)
_CHAIN_EXISTS: Final = re.compile(r"Chain already exists|iptables-restore: line \d+ failed")
"""In the words of nft, and of legacy, which has no more to say."""
_INTERFACE: Final = re.compile(r"-A (PREROUTING -i|OUTPUT -o) \S+ -j RETURN")
_OWN_ROUTING: Final = re.compile(r"\bfwmark\b|^2 default dev lo\b|^(2 )?::6 dev lo\b")


def without_empty_tables(seen: Seen) -> Seen:
    """`seen` without tables that hold no rule, no chain of anybody's, and no policy but ACCEPT."""
    return replace(
        seen,
        tables={
            key: lines
            for key, lines in seen.tables.items()
            if not all(line.startswith(":") and line.endswith(" ACCEPT") for line in lines)
        },
    )


def _without_interfaces(tables: Tables) -> Tables:
    """Without bare interface rules: they could be anybody's, so both programs keep old ones."""
    kept = {
        key: tuple(line for line in lines if not _INTERFACE.fullmatch(line))
        for key, lines in tables.items()
    }
    built_in = re.compile(r":\S+ ACCEPT")
    return {
        key: lines
        for key, lines in kept.items()
        if not all(built_in.fullmatch(line) for line in lines)
    }


def _policy(seen: Seen) -> dict[str, set[str]]:
    """Policy rules without their places, and routes, each once."""
    return {
        name: {re.sub(r"^\d+:\s+", "", line) for line in seen.routing[name].splitlines()}
        for name in ROUTING
    }


def _chains_in_the_way(met: Met) -> bool:
    last = met.theirs.runs[-1]
    return bool(
        met.case.before is not None
        and met.as_new
        and met.theirs.codes[0] == 0
        and last.code
        and _CHAIN_EXISTS.search(last.log)
        and not met.request.cleanup_only
    )


def _half_applied(met: Met) -> bool:
    last = met.theirs.runs[-1]
    return bool(
        met.case.before is not None
        and not met.request.reconcile
        and met.ours.codes == (0, VerifyError.exit_code)
        and met.theirs.codes[0] == 0
        and last.code
        and _CHAIN_EXISTS.search(last.log)
        and _holds_all(met.theirs.tables, met.ours.tables)
    )


def _in_both_variants(met: Met) -> bool:
    def of(kind: str) -> Tables:
        named = {(f"{f}tables-{kind}-save", f) for f in ("ip", "ip6")}
        return {
            (family, table): lines
            for (program, table), lines in met.theirs.tables.items()
            for name, family in named
            if program == name
        }

    free = not met.case.legacy and not met.case.nft_only and met.case.before is not None
    return free and met.as_new and of("nft") == of("legacy") and met.both_succeeded


def _policy_rule_twice(met: Met) -> bool:
    again = met.case.before is not None and met.request.settings.mode == "TPROXY"
    same = met.ours.tables == met.theirs.tables and _policy(met.ours) == _policy(met.theirs)
    return again and same and met.both_succeeded


def _cleanup_makes_routes(met: Met) -> bool:
    more = {
        line
        for name, lines in _policy(met.theirs).items()
        for line in lines - _policy(met.ours)[name]
    }
    return (
        met.request.cleanup_only
        and met.ours.tables == met.theirs.tables
        and met.both_succeeded
        and bool(more)
        and all(_OWN_ROUTING.search(line) for line in more)
        and all(mine <= _policy(met.theirs)[name] for name, mine in _policy(met.ours).items())
    )


def _cleanup_by_plan(met: Met) -> bool:
    return (
        met.request.cleanup_only
        and met.case.before not in (None, met.case.flags)
        and met.as_new
        and met.both_succeeded
        and not any("ISTIO_" in line for lines in met.ours.tables.values() for line in lines)
        and met.ours.tables != met.theirs.tables
        and _holds_all(met.theirs.tables, met.ours.tables)
    )


def _reconciled_by_plan(met: Met) -> bool:
    return (
        met.case.before not in (None, met.case.flags)
        and not met.request.cleanup_only
        and met.as_new
        and met.both_succeeded
        and _holds_all(met.theirs.tables, met.ours.tables)
    )


def _holds_all(more: Tables, less: Tables) -> bool:
    return all(set(lines) <= set(more.get(key, ())) for key, lines in less.items())


ROWS: Final[tuple[Row, ...]] = (
    Row(
        "a second run, and iptables-legacy is there",
        "the empty table that Istio's first run left in iptables-legacy makes its second run take "
        "that variant, so that the same rules are there twice; ours keeps to the one that has them",
        _in_both_variants,
    ),
    Row(
        "--force-apply over the same rules",
        "Istio hands the rules to iptables-restore once more, which fails on the chains that are "
        "there; ours replaces them in one transaction",
        lambda met: _chains_in_the_way(met) and met.request.force_apply,
    ),
    Row(
        "other flags over an earlier run, without --reconcile",
        "Istio fails on the chains that are there, and so does a pod whose init container runs "
        "again; ours replaces what differs, unless --reconcile=false is given",
        lambda met: _chains_in_the_way(met) and not met.request.force_apply,
    ),
    Row(
        "--reconcile=false over an earlier run",
        "both fail; Istio leaves the tables that come before the failing one as the new flags "
        "say, ours leaves everything as the earlier run left it",
        _half_applied,
    ),
    Row(
        "--reconcile over another mode",
        "Istio removes the chains that the new flags name and leaves the others of the earlier "
        "run; ours removes every chain that starts with ISTIO_",
        _reconciled_by_plan,
    ),
    Row(
        "--cleanup-only with other flags",
        "Istio removes what these flags would have made; ours removes all that it could have made",
        _cleanup_by_plan,
    ),
    Row(
        "routes of --cleanup-only",
        "after removing the rules Istio still adds the policy route of TPROXY and ::6; ours "
        "removes them",
        _cleanup_makes_routes,
    ),
    Row(
        "TPROXY's policy rule, run twice",
        "Istio adds the policy rule once more at each run; one does all that two do",
        _policy_rule_twice,
    ),
)
