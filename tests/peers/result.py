"""What a comparison with real Istio found."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Accepted:
    """A difference that is right as it is: how it is called, why, and how often it was seen."""

    name: str
    reason: str
    count: int


@dataclass(frozen=True)
class Result:
    """One comparison: `compared` counts cases of `what`; each unexplained difference is a text."""

    what: str
    compared: int
    accepted: tuple[Accepted, ...]
    unexplained: tuple[str, ...]
