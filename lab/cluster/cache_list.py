"""`lab cache`: lists what was built, and removes what has not been used for a while."""

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
"""Go's caches of modules and of compiled objects: subfolders of `go` in the cache folder."""
USED = "used"
"""A file beside Go's caches. Its modification time is the time of the last compilation."""


def go_caches() -> dict[str, int]:
    """Returns the sizes of Go's existing caches in bytes, by name of the cache."""
    folder = cache_root() / "go"
    folders = {f"go {name}": folder / name for name in GO}
    return {name: cache.tree_size(path) for name, path in folders.items() if path.is_dir()}


def go_used() -> float:
    """Returns when a program was last compiled, as a Unix time; 0.0 when there are no caches."""
    folder = cache_root() / "go"
    # Caches that were filled before the file USED existed: their own times count.
    candidates = [folder / name for name in (USED, "mod", "build", "build/trim.txt")]
    return max((path.stat().st_mtime for path in candidates if path.exists()), default=0.0)


def as_json() -> str:
    """Returns cache entries and the lab's images as JSON; sizes in bytes, ages in seconds."""
    now = time.time()
    entries = [
        {
            "kind": entry.kind,
            "key": entry.key,
            "size": entry.size,
            "unused_for": round(now - entry.used),
        }
        for entry in cache.entries()
    ]
    entries += [
        {"kind": name, "key": "", "size": size, "unused_for": round(now - go_used())}
        for name, size in go_caches().items()
    ]
    images = [{"tag": image.tag, "size": image.size, "inputs": image.inputs} for image in _images()]
    return json.dumps({"entries": entries, "images": images}, indent=1)


def text() -> str:
    """Returns cache entries and the lab's images as a table whose last line has the totals."""
    now = time.time()
    entries = cache.entries()
    rows = [
        f"{entry.kind:<28}{entry.key[:12]}  {_size(entry.size):>10}"
        f"  used {_age(now - entry.used)} ago"
        for entry in entries
    ]
    go = go_caches()
    when = f"used {_age(now - go_used())} ago" if go_used() else "not used lately"
    rows += [f"{name:<40}  {_size(size):>10}  {when}" for name, size in go.items()]
    rows += [f"{image.tag:<40}  {_size(image.size):>10}  image" for image in _images()]
    total = _size(sum(entry.size for entry in entries))
    rows.append(f"{len(entries)} entries, {total}; Go's caches, {_size(sum(go.values()))}")
    return "\n".join(rows)


def prune(unused_for: float, notify: Callable[[str], None]) -> str:
    """Remove unused cache entries, Go's caches if they are unused too, and unused images.

    Entries and Go's caches count as unused after `unused_for` seconds. An image counts as unused if
    no container uses it and the next `up` would not need it. If `unused_for` is 0, images that the
    next `up` would need are removed, too. Returns a text that tells what was removed. First waits
    until running builds have ended, because it is not known what a running build will use; calls
    `notify` with a line of text if it has to wait.
    """
    with ExitStack() as held:
        for name in ("images", go_programs.COMPILING):
            held.enter_context(_idle(name, notify))
        removed = cache.prune(unused_for=unused_for)
        go = prune_go(unused_for)
        freed = _size(sum(entry.size for entry in removed))
        report = f"removed {len(removed)} entries, {freed}; Go's caches, {_size(go)}"
        if docker_engine.why_unreachable():
            return report + "; Docker does not answer, its images stay"
        keep = _in_use() if unused_for == 0 else _in_use() | _current()
        return f"{report}; {len(ensure.prune_images(keep))} images"


def prune_go(unused_for: float) -> int:
    """Remove Go's caches if nothing was compiled for `unused_for` seconds; return the bytes freed.

    The caller must hold the lock `go_programs.COMPILING`.
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
def _idle(name: str, notify: Callable[[str], None]) -> Iterator[None]:
    lock = cache.named_lock(name)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        notify("a build runs: waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _images() -> list[docker_images.DockerImage]:
    return [] if docker_engine.why_unreachable() else docker_images.ours()


def _in_use() -> frozenset[str]:
    return frozenset(container.image for container in docker_engine.containers())


def _current() -> frozenset[str]:
    """Returns the tags of the images that must stay, so that the next `up` need not build them.

    These are the images that `up` looks for and, for every other image name, the newest image.
    """
    newest: dict[str, str] = {}
    for image in docker_images.ours():
        newest.setdefault(image.tag.partition(":")[0], image.tag)
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
