"""Tools of the host that come in Debian packages: installed where this user may, else named."""

import os
import shutil
from collections.abc import Mapping

from lab.errors import HostError
from lab.long_command import build_log, stream
from lab.progress import Progress


def missing(tools: Mapping[str, str]) -> list[str]:
    """The packages whose tool is not on PATH; `tools`: program → Debian package."""
    return sorted({package for tool, package in tools.items() if not shutil.which(tool)})


def ensure(tools: Mapping[str, str], progress: Progress) -> list[str]:
    """Have every tool on PATH; the packages that were installed for it.

    Raises HostError where apt is not to be had or this user is not root, and BuildError, with the
    log's name, when apt fails.
    """
    wanted = missing(tools)
    if not wanted:
        return []
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not (root and shutil.which("apt-get")):
        raise HostError(
            f"these packages are missing: {', '.join(wanted)}",
            hint=f"on Debian or Ubuntu: sudo apt-get install {' '.join(wanted)}",
        )
    logfile = build_log("packages")
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "--yes"]
    with progress.task(f"installing {', '.join(wanted)}") as task:
        for words in ([*apt, "update"], [*apt, "install", "--no-install-recommends", *wanted]):
            stream(
                words,
                what=f"installing {', '.join(wanted)}",
                logfile=logfile,
                on_line=lambda line: task.update(line[:80]),
                env={"DEBIAN_FRONTEND": "noninteractive"},
                hint="apt-get must be able to reach a package mirror",
            )
    return wanted
