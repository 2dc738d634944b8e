"""The difference of two JSON values as an RFC 6902 patch. Pure."""

from collections.abc import Mapping
from typing import Any

Operation = dict[str, Any]


def diff(before: Any, after: Any, path: str = "") -> list[Operation]:
    """Operations that make `after` of `before`; lists are compared by common start and end."""
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
    # From the back, so that earlier indices stay true.
    for index in range(len(old) - 1, both - 1, -1):
        operations.append({"op": "remove", "path": f"{path}/{start + index}"})
    for index in range(both, len(new)):
        value = new[index]
        operations.append({"op": "add", "path": f"{path}/{start + index}", "value": value})
    return operations


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: Python holds 1, 1.0 and True for equal, JSON does not."""
    if one is other:  # most of a pod is untouched, however deep it goes
        return True
    if type(one) is not type(other) and not (
        isinstance(one, Mapping) and isinstance(other, Mapping)
    ):
        return False
    if isinstance(one, Mapping):
        # By map, not by a generator: one frame for a level of nesting.
        if one.keys() != other.keys():
            return False
        return all(map(_same, one.values(), map(other.__getitem__, one)))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _at(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
