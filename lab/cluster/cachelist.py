"""`lab cache`: what was built, and what of it may go."""

import json
import time

from lab.cluster import cache, engine, images
from lab.cluster import docker as docker_engine


def as_json() -> str:
    """Entries and images as JSON; sizes in bytes, ages in seconds."""
    now = time.time()
    entries = [
        {"kind": one.kind, "key": one.key, "size": one.size, "unused_for": round(now - one.used)}
        for one in cache.entries()
    ]
    made = [{"tag": one.tag, "size": one.size, "inputs": one.inputs} for one in _images()]
    return json.dumps({"entries": entries, "images": made}, indent=1)


def text() -> str:
    """The same as a table."""
    now = time.time()
    entries = cache.entries()
    rows = [
        f"{one.kind:<28}{one.key[:12]}  {_size(one.size):>10}  used {_age(now - one.used)} ago"
        for one in entries
    ]
    rows += [f"{one.tag:<40}  {_size(one.size):>10}  image" for one in _images()]
    rows.append(f"{len(entries)} entries, {_size(sum(one.size for one in entries))}")
    return "\n".join(rows)


def prune(unused_for: float) -> str:
    """Remove entries unused for so many seconds, and images that no container uses."""
    gone = cache.prune(unused_for=unused_for)
    freed = _size(sum(one.size for one in gone))
    said = f"removed {len(gone)} entries, {freed}"
    if docker_engine.why_unreachable():
        return said + "; Docker does not answer, its images stay"
    keep = _in_use() if unused_for == 0 else _in_use() | _current()
    return f"{said}; {len(images.prune_images(keep))} images"


def _images() -> list[engine.DockerImage]:
    return [] if docker_engine.why_unreachable() else engine.ours()


def _in_use() -> frozenset[str]:
    used = {one.image for one in docker_engine.containers()}
    return frozenset(used)


def _current() -> frozenset[str]:
    """What the next `up` would build again: what it looks for, and the newest of every other."""
    newest: dict[str, str] = {}
    for one in engine.ours():
        newest.setdefault(one.tag.partition(":")[0], one.tag)
    return frozenset(newest.values()) | images.planned()


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _age(seconds: float) -> str:
    for limit, unit, name in ((3600, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} days"
