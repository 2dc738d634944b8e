"""What was built, kept by the content of what it was built from.

    <cache root>/store/<sha256 of the inputs>/   one finished entry
        manifest.json                            from what, how long, how large, what came out
        …                                        what the builder left there
    <cache root>/building/<sha256>.<random>/     an entry in the making, or one that was cut off
    <cache root>/locks/<sha256>.lock             one builder at a time for an entry

An entry appears by one rename, so that whatever stops a builder leaves no half of it; what a
killed builder left in `building` is removed by the next one that holds the same lock.
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
"""JSON: what a builder found out while building (versions, digests, sizes)."""


@dataclass(frozen=True)
class Inputs:
    """What an entry is made from. `kind` is its readable name, `values` all that it depends on."""

    kind: str
    values: Mapping[str, str]

    @property
    def key(self) -> str:
        """sha256, hexadecimal, of kind and values in a canonical form."""
        text = json.dumps([self.kind, dict(self.values)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def short(self) -> str:
        """The first 12 digits of the key: what image tags carry."""
        return self.key[:12]


@dataclass(frozen=True)
class Entry:
    """A finished entry. `size` is in bytes, `seconds` the building time, `used` a Unix time."""

    path: Path
    kind: str
    key: str
    inputs: Mapping[str, str]
    facts: Facts
    seconds: float
    size: int
    used: float


def files_digest(root: Path, names: Iterable[Path]) -> str:
    """sha256 over the files' paths relative to `root` and their content, in sorted order."""
    total = hashlib.sha256()
    for name in sorted(names):
        content = hashlib.sha256(name.read_bytes()).hexdigest()
        total.update(f"{name.relative_to(root).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def tree_digest(root: Path, *patterns: str) -> str:
    """files_digest of every file below `root` that matches a glob pattern (all without one)."""
    found = {path for one in patterns or ("**/*",) for path in root.glob(one)}
    return files_digest(
        root, (path for path in found if path.is_file() and "__pycache__" not in path.parts)
    )


def find(inputs: Inputs) -> Entry | None:
    """The finished entry for these inputs, marked as used now; None when there is none."""
    path = _store() / inputs.key
    entry = _read(path)
    if entry is not None:
        (path / MANIFEST).touch()
    return entry


def obtain(inputs: Inputs, build: Callable[[Path], Facts], *, task: Task | None = None) -> Entry:
    """The entry for these inputs; `build(folder)` fills it when there is none yet.

    Safe beside other builders of the same entry (they wait and then find it) and against
    interruption at any moment. Raises what `build` raises.
    """
    found = find(inputs)
    if found is not None:
        if task is not None:
            task.skip("cached")
        return found
    with _locked(inputs.key, task):
        found = find(inputs)
        if found is not None:
            if task is not None:
                task.skip("built by another lab meanwhile")
            return found
        making = cache_root() / "building"
        making.mkdir(parents=True, exist_ok=True)
        for cut_off in making.glob(f"{inputs.key}.*"):
            remove_tree(cut_off)
        folder = Path(tempfile.mkdtemp(prefix=f"{inputs.key}.", dir=making))
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
    made = find(inputs)
    assert made is not None, inputs
    return made


def entries() -> list[Entry]:
    """Every finished entry, by kind and then by last use, newest first."""
    folder = _store()
    found = [_read(path) for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((one for one in found if one), key=lambda one: (one.kind, -one.used))


def prune(*, unused_for: float = 0.0, keep: Iterable[str] = ()) -> list[Entry]:
    """Remove entries that were not used for `unused_for` seconds and whose key is not in `keep`.

    An entry that somebody is building or waiting for stays. Returns what was removed.
    What interrupted builders left behind goes too, and logs as old (an hour at least).
    """
    kept = set(keep)
    removed = []
    for entry in entries():
        if entry.key in kept or time.time() - entry.used < unused_for:
            continue
        try:
            with _locked(entry.key, None, wait=False):
                # Renamed first: a reader sees a whole entry or none.
                gone = cache_root() / "building" / f"{entry.key}.gone"
                gone.parent.mkdir(parents=True, exist_ok=True)
                remove_tree(gone)
                entry.path.rename(gone)
                remove_tree(gone)
        except Timeout:
            continue
        removed.append(entry)
    making = cache_root() / "building"
    for cut_off in making.iterdir() if making.is_dir() else ():
        try:
            with _locked(cut_off.name.partition(".")[0], None, wait=False):
                remove_tree(cut_off)
        except Timeout:
            continue
    logs = cache_root() / "logs"
    for old in logs.glob("*.log") if logs.is_dir() else ():
        if time.time() - old.stat().st_mtime >= max(unused_for, 3600):
            old.unlink(missing_ok=True)
    return removed


def tree_size(root: Path) -> int:
    """Bytes of the files below `root`; a file that vanishes meanwhile counts nothing."""
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total


def remove_tree(path: Path) -> None:
    """Remove a tree, read-only folders (Go's module cache has them) included; absent is fine."""
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
            task.update("another process builds the same: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def named_lock(name: str) -> FileLock:
    """A lock between processes, kept in the cache; the system frees it when its holder dies."""
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
