"""Decides whether the breaks (deliberate faults) of a step made all its expectations fail. Pure."""

from collections.abc import Iterable, Mapping

from lab.records.model import ClaimRecord, Failure
from lab.scenario.claims import Claim


def claim_records(
    held: Iterable[Claim], red_by: Mapping[Claim, str], unbroken: Mapping[str, str]
) -> tuple[ClaimRecord, ...]:
    """Return a record of each claim in `held`: the claims that held without a break.

    `red_by` maps a claim to the break that made it fail. `unbroken` maps the subject of a claim to
    the reason why no break can do this.
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
    """Return a failure if a claim that no break made fail has a subject that `unbroken` lacks.

    For each subject in `unbroken` there must be exactly one claim that no break made fail;
    otherwise this function returns a failure, too. It returns None if everything is as it must be.
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
