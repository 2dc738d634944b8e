"""Decides whether the breaks of a step turned all its expectations red. Pure."""

from collections.abc import Iterable, Mapping

from lab.records.model import ClaimRecord, Failure
from lab.scenario.claims import Claim


def claim_records(
    held: Iterable[Claim], red_by: Mapping[Claim, str], unbroken: Mapping[str, str]
) -> tuple[ClaimRecord, ...]:
    """Return a record of each claim that held in the green world.

    It names the break that turned the claim red, or the reason that `unbroken` gives for the claim.
    """
    return tuple(
        ClaimRecord(
            f"{claim.what or 'the condition'} ({claim.method})",
            " → ".join(claim.place),
            red_by.get(claim, ""),
            unbroken.get(claim.what, ""),
        )
        for claim in dict.fromkeys(held)
    )


def shortfall(
    step: str, held: Iterable[Claim], red_by: Mapping[Claim, str], unbroken: Mapping[str, str]
) -> Failure | None:
    """Return a failure if a claim never turned red and is not in `unbroken`.

    Each name in `unbroken` must be that of exactly one claim that never turned red; otherwise this
    is a failure, too.
    """
    about = f"the breaks of step {step}"
    unseen = [claim for claim in dict.fromkeys(held) if claim not in red_by]
    missing = [str(claim) for claim in unseen if claim.what not in unbroken]
    if missing:
        return Failure(
            "break",
            about,
            expected="each expectation of its check is seen red",
            seen="never red:\n" + "\n".join(missing),
        )
    wrong = []
    for what in unbroken:
        covered = sum(claim.what == what for claim in unseen)
        if covered != 1:
            wrong.append(f"{what}: {covered or 'none'} of that name was never red")
    if wrong:
        wanted = "each listed name is that of exactly one expectation that is never red"
        return Failure("break", about, expected=wanted, seen="\n".join(wrong))
    return None
