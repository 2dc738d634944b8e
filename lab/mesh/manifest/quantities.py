"""Reads and compares quantities of Kubernetes: 100m, 128Mi, 1e3. Pure."""

from typing import Final

_UNITS: Final = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def exceeds(request: object, limit: object) -> bool:
    """Whether a request is above a limit; False if one of them is missing or not a quantity."""
    try:
        return quantity(str(request)) > quantity(str(limit))
    except ValueError:
        return False


def quantity(text: str) -> float:
    """Returns the number that a quantity means. Raises ValueError if `text` is not a quantity."""
    if text[-2:] in _BINARY:
        return float(text[:-2]) * 2.0 ** _BINARY[text[-2:]]
    if text[-1:] in _UNITS:
        return float(text[:-1] + f"e{_UNITS[text[-1]]}")
    return float(text)
