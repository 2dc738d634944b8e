"""A cache of build results; the key of an entry is the hash of its inputs.

    <cache root>/store/<sha256 of the inputs>/   one finished entry
        manifest.json                            its inputs, build time, size and facts
        …                                        the files that the builder wrote
    <cache root>/building/<sha256>.<random>/     an entry being built, or an interrupted build
    <cache root>/locks/<sha256>.lock             lets only one process build an entry

An entry appears by a single rename, so an interrupted builder never leaves a partial entry. The
next builder that holds the same lock removes what a killed builder left in `building`.
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
"""What a builder learned while building (versions, digests, sizes); JSON values only."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of an entry: `kind` is its readable name, `values` everything it depends on."""

    kind: str
    values: Mapping[str, str]

    @property
    def key(self) -> str:
        """The sha256 of kind and values as canonical JSON, in hexadecimal."""
        text = json.dumps([self.kind, dict(self.values)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def short(self) -> str:
        """The first 12 digits of the key; image tags carry them."""
        return self.key[:12]


@dataclass(frozen=True)
class Entry:
    """A finished entry. `size` is in bytes, `seconds` is how long the build took.

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
    """Returns the sha256 over the files' paths relative to `root` and their content, sorted."""
    total = hashlib.sha256()
    for name in sorted(names):
        content = hashlib.sha256(name.read_bytes()).hexdigest()
        total.update(f"{name.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def tree_digest(root: Path, *patterns: str) -> str:
    """Returns files_digest of the files below `root` that match a glob pattern.

    Without patterns, of all files. Files in `__pycache__` do not count.
    """
    paths = {path for pattern in patterns or ("**/*",) for path in root.glob(pattern)}
    return files_digest(
        root, (path for path in paths if path.is_file() and "__pycache__" not in path.parts)
    )


def find(inputs: Inputs) -> Entry | None:
    """Returns the finished entry for these inputs and marks it as used now; None without one."""
    path = _store() / inputs.key
    entry = _read(path)
    if entry is not None:
        (path / MANIFEST).touch()
    return entry


def obtain(inputs: Inputs, build: Callable[[Path], Facts], *, task: Task | None = None) -> Entry:
    """Returns the entry for these inputs; when there is none, `build(folder)` fills it first.

    Several processes may obtain the same entry at once: one builds, the others wait for it. An
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
                task.skip("built by another lab meanwhile")
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

    An entry whose lock another process holds stays. Also removes the remains of interrupted
    builds, and logs that are older than `unused_for` and than an hour. Returns the removed entries.
    """
    kept = set(keep)
    removed = []
    for entry in entries():
        if entry.key in kept or time.time() - entry.used < unused_for:
            continue
        try:
            with _locked(entry.key, None, wait=False):
                # Renamed first: a reader finds a complete entry or none.
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
    """Returns the bytes of the files below `root`; a file that vanishes meanwhile counts as 0."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total


def remove_tree(path: Path) -> None:
    """Remove a tree, also with read-only folders (as in Go's module cache); it may be absent."""
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
    """Returns a lock between processes; the operating system frees it when its holder dies."""
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
