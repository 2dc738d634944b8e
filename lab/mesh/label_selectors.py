"""Parses label selectors and evaluates them as the API server does. Does no I/O.

A selector is a list of requirements that must all hold; a selector without requirements matches
everything. The injector's configuration is an exception: there, a selector without requirements
matches nothing (lab/mesh/injector/decision.py).
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

Labels = Mapping[str, str]
_SHOWN: Final = 3
"""How many values of a requirement a text shows at most."""


class Requirement(NamedTuple):
    """One requirement of a selector: key, operator (In, NotIn, Exists, DoesNotExist), values."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        """Return whether `labels` meet this requirement; labels without the key meet NotIn."""
        if self.operator == "In":
            return labels.get(self.key) in self.values
        if self.operator == "NotIn":
            return labels.get(self.key) not in self.values
        if self.operator == "Exists":
            return self.key in labels
        return self.operator == "DoesNotExist" and self.key not in labels

    def __str__(self) -> str:
        """Return the requirement as text, such as `istio-injection In [enabled]`."""
        if self.operator not in ("In", "NotIn"):
            return f"{self.key} {self.operator}"
        shown = self.values if len(self.values) <= _SHOWN else (*self.values[: _SHOWN - 1], "...")
        return f"{self.key} {self.operator} [{', '.join(shown)}]"


class LabelSelector(NamedTuple):
    """A label selector: requirements that must all hold."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Labels) -> bool:
        """Return whether the selector matches `labels`."""
        return all(requirement.holds(labels) for requirement in self.requirements)

    def unmet(self, labels: Labels) -> tuple[Requirement, ...]:
        """Return the requirements that `labels` do not meet, in the selector's order."""
        return tuple(each for each in self.requirements if not each.holds(labels))

    @property
    def keys(self) -> frozenset[str]:
        """The label keys that the requirements name."""
        return frozenset(requirement.key for requirement in self.requirements)

    def known(self, key: str) -> tuple[str, ...]:
        """Return the values that In requirements name for the label `key`, in their order."""
        return tuple(
            value
            for requirement in self.requirements
            if requirement.key == key and requirement.operator == "In"
            for value in requirement.values
        )

    def __str__(self) -> str:
        return ", ".join(map(str, self.requirements)) or "everything"


def parse(selector: Mapping[str, Any] | None) -> LabelSelector:
    """Parse a selector of the API (matchLabels, matchExpressions) whose types were checked.

    None and {} give a selector that matches everything.
    """
    fields = selector or {}
    labels: Labels = fields.get("matchLabels") or {}
    requirements = [Requirement(key, "In", (value,)) for key, value in labels.items()]
    requirements += (
        Requirement(each["key"], each["operator"], tuple(each.get("values") or ()))
        for each in fields.get("matchExpressions") or ()
    )
    return LabelSelector(tuple(requirements))
