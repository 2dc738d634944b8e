"""An OCI runtime that removes capabilities that this machine lacks, then runs runc in its place.

`docker run --privileged` requests every capability. If the bounding set lacks one (some sandboxes
remove CAP_SYS_RESOURCE), runc refuses the whole container. So Docker starts this program instead
of runc. It edits the file in which runc finds the requested capabilities: the bundle's config.json
(`create`, `run`) or the process file (`exec`). It removes those that the bounding set lacks, then
replaces itself by runc. If no capability is missing, it changes no file.

The lab configures this runtime only in a Docker daemon that the lab itself starts. The file is
copied out of the package and run alone, so it may import only the standard library.
Source: the OCI runtime specification, `process.capabilities`; runc's own command line.
"""

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
"""Names of capabilities; the index of a name is its bit number (linux/capability.h)."""

VALUED = ("--log", "--log-format", "--root", "--criu", "--rootless")
"""runc's global options whose value is the next word of the command line."""


def bounding_set(status: str) -> frozenset[str]:
    """Parses the text of /proc/PID/status; returns the capabilities in its `CapBnd:` line.

    Raises ValueError when there is no such line.
    """
    for line in status.splitlines():
        field, _, value = line.partition(":")
        if field == "CapBnd":
            bits = int(value.strip(), 16)
            return frozenset(name for bit, name in enumerate(NAMES) if bits >> bit & 1)
    raise ValueError("no CapBnd line")


def permitted(
    capabilities: Mapping[str, Sequence[str]], bounding: Collection[str]
) -> dict[str, list[str]]:
    """Returns the OCI object `capabilities` without the names that `bounding` lacks.

    The order of the names stays. A name that is not in NAMES, the known capabilities, stays too:
    if runc rejects it, the user sees an error; if it were removed here, nobody would notice.
    """
    return {
        kind: [name for name in names if name in bounding or name not in NAMES]
        for kind, names in capabilities.items()
    }


def edited(document: Mapping[str, object], verb: str, bounding: Collection[str]) -> object:
    """Returns the document without the capabilities that `bounding` lacks.

    `document` is the bundle's config.json (`create`, `run`) or the process file (`exec`); `verb` is
    runc's subcommand. Returns `document` itself when nothing has to change.
    """
    process = document if verb == "exec" else document.get("process")
    if not isinstance(process, Mapping):
        return document
    requested = process.get("capabilities")
    if not isinstance(requested, Mapping):
        return document
    kept = permitted(requested, bounding)
    if kept == {kind: list(names) for kind, names in requested.items()}:
        return document
    changed = {**process, "capabilities": kept}
    return changed if verb == "exec" else {**document, "process": changed}


def file_to_edit(arguments: Sequence[str], cwd: str) -> tuple[str, Path] | None:
    """Parses a runc command line; returns its verb (subcommand) and the file that runc will read.

    Returns None when that verb reads no file with capabilities.
    """
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in VALUED and rest:
            rest.pop(0)
    if not rest:
        return None
    verb, *rest = rest
    if verb in ("create", "run"):
        bundle = _value(rest, ("--bundle", "-b"))
        return verb, Path(cwd, bundle or "", "config.json")
    if verb == "exec":
        process = _value(rest, ("--process", "-p"))
        return (verb, Path(cwd, process)) if process else None
    return None


def _value(arguments: Sequence[str], options: Sequence[str]) -> str | None:
    for at, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in options:
            if equals:
                return value
            return arguments[at + 1] if at + 1 < len(arguments) else None
    return None


def main(arguments: Sequence[str], runc: str) -> None:
    """Edit the file that the runc command line names, then replace this process by runc."""
    target = file_to_edit(arguments, str(Path.cwd()))
    if target:
        verb, path = target
        bounding = bounding_set(Path("/proc/self/status").read_text())
        document = json.loads(path.read_text())
        changed = edited(document, verb, bounding)
        if changed is not document:
            beside = path.with_name(path.name + ".lab")
            beside.write_text(json.dumps(changed))
            beside.chmod(path.stat().st_mode & 0o777)
            beside.replace(path)
    os.execv(runc, [runc, *arguments])  # noqa: S606 - to become runc is the point


if __name__ == "__main__":
    # The launcher that daemon.py writes passes the path of the real runc as the first word.
    main(sys.argv[2:], sys.argv[1])
