"""A cache of build results; the key of an entry is the hash of its inputs.

    <cache root>/store/<sha256 of the inputs>/   one finished entry
        manifest.json                            its inputs, build time, size and facts
        …                                        the files that the builder wrote
    <cache root>/building/<sha256>.<random>/     an entry being built, or an interrupted build
    <cache root>/locks/<sha256>.lock             lets only one process build an entry

An entry is built in `building` and moved to `store` by a single rename, so `store` never holds a
partial entry. When a builder was killed, its folder stays in `building`. The next process that
builds the same entry removes that folder; `prune` removes all such folders.
"""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lab.paths import cache_root, made_in_cache
from lab.progress import Task

MANIFEST = "manifest.json"
Facts = Mapping[str, object]
"""What a build found out (such as versions, digests and sizes); the values must fit into JSON."""


@dataclass(frozen=True)
class Inputs:
    """Names everything that an entry's content depends on; its hash is the entry's key.

    `kind` is a readable name for entries of the same sort, such as "rootfs-base".
    """

    kind: str
    values: Mapping[str, str]

    @property
    def key(self) -> str:
        """The sha256, in hexadecimal, of `kind` and `values` written as JSON with sorted keys."""
        text = json.dumps([self.kind, dict(self.values)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def short(self) -> str:
        """The first 12 digits of the key; they are the tag of an image built from these inputs."""
        return self.key[:12]


@dataclass(frozen=True)
class Entry:
    """Describes a finished entry. `size` is in bytes, `seconds` is how long the build took.

    `used` is the Unix time of the last use.
    """

    path: Path
    kind: str
    key: str
    inputs: Mapping[str, str]
    facts: Facts
    seconds: float
    size: int
    used: float


def files_digest(root: Path, names: Iterable[Path]) -> str:
    """Returns one sha256 of all the files: of their paths relative to `root` and their contents.

    The order of `names` does not matter.
    """
    total = hashlib.sha256()
    for name in sorted(names):
        content = hashlib.sha256(name.read_bytes()).hexdigest()
        total.update(f"{name.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def tree_digest(root: Path, *patterns: str) -> str:
    """Returns files_digest of the files below `root` that match at least one glob pattern.

    Without patterns, all files below `root` count. Files in `__pycache__` never count.
    """
    paths = {path for pattern in patterns or ("**/*",) for path in root.glob(pattern)}
    return files_digest(
        root, (path for path in paths if path.is_file() and "__pycache__" not in path.parts)
    )


def find(inputs: Inputs) -> Entry | None:
    """Returns the finished entry for these inputs, or None; sets the entry's last use to now."""
    path = _store() / inputs.key
    entry = _read(path)
    if entry is not None:
        (path / MANIFEST).touch()
    return entry


def obtain(inputs: Inputs, build: Callable[[Path], Facts], *, task: Task | None = None) -> Entry:
    """Returns the entry for these inputs, and builds it first if there is none.

    `build(folder)` must write the entry's files into `folder` and return its facts. When several
    processes need the same entry at the same time, one of them builds and the others wait. An
    interruption at any moment leaves no partial entry. Raises what `build` raises.
    """
    cached = find(inputs)
    if cached is not None:
        if task is not None:
            task.skip("cached")
        return cached
    with _locked(inputs.key, task):
        cached = find(inputs)
        if cached is not None:
            if task is not None:
                task.skip("built by another process meanwhile")
            return cached
        building = cache_root() / "building"
        building.mkdir(parents=True, exist_ok=True)
        for interrupted in building.glob(f"{inputs.key}.*"):
            remove_tree(interrupted)
        folder = Path(tempfile.mkdtemp(prefix=f"{inputs.key}.", dir=building))
        try:
            folder.chmod(0o755)
            started = time.monotonic()
            facts = build(folder)
            manifest = {
                "kind": inputs.kind,
                "inputs": dict(inputs.values),
                "facts": dict(facts),
                "seconds": round(time.monotonic() - started, 2),
                "size": tree_size(folder),
            }
            (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
            _store().mkdir(parents=True, exist_ok=True)
            folder.rename(_store() / inputs.key)
        except BaseException:
            remove_tree(folder)
            raise
    built = find(inputs)
    assert built is not None, inputs
    return built


def entries() -> list[Entry]:
    """Returns every finished entry, sorted by kind and then by last use, newest first."""
    folder = _store()
    listed = [_read(path) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((entry for entry in listed if entry), key=lambda entry: (entry.kind, -entry.used))


def prune(*, unused_for: float = 0.0, keep: Iterable[str] = ()) -> list[Entry]:
    """Remove entries that were not used for `unused_for` seconds and whose key is not in `keep`.

    Does not remove an entry while another process holds the entry's lock. Also removes the folders
    of interrupted builds, and the logs that are older than both `unused_for` and one hour. Returns
    the removed entries.
    """
    kept = set(keep)
    removed = []
    for entry in entries():
        if entry.key in kept or time.time() - entry.used < unused_for:
            continue
        try:
            with _locked(entry.key, None, wait=False):
                # Renamed first, so that a reader finds either the complete entry or no entry.
                discarded = cache_root() / "building" / f"{entry.key}.gone"
                discarded.parent.mkdir(parents=True, exist_ok=True)
                remove_tree(discarded)
                entry.path.rename(discarded)
                remove_tree(discarded)
        except Timeout:
            continue
        removed.append(entry)
    building = cache_root() / "building"
    for interrupted in building.iterdir() if building.is_dir() else ():
        try:
            with _locked(interrupted.name.partition(".")[0], None, wait=False):
                remove_tree(interrupted)
        except Timeout:
            continue
    logs = cache_root() / "logs"
    for old in logs.glob("*.log") if logs.is_dir() else ():
        if time.time() - old.stat().st_mtime >= max(unused_for, 3600):
            old.unlink(missing_ok=True)
    return removed


def tree_size(root: Path) -> int:
    """Returns the total size in bytes of the files below `root`.

    A file that another process removes meanwhile counts as 0.
    """
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total


def remove_tree(path: Path) -> None:
    """Remove the folder `path` with all that it holds; do nothing if there is no such folder.

    Also works for a tree with read-only folders, such as Go's module cache.
    """
    if not path.exists():
        return
    for folder, names, _ in os.walk(path):
        for name in names:
            inner = Path(folder, name)
            if not inner.is_symlink():
                inner.chmod(inner.stat().st_mode | stat.S_IRWXU)
    shutil.rmtree(path)


def _store() -> Path:
    return cache_root() / "store"


@contextmanager
def _locked(key: str, task: Task | None, *, wait: bool = True) -> Iterator[None]:
    lock = named_lock(key)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise
        if task is not None:
            task.update("waiting: another process is building this entry")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def named_lock(name: str) -> FileLock:
    """Returns the lock `name`, which only one process at a time can hold.

    When a process that holds the lock dies, the operating system releases the lock.
    """
    return FileLock(made_in_cache("locks") / f"{name}.lock")


def _read(path: Path) -> Entry | None:
    manifest = path / MANIFEST
    try:
        data = json.loads(manifest.read_text())
        used = manifest.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Entry(
        path=path,
        kind=data["kind"],
        key=path.name,
        inputs=data["inputs"],
        facts=data["facts"],
        seconds=data["seconds"],
        size=data["size"],
        used=used,
    )
