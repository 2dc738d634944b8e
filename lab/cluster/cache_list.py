"""`lab cache`: what was built, and what of it may go."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from filelock import Timeout

from lab.cluster.build import cache, docker_images, go_programs
from lab.cluster.docker import client as docker_engine
from lab.cluster.images import ensure
from lab.paths import cache_root

GO = ("mod", "build")
"""Go's caches of modules and of compiled objects, in the cache's folder `go`."""
USED = "used"
"""Beside them: a file whose time is that of the last compile."""


def go_caches() -> dict[str, int]:
    """Name → bytes of Go's caches, those that are there."""
    folder = cache_root() / "go"
    found = {f"go {name}": folder / name for name in GO}
    return {name: cache.tree_size(path) for name, path in found.items() if path.is_dir()}


def go_used() -> float:
    """When a program was compiled last, a Unix time; 0.0 when there are no caches."""
    folder = cache_root() / "go"
    # The others: caches that were filled before the file was kept.
    found = [folder / name for name in (USED, "mod", "build", "build/trim.txt")]
    return max((one.stat().st_mtime for one in found if one.exists()), default=0.0)


def as_json() -> str:
    """Entries and images as JSON; sizes in bytes, ages in seconds."""
    now = time.time()
    entries = [
        {"kind": one.kind, "key": one.key, "size": one.size, "unused_for": round(now - one.used)}
        for one in cache.entries()
    ]
    entries += [
        {"kind": name, "key": "", "size": size, "unused_for": round(now - go_used())}
        for name, size in go_caches().items()
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
    go = go_caches()
    when = f"used {_age(now - go_used())} ago" if go_used() else "not used lately"
    rows += [f"{name:<40}  {_size(size):>10}  {when}" for name, size in go.items()]
    rows += [f"{one.tag:<40}  {_size(one.size):>10}  image" for one in _images()]
    whole = _size(sum(one.size for one in entries))
    rows.append(f"{len(entries)} entries, {whole}; Go's caches, {_size(sum(go.values()))}")
    return "\n".join(rows)


def prune(unused_for: float, say: Callable[[str], None]) -> str:
    """Remove entries unused for so many seconds, Go's caches if as old, and images that no
    container uses.

    Waits, after `say` said so, for builds that run: what they are about to use is in no list.
    """
    with ExitStack() as held:
        for name in ("images", go_programs.COMPILING):
            held.enter_context(_idle(name, say))
        gone = cache.prune(unused_for=unused_for)
        go = prune_go(unused_for)
        freed = _size(sum(one.size for one in gone))
        said = f"removed {len(gone)} entries, {freed}; Go's caches, {_size(go)}"
        if docker_engine.why_unreachable():
            return said + "; Docker does not answer, its images stay"
        keep = _in_use() if unused_for == 0 else _in_use() | _current()
        return f"{said}; {len(ensure.prune_images(keep))} images"


def prune_go(unused_for: float) -> int:
    """Remove Go's caches when nothing was compiled for so long; returns the bytes freed.

    The caller holds the lock of who compiles.
    """
    if time.time() - go_used() < unused_for:
        return 0
    freed = sum(go_caches().values())
    for name in (*GO, USED):
        path = cache_root() / "go" / name
        if path.is_file():
            path.unlink()
        else:
            cache.remove_tree(path)
    return freed


@contextmanager
def _idle(name: str, say: Callable[[str], None]) -> Iterator[None]:
    lock = cache.named_lock(name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("a build runs: waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _images() -> list[docker_images.DockerImage]:
    return [] if docker_engine.why_unreachable() else docker_images.ours()


def _in_use() -> frozenset[str]:
    used = {one.image for one in docker_engine.containers()}
    return frozenset(used)


def _current() -> frozenset[str]:
    """What the next `up` would build again: what it looks for, and the newest of every other."""
    newest: dict[str, str] = {}
    for one in docker_images.ours():
        newest.setdefault(one.tag.partition(":")[0], one.tag)
    return frozenset(newest.values()) | ensure.planned()


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
