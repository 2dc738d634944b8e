"""Which expectations of a step its breaks turned red, and whether that is enough. Pure."""

from collections.abc import Iterable, Mapping

from lab.records.model import ClaimRecord, Failure
from lab.scenario.claims import Claim


def told(
    made: Iterable[Claim], red_by: Mapping[Claim, str], unbroken: Mapping[str, str]
) -> tuple[ClaimRecord, ...]:
    """A record of each claim of a check that held: the break that turned it red, or the reason."""
    return tuple(
        ClaimRecord(
            f"{one.what or 'the condition'} ({one.method})",
            " → ".join(one.place),
            red_by.get(one, ""),
            unbroken.get(one.what, ""),
        )
        for one in dict.fromkeys(made)
    )


def shortfall(
    step: str, made: Iterable[Claim], red_by: Mapping[Claim, str], unbroken: Mapping[str, str]
) -> Failure | None:
    """What is amiss: a claim never seen red and not listed, or a list that is not true."""
    about = f"the breaks of step {step}"
    unseen = [one for one in dict.fromkeys(made) if one not in red_by]
    missing = [str(one) for one in unseen if one.what not in unbroken]
    if missing:
        return Failure(
            "break",
            about,
            expected="each expectation of its check is seen red",
            seen="never red:\n" + "\n".join(missing),
        )
    wrong = []
    for what in unbroken:
        covered = sum(one.what == what for one in unseen)
        if covered != 1:
            wrong.append(f"{what}: {covered or 'none'} of that name was not seen red")
    if wrong:
        wanted = "what is listed is the one expectation of that name that is not seen red"
        return Failure("break", about, expected=wanted, seen="\n".join(wrong))
    return None
