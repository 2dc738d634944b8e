"""Computes the JSON patch (RFC 6902) that turns one JSON value into another. Does no I/O."""

from collections.abc import Mapping
from typing import Any

Operation = dict[str, Any]


def diff(before: Any, after: Any, path: str = "") -> list[Operation]:
    """Return the operations that turn `before` into `after`.

    In a list, equal elements at the start and at the end are kept; those between are patched.
    `path`: the JSON pointer to the two values in their documents.
    """
    if _same(before, after):
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        gone = [{"op": "remove", "path": _at(path, key)} for key in before if key not in after]
        changed = [
            operation
            for key, value in after.items()
            for operation in (
                diff(before[key], value, _at(path, key))
                if key in before
                else [{"op": "add", "path": _at(path, key), "value": value}]
            )
        ]
        return gone + changed
    if isinstance(before, list) and isinstance(after, list):
        return _diff_lists(before, after, path)
    return [{"op": "replace", "path": path, "value": after}]


def _diff_lists(before: list[Any], after: list[Any], path: str) -> list[Operation]:
    shared = min(len(before), len(after))
    start = 0
    while start < shared and _same(before[start], after[start]):
        start += 1
    end = 0
    while end < shared - start and _same(before[-1 - end], after[-1 - end]):
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    both = min(len(old), len(new))
    operations: list[Operation] = []
    for index in range(both):
        operations += diff(old[index], new[index], f"{path}/{start + index}")
    # From the back, so that the indices of the others do not change.
    for index in range(len(old) - 1, both - 1, -1):
        operations.append({"op": "remove", "path": f"{path}/{start + index}"})
    for index in range(both, len(new)):
        value = new[index]
        operations.append({"op": "add", "path": f"{path}/{start + index}", "value": value})
    return operations


def _same(left: Any, right: Any) -> bool:
    """Return whether two values are equal as JSON: unlike in Python, 1, 1.0 and True differ."""
    if left is right:  # most of a pod is not changed, and this saves going into it
        return True
    if type(left) is not type(right) and not (
        isinstance(left, Mapping) and isinstance(right, Mapping)
    ):
        return False
    if isinstance(left, Mapping):
        # `map` instead of a generator: the recursion then takes one frame per level of nesting.
        if left.keys() != right.keys():
            return False
        return all(map(_same, left.values(), map(right.__getitem__, left)))
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right)


def _at(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
