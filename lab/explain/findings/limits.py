"""Finds a ResourceQuota or LimitRange that rejects the sidecar's resources. Pure.

The API server rejects such a pod with a message that names no container. A dry run of the same pod
without a sidecar (the control) shows whether the sidecar is the cause. The annotations that repair
the pod are computed from the numbers in the message and the sidecar's requests and limits.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lab.explain.changes.pod import Advice, Change, EditPod
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Situation, Trial, proxy_of
from lab.explain.thought import think
from lab.mesh.injector.settings import annotations
from lab.mesh.manifest import quantities

Group = Literal["requests", "limits"]
Key = tuple[Group, str]
"""A pair: "requests" or "limits", and "cpu" or "memory"."""
NAMES: Final[Mapping[Key, str]] = {
    ("requests", "cpu"): annotations.PROXY_CPU,
    ("requests", "memory"): annotations.PROXY_MEMORY,
    ("limits", "cpu"): annotations.PROXY_CPU_LIMIT,
    ("limits", "memory"): annotations.PROXY_MEMORY_LIMIT,
}
_LEAST: Final = {"cpu": 0.01, "memory": 40 * 2**20}
"""The least amounts with which a sidecar starts, in CPUs and in bytes of memory."""
_QUANTITY: Final = r"(?P<{}>\d[\d.]*[A-Za-z]{{0,2}})"
_QUOTA: Final = re.compile(
    r"exceeded quota: (?P<name>[\w.-]+), requested: (?P<asked>\S+), used: (?P<used>\S+), "
    r"limited: (?P<limited>\S+)"
)
_MISSING: Final = re.compile(r"failed quota: (?P<name>[\w.-]+): must specify (?P<what>.+)")
_BOUND: Final = re.compile(
    r"(?P<end>maximum|minimum) (?P<what>cpu|memory) usage per (?P<scope>Container|Pod) is "
    + _QUANTITY.format("bound") + r", but (?P<group>request|limit) is " + _QUANTITY.format("has")
)  # fmt: skip
_RATIO: Final = re.compile(
    r"(?P<what>cpu|memory) max limit to request ratio per (?:Container|Pod) is "
    + _QUANTITY.format("bound") + r", but provided ratio is (?P<has>[\d.]+)"
)  # fmt: skip


@dataclass(frozen=True)
class Breach:
    """One rule of a quota or LimitRange that the sidecar's value of `key` breaks.

    `need`: the bound that the value must keep, in CPUs or bytes. `most`: True if the value must be
    at most `need`, False if it must be at least `need`.
    """

    key: Key
    need: float
    most: bool = True


def broken(situation: Situation, trial: Trial) -> Finding | None:
    """Returns the finding about a quota or LimitRange that rejects the pod, else None.

    Returns None too if the API server rejects the same pod without a sidecar.
    """
    words = trial.message
    quota = _QUOTA.search(words) or _MISSING.search(words)
    if quota is None and not (_BOUND.search(words) or _RATIO.search(words)):
        return None
    control = situation.control
    if control is not None and control.outcome == "rejected":
        return None
    cause = Cause.QUOTA if quota else Cause.LIMIT_RANGE
    what = f"ResourceQuota {quota['name']}" if quota else "a LimitRange of the namespace"
    sentence = f"{what} rejects the pod with its sidecar: {words}"
    return Finding(cause, "created", sentence, _change(situation, words, what), refused=True)


def _change(situation: Situation, words: str, what: str) -> Change:
    has = resources(situation)
    wanted = _mended(has, words)
    if wanted is None:
        return Advice(f"raise {what}: what it allows is not enough for a sidecar")
    edit = {
        # A value that was raised must reach its bound, one that was lowered must not exceed it.
        NAMES[key]: shown(key[1], value, up=value > has.get(key, value))
        for key, value in wanted.items()
    }
    settings = ", ".join(f"{name}={value}" for name, value in edit.items())
    text = f"change the sidecar's resources with annotations: {settings}"
    return EditPod({"metadata": {"annotations": edit}}, text)


def resources(situation: Situation) -> dict[Key, float]:
    """Returns the requests and limits of the injected sidecar, in CPUs and bytes."""
    proxy = proxy_of(think(situation).pod)
    declared = (proxy[0].get("resources") or {}) if proxy else {}
    amounts: dict[Key, float] = {}
    for key in NAMES:
        value = (declared.get(key[0]) or {}).get(key[1])
        try:
            amounts[key] = quantities.quantity(str(value))
        except (ValueError, IndexError):
            continue
    return amounts


def _mended(has: Mapping[Key, float], words: str) -> dict[Key, float] | None:
    """Returns the sidecar's values with the changes that the message `words` requires.

    Returns None if the sidecar cannot start with such values, or if nothing changes.
    """
    wanted = dict(has)
    for key in _unspecified(words):
        wanted.setdefault(key, _LEAST[key[1]] * 4)
    for breach in _breaches(has, words):
        value = wanted.get(breach.key, breach.need)
        wanted[breach.key] = min(value, breach.need) if breach.most else max(value, breach.need)
    for what, least in _LEAST.items():
        request, limit = wanted.get(("requests", what)), wanted.get(("limits", what))
        if limit is not None and limit < least:
            return None
        if request is not None and limit is not None and request > limit:
            # Keep the value that was changed above, and adapt the other one.
            if limit != has.get(("limits", what)):
                wanted[("requests", what)] = limit
            else:
                wanted[("limits", what)] = request
    return wanted if wanted != has else None


def _breaches(has: Mapping[Key, float], words: str) -> Iterator[Breach]:
    if match := _QUOTA.search(words):
        asked, used, limited = (_pairs(match[name]) for name in ("asked", "used", "limited"))
        for name in asked.keys() & used.keys() & limited.keys():
            key = _key(name)
            if key in has:
                over = asked[name] + used[name] - limited[name]
                if over > 0:
                    yield Breach(key, has[key] - over)
    for match in _BOUND.finditer(words):
        bound, actual = quantities.quantity(match["bound"]), quantities.quantity(match["has"])
        key = _key(f"{match['group']}s.{match['what']}")
        most = match["end"] == "maximum"
        if match["scope"] == "Pod":
            bound = has.get(key, 0.0) + bound - actual
        yield Breach(key, bound, most)
    for match in _RATIO.finditer(words):
        limit = has.get(("limits", match["what"]))
        if limit is not None:
            yield Breach(("requests", match["what"]), limit / float(match["bound"]), most=False)


def _unspecified(words: str) -> Iterator[Key]:
    if match := _MISSING.search(words):
        for name in re.findall(r"(?:limits|requests)\.(?:cpu|memory)", match["what"]):
            yield _key(name)


def _key(name: str) -> Key:
    group, _, what = name.rpartition(".")
    return ("limits" if group == "limits" else "requests"), what


def _pairs(text: str) -> dict[str, float]:
    amounts = {}
    for pair in text.split(","):
        name, _, value = pair.partition("=")
        try:
            amounts[name] = quantities.quantity(value)
        except (ValueError, IndexError):
            continue
    return amounts


def shown(what: str, value: float, *, up: bool = False) -> str:
    """Returns a quantity as Kubernetes writes it, rounded to whole milli-CPUs or whole Mi.

    `up`: True rounds the value up, False rounds it down.
    """
    units = value * 1000 if what == "cpu" else value / 2**20
    size = math.ceil(units - 1e-6) if up else math.floor(units + 1e-6)
    if what == "cpu":
        return str(size // 1000) if size % 1000 == 0 else f"{size}m"
    return f"{size // 1024}Gi" if size % 1024 == 0 else f"{size}Mi"
