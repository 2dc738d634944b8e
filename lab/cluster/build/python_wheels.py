"""Installs the Python wheels of a lock file with hashes into a folder of their own.

Nothing is compiled, and no version is chosen here: the lock file names the version and hash of each
wheel, and `--only-binary` and `--no-deps` make the installer accept nothing else. The installer is
uv if this machine has uv, else pip.
"""

import platform
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import package_clients
from lab.cluster.build import cache
from lab.cluster.versions import PYTHON
from lab.long_command import build_log, stream
from lab.progress import Task

NEWEST_GLIBC = 36
"""The minor version of Debian bookworm's glibc, 2.36.

So wheels for manylinux_2_36 and for older versions of glibc run in our images.
"""
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True)
class Platform:
    """Identifies the platform for which wheels are installed.

    `uv` is uv's name of the platform, `tags` are pip's names of it; both are empty for this host.
    """

    name: str
    uv: str = ""
    tags: tuple[str, ...] = ()


def image_platform(architecture: str) -> Platform:
    """Returns the platform of our images: Debian bookworm on `architecture` (amd64, arm64)."""
    machine = _MACHINES.get(architecture, architecture)
    newer = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 4, -1)]
    older = [f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
    return Platform(
        f"linux-{machine}-glibc-2.{NEWEST_GLIBC}",
        f"{machine}-manylinux_2_{NEWEST_GLIBC}",
        (*newer, *older),
    )


def host_platform() -> Platform:
    """Returns the platform of this machine."""
    name, machine = sysconfig.get_platform(), platform.machine()
    # python.org's macOS Python reports "universal2" on both kinds of processor.
    return Platform(name if machine in name else f"{name}-{machine}")


def inputs(lock: Path, target: Platform) -> cache.Inputs:
    """Returns the cache inputs of the installed wheels of the lock file `lock` for `target`."""
    return cache.Inputs(
        f"wheels-{lock.stem}",
        {
            "lock": cache.files_digest(lock.parent, [lock]),
            "platform": target.name,
            "python": PYTHON,
        },
    )


def install(lock: Path, target: Platform, task: Task) -> cache.Entry:
    """Returns the cache entry with the wheels of `lock`; installs the wheels if there is none.

    The wheels are in the entry's folder `site`, their scripts in `site/bin`. Raises BuildError, for
    instance when a wheel's hash is not in the lock file.
    """
    return cache.obtain(
        inputs(lock, target), lambda folder: _install(lock, target, folder, task), task=task
    )


def _install(lock: Path, target: Platform, folder: Path, task: Task) -> cache.Facts:
    logfile = build_log(f"wheels-{lock.stem}")
    uv = find_uv()
    argv = installer(lock, target, folder / "site", uv)
    with package_clients.clients(sys.executable, folder) as (for_pip, for_uv):
        stream(
            argv,
            what=f"installing the wheels of {lock.name}",
            logfile=logfile,
            on_line=lambda line: task.update(line[:100]),
            base=for_uv if uv is not None else for_pip,
            hint="the package index that pip or uv is set up for must be reachable",
        )
    names = sorted(path.name for path in (folder / "site").glob("*.dist-info"))
    return {"wheels": [name.removesuffix(".dist-info") for name in names], "by": Path(argv[0]).name}


def find_uv() -> str | None:
    """Returns the path of the uv beside this Python, else of that on PATH, else None."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    return beside or shutil.which("uv")


def installer(lock: Path, target: Platform, site: Path, uv: str | None) -> Sequence[str]:
    """Returns the command that installs the wheels of `lock` for `target` into the folder `site`.

    `uv` is the path of uv; if it is None, the command uses pip.
    """
    common = ["--require-hashes", "--no-deps", "-r", str(lock), "--target", str(site)]
    if uv is not None:
        words = [uv, "pip", "install", "--only-binary", ":all:", "--link-mode", "copy", *common]
        if target.uv:
            return [*words, "--python-platform", target.uv, "--python-version", PYTHON]
        return [*words, "--python", sys.executable]
    words = [sys.executable, "-m", "pip", "install", "--only-binary", ":all:", "--no-compile"]
    words += ["--disable-pip-version-check", *common]
    if target.tags:
        words += ["--python-version", PYTHON, "--implementation", "cp"]
        for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none"):
            words += ["--abi", abi]
        for tag in (*target.tags, "any"):
            words += ["--platform", tag]
    return words
