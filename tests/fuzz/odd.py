"""Values that break programs, and changes to any tree of JSON. Pure; all chance is `rng`'s."""

import json
from random import Random
from typing import Any, Final

TEXTS: Final = (
    "", " ", "\t", "\n", "\x00", "\x7f", "\u202e", "\ufeff", "\ud800", "é", "日本", "😀", "'", '"',
    "\\", "/", "..", "../../etc/passwd", "{{ .Values.x }}", "$(POD_NAME)", "%s%n", "null", "~",
    "true", "yes", "0", "-1", "1e3", "0x1F", "NaN", "*", "a b", "A", "-a", "a-", "a.b", "x" * 63,
    "x" * 64, "x" * 253, "x" * 254, "istio-proxy", "istio-init", "istio-envoy", "[]", "{}", "[",
    '{"a":', "&a", "*a", "!!int 3", "<<", "2001-01-01", "1_000", "08", ".inf", "line\nline",
    "\u2028", "\x85", "é" * 40_000,
)  # fmt: skip
NUMBERS: Final = (
    0, 1, -1, 80, 1337, 15001, 15006, 15020, 15090, 65535, 65536, 2**31 - 1, 2**31, 2**63 - 1,
    2**63, 2**64, 10**30, -(10**30), 0.5, 1.0, -0.0, 1e308, 1e-308,
)  # fmt: skip
KEYS: Final = (
    "name", "image", "spec", "metadata", "containers", "initContainers", "volumes", "env", "ports",
    "labels", "annotations", "livenessProbe", "httpGet", "port", "lifecycle", "preStop",
    "securityContext", "hostNetwork", "ownerReferences", "resources", "unknownField", "", "a/b~c",
)  # fmt: skip
Slot = tuple[Any, Any]
"""A mapping or list, and a key or index in it."""


def value(rng: Random, depth: int = 0) -> Any:
    """Any JSON value, mostly a small one."""
    kind = rng.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind in (1, 2):
        return rng.choice(TEXTS)
    if kind in (3, 4):
        return rng.choice(NUMBERS)
    if kind in (5, 6):
        return {rng.choice(KEYS): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [value(rng, depth + 1) for _ in range(rng.randrange(4))]


def deep(rng: Random) -> Any:
    """A value nested deeper than anything honest."""
    made: Any = "end"
    for _ in range(rng.choice((20, 150, 250, 900))):
        made = [made] if rng.random() < 0.5 else {rng.choice(KEYS): made}
    return made


def huge(rng: Random) -> Any:
    """A value larger than anything honest."""
    return rng.choice(
        ("x" * 300_000, ["y"] * 20_000, {f"k{n}": n for n in range(5_000)}, "\n" * 70_000)
    )


def slots(tree: Any) -> list[Slot]:
    """Every place in a tree that holds a value."""
    found: list[Slot] = []
    waiting = [tree]
    while waiting:
        holder = waiting.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found


def mutate(rng: Random, tree: Any) -> None:
    """One change of structure somewhere in `tree`, in place."""
    known = slots(tree)
    if not known:
        return
    holder, key = rng.choice(known)
    old = holder[key]
    what = rng.randrange(10)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = None
    elif what == 2:
        holder[key] = swapped(rng, old)
    elif what == 3 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copied(old))
    elif what == 4 and isinstance(holder, dict):
        holder[rng.choice(KEYS)] = value(rng)
    elif what == 5 and isinstance(holder, dict):
        holder[rng.choice((*KEYS, str(key).upper(), f"{key} "))] = holder.pop(key)
    elif what == 6:
        other, at = rng.choice(known)
        holder[key] = copied(other[at]) if at in other or isinstance(other, list) else None
    elif what == 7:
        holder[key] = deep(rng) if rng.random() < 0.1 else value(rng)
    elif what == 8 and rng.random() < 0.05:
        holder[key] = huge(rng)
    else:
        holder[key] = rng.choice(TEXTS) if isinstance(old, str) else rng.choice(NUMBERS)


def copied(old: Any) -> Any:
    """A copy, made by JSON's own code: what is copied may be deep. What is deeper is left out;
    shared, it could come to hold itself.
    """
    try:
        return json.loads(json.dumps(old))
    except RecursionError:
        return None


def swapped(rng: Random, old: Any) -> Any:
    """The value as another type."""
    if isinstance(old, str):
        return rng.choice((1, True, [old], {old: old}, old[::-1], 1.5))
    if isinstance(old, bool):
        return rng.choice((str(old).lower(), int(old), [old]))
    if isinstance(old, int | float):
        return rng.choice((str(old), float(old), [old], bool(old), -old))
    if isinstance(old, dict):
        return rng.choice((list(old.values()), list(old), str(old), [old]))
    if isinstance(old, list):
        return rng.choice(({str(n): one for n, one in enumerate(old)}, str(old), *old, {}))
    return rng.choice(("", 0, [], {}))
