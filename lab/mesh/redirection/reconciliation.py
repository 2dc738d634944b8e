"""Applies planned rules in the kernel, reads them back, verifies them, and removes old rules."""

from lab.mesh.errors import ApplyError, UnusableError, VerifyError
from lab.mesh.redirection import netfilter, routes
from lab.mesh.redirection.netfilter import Candidate
from lab.mesh.redirection.options import RedirectionOptions
from lab.mesh.redirection.rules import (
    RulePlan,
    State,
    differences,
    marks_in,
    ours,
    render,
    replacement,
)
from lab.mesh.redirection.settings import Settings


def apply(wanted: RulePlan, settings: Settings, chosen: RedirectionOptions) -> bool:
    """Apply the plan of one address family and verify it.

    Return whether rules of this program were there before. Raises UnusableError or ApplyError, or
    VerifyError when the rules read back are not the planned ones.
    """
    candidates = netfilter.candidates(wanted.family)
    holder = candidates[0]
    say(
        f"Using {holder.variant.name} ({_why(candidates)}). "
        "The rules, as iptables-restore reads them:"
    )
    say(render(wanted.state, comments=chosen.comments))
    present = ours(holder.state, wanted.state, settings.marks)
    wrong = differences(present, wanted.state)
    if wrong or chosen.force_apply:
        holder = _change(candidates, present, wanted, wrong, chosen)
    else:
        say("Every rule is there already: nothing to change.")
    for stale in candidates:
        if stale.variant != holder.variant and stale.holds_ours:
            _remove(stale, wanted, settings)
    for line in routes.ensure(settings, wanted.family, _bare(marks_in(candidates[0].state))):
        say(f"Route: {line}.")
    verify(holder, wanted, settings)
    return bool(present)


def verify(holder: Candidate, wanted: RulePlan, settings: Settings) -> None:
    """Read the rules back and print them. Raises VerifyError if they are not the planned ones."""
    observed = netfilter.read(holder.variant)
    wrong = differences(ours(observed, wanted.state, settings.marks), wanted.state)
    if wrong:
        raise VerifyError(
            "the rules read back are not the planned ones: " + "; ".join(wrong),
            hint="another program may be changing rules in this namespace",
        )
    say(f"Read back with {holder.variant.save[0]} and verified, {len(wanted.rules)} rules:")
    for table, rule in wanted.rules:
        say(f"  {table}  {rule.text}")
        say(f"        # {rule.purpose}")
    for text in _others(observed, wanted.state):
        say(f"note: a rule that is not ours stays: {text}")


def clean(wanted: RulePlan, settings: Settings, *, dry_run: bool) -> None:
    """Remove every rule, chain and route of this program for one address family.

    Both iptables variants are cleaned. With `dry_run`, remove nothing; only print the text for
    iptables-restore that would remove the rules and chains.
    """
    try:
        candidates = netfilter.candidates(wanted.family)
    except UnusableError:
        if wanted.family == "ipv4":
            raise
        return  # no IPv6 netfilter here, so no rule of ours either
    for holder in candidates:
        present = ours(holder.state, wanted.state, settings.marks)
        if not present:
            continue
        if dry_run:
            say(f"Dry run: this would be given to {holder.variant.restore[0]}:")
            say(replacement(present, {}))
        else:
            _remove(holder, wanted, settings)
    if not dry_run:
        stale = _bare(frozenset().union(*(marks_in(holder.state) for holder in candidates)))
        for line in routes.remove(settings, wanted.family, stale):
            say(f"Route: {line}.")
        say(f"No rule of ours is left ({wanted.family}).")


def withdraw(unwanted: RulePlan, settings: Settings, chosen: RedirectionOptions) -> None:
    """Remove the rules of an earlier run for an address family that this run does not capture.

    Raises VerifyError instead of removing them if the options say `--reconcile=false`.
    """
    try:
        candidates = netfilter.candidates(unwanted.family)
    except UnusableError:
        return
    if not any(holder.holds_ours for holder in candidates):
        return
    if not chosen.reconcile:
        raise VerifyError(
            f"rules of ours are there for {unwanted.family}, which this run does not capture",
            hint="run again without --reconcile=false to have them removed",
        )
    say(f"{unwanted.family} is no longer captured.")
    clean(unwanted, settings, dry_run=False)


def say(text: str) -> None:
    """Print `text` and flush it, so that even a killed container's log shows what was done."""
    print(text.rstrip("\n"), flush=True)


def _change(
    candidates: list[Candidate],
    present: State,
    wanted: RulePlan,
    wrong: list[str],
    chosen: RedirectionOptions,
) -> Candidate:
    """Apply what differs from the plan; return the candidate whose variant was used.

    If no rules of this program were there and the kernel refuses one variant, try the next variant.
    """
    if present and not chosen.reconcile:
        raise VerifyError(
            "rules of ours are there, but not the planned ones: " + "; ".join(wrong),
            hint="run again without --reconcile=false to have them replaced",
        )
    if present:
        say("Rules of ours are there; what differs is replaced in one transaction:")
        for line in wrong:
            say(f"  {line}")
        text = replacement(
            present, wanted.state, comments=chosen.comments, force=chosen.force_apply
        )
        say(text)
        netfilter.apply(candidates[0].variant, text)
        return candidates[0]
    refusals = []
    for candidate in candidates:
        try:
            netfilter.apply(candidate.variant, render(wanted.state, comments=chosen.comments))
        except ApplyError as refused:
            refusals.append(refused)
            say(f"warning: {refused.message}")
            _undo(candidate, wanted, chosen.settings)
        else:
            say(f"Applied with {' '.join(candidate.variant.restore)}.")
            return candidate
    raise refusals[0]


def _undo(candidate: Candidate, wanted: RulePlan, settings: Settings) -> None:
    """Remove what was applied before the kernel refused a later table of the same plan."""
    now = Candidate(candidate.variant, netfilter.read(candidate.variant))
    if now.holds_ours:
        _remove(now, wanted, settings)


def _remove(holder: Candidate, wanted: RulePlan, settings: Settings) -> None:
    text = replacement(ours(holder.state, wanted.state, settings.marks), {})
    say(f"Removing rules of ours with {holder.variant.name}:")
    say(text)
    netfilter.apply(holder.variant, text)
    left = ours(netfilter.read(holder.variant), wanted.state, settings.marks)
    if left:
        raise VerifyError("rules of ours are still there: " + "; ".join(differences(left, {})))


def _bare(marks: frozenset[str]) -> frozenset[str]:
    """Return the marks without their masks, as `ip rule` prints them."""
    return frozenset(mark.partition("/")[0] for mark in marks)


def _why(candidates: list[Candidate]) -> str:
    first = candidates[0]
    if first.holds_ours:
        return "it holds rules of ours already"
    if first.variant.kind == "legacy" and first.holds_rules:
        return "it holds rules of this namespace"
    return "preferred" if first.variant.kind == "nft" else "iptables-nft does not work here"


def _others(observed: State, planned: State) -> list[str]:
    """Return the other programs' rules in the chains of the plan; they may act before ours."""
    result = []
    for table, chains in planned.items():
        for chain in chains:
            mine = planned[table][chain]
            for rule in observed.get(table, {}).get(chain, ()):
                if not any(rule.means(planned_rule) for planned_rule in mine):
                    result.append(f"{table}  {rule.text}")
    return result
