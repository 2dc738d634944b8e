"""Label selectors as the API server evaluates them, and what would make one match. Pure.

Unlike the injector's own selectors (injector/decision.py), an empty one matches everything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Labels = Mapping[str, str]
Changes = Mapping[str, str | None]
"""Labels to set; None: to remove."""

FIXED: Final = frozenset({"kubernetes.io/metadata.name"})
"""Labels that the API server keeps: no change can set them."""
_SHOWN: Final = 3
"""Values of a requirement that are shown."""


@dataclass(frozen=True)
class Requirement:
    """One key, an operator (In, NotIn, Exists, DoesNotExist) and its values."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        """Whether `labels` meet it; a key that is absent meets NotIn."""
        if self.operator == "In":
            return labels.get(self.key) in self.values
        if self.operator == "NotIn":
            return labels.get(self.key) not in self.values
        if self.operator == "Exists":
            return self.key in labels
        return self.operator == "DoesNotExist" and self.key not in labels

    def __str__(self) -> str:
        """As people say it: `istio-injection In [enabled]`."""
        if self.operator not in ("In", "NotIn"):
            return f"{self.key} {self.operator}"
        shown = self.values if len(self.values) <= _SHOWN else (*self.values[: _SHOWN - 1], "...")
        return f"{self.key} {self.operator} [{', '.join(shown)}]"


@dataclass(frozen=True)
class LabelSelector:
    """Requirements that must all hold."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Whether `labels` are selected."""
        return not self.unmet(labels)

    def unmet(self, labels: Labels) -> tuple[Requirement, ...]:
        """The requirements that `labels` do not meet, in the selector's order."""
        return tuple(one for one in self.requirements if not one.holds(labels))

    @property
    def keys(self) -> frozenset[str]:
        """The labels it looks at."""
        return frozenset(one.key for one in self.requirements)

    def known(self, key: str) -> tuple[str, ...]:
        """The values of `key` that it asks for, in order."""
        return tuple(
            value
            for one in self.requirements
            if one.key == key and one.operator == "In"
            for value in one.values
        )

    def __str__(self) -> str:
        return ", ".join(map(str, self.requirements)) or "everything"


def parse(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A selector of the API (matchLabels, matchExpressions); None and {} match everything."""
    given = selector or {}
    labels: Labels = given.get("matchLabels") or {}
    found = [Requirement(key, "In", (value,)) for key, value in labels.items()]
    found += (
        Requirement(one["key"], one["operator"], tuple(one.get("values") or ()))
        for one in given.get("matchExpressions") or ()
    )
    return LabelSelector(tuple(found))


def changed(labels: Labels, changes: Changes) -> dict[str, str]:
    """`labels` after `changes`."""
    merged = {**labels, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def repair(selector: LabelSelector, labels: Labels) -> dict[str, str | None] | None:
    """The fewest label changes after which `selector` matches; None when none can do it."""
    changes: dict[str, str | None] = {}
    for key in dict.fromkeys(one.key for one in selector.requirements):
        about = [one for one in selector.requirements if one.key == key]
        if all(one.holds(labels) for one in about):
            continue
        wanted = None if key in FIXED else _value(key, about)
        if wanted is None:
            return None
        changes[key] = wanted[0]
    return changes


def _value(key: str, about: Sequence[Requirement]) -> tuple[str | None] | None:
    """A value (None: absent) in a tuple that meets all requirements on one key, else None."""
    offered = [value for one in about if one.operator == "In" for value in one.values]
    for candidate in (*offered, None, "true", "enabled", "on"):
        labels = {} if candidate is None else {key: candidate}
        if all(one.holds(labels) for one in about):
            return (candidate,)
    return None
