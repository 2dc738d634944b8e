"""The observer: a container beside the node that looks into pods from outside."""

from collections.abc import Mapping
from typing import Any


class Observer:
    """One kept-open channel to the program in the observer container."""

    def __init__(self, lab: str, node: str, image: str) -> None:
        raise NotImplementedError

    def ask(self, question: str, *, timeout: float = 10.0, **details: Any) -> Any:
        """Ask the program inside; raises ObservationError with what it said."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the channel; the container stays."""


def stop(lab: str) -> Mapping[str, str]:
    """Remove the lab's observer."""
    raise NotImplementedError
