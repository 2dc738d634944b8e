"""What would make a label selector match. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from lab.mesh.label_selectors import Labels, LabelSelector, Requirement

Changes = Mapping[str, str | None]
"""Labels to set; None: to remove."""

FIXED: Final = frozenset({"kubernetes.io/metadata.name"})
"""Labels that the API server keeps: no change can set them."""


def changed(labels: Labels, changes: Changes) -> dict[str, str]:
    """`labels` after `changes`."""
    merged = {**labels, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def repair(selector: LabelSelector, labels: Labels) -> dict[str, str | None] | None:
    """The fewest label changes after which `selector` matches; None when none can do it."""
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
    """A value (None: no label), in a tuple, that meets all requirements of `key`; else None."""
    offered = [value for each in about if each.operator == "In" for value in each.values]
    for candidate in (*offered, None, "true", "enabled", "on"):
        labels = {} if candidate is None else {key: candidate}
        if all(each.holds(labels) for each in about):
            return (candidate,)
    return None
