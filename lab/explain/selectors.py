"""Finds the label changes after which a label selector matches. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from lab.mesh.label_selectors import Labels, LabelSelector, Requirement

Changes = Mapping[str, str | None]
"""Changes of labels: the value to set for each key, or None to remove the label."""

FIXED: Final = frozenset({"kubernetes.io/metadata.name"})
"""Labels that the API server sets itself, so that no user can change them."""


def changed(labels: Labels, changes: Changes) -> dict[str, str]:
    """Returns `labels` with `changes` applied."""
    merged = {**labels, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def repair(selector: LabelSelector, labels: Labels) -> dict[str, str | None] | None:
    """Returns the fewest label changes after which `selector` matches, None if none are enough."""
    changes: dict[str, str | None] = {}
    for key in dict.fromkeys(each.key for each in selector.requirements):
        about = [each for each in selector.requirements if each.key == key]
        if all(each.holds(labels) for each in about):
            continue
        wanted = None if key in FIXED else _value(key, about)
        if wanted is None:
            return None
        changes[key] = wanted[0]
    return changes


def _value(key: str, about: Sequence[Requirement]) -> tuple[str | None] | None:
    """Returns a value of label `key` that meets all requirements in `about`, else None.

    The value is in a tuple, because it can be None too: (None,) means to remove the label.
    """
    offered = [value for each in about if each.operator == "In" for value in each.values]
    for candidate in (*offered, None, "true", "enabled", "on"):
        labels = {} if candidate is None else {key: candidate}
        if all(each.holds(labels) for each in about):
            return (candidate,)
    return None
