"""Servers that answer byte by byte what a case says, each on a socket and in threads of its own."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Serve = Callable[["Talk"], None]
PATIENCE: Final = 30.0
"""Seconds that a server waits for its client, so that none outlives its test for long."""


@dataclass(frozen=True)
class Case:
    """One server and how it is asked.

    `action`: {"httpGet": …}, {"tcpSocket": …} or {"grpc": …}, the port left out. `serve` is
    called once for each connection; None: nobody listens. `timeout` in s: short ones are for
    servers that never do what is waited for.
    """

    name: str
    action: dict[str, Any]
    serve: Serve | None
    hook: bool = False
    timeout: float = 20.0
    host: str = "127.0.0.1"
    tls: Callable[[], ssl.SSLContext] | None = None

    def task(self, port: int) -> dict[str, Any]:
        """The manifest's probe or hook, with the port."""
        return {kind: {**action, "port": port} for kind, action in self.action.items()}


class Talk:
    """One connection of a server. `number` counts connections from 0; `address`: host and port."""

    def __init__(self, sock: socket.socket, number: int, address: str, stopped: Any) -> None:
        self.sock, self.number, self.address, self._stopped = sock, number, address, stopped
        self.head = b""

    def request(self) -> bytes:
        """The head of an HTTP/1 request."""
        while b"\r\n\r\n" not in self.head:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionError("no whole request came")
            self.head += data
            if self.head.startswith(b"\x16"):
                raise ConnectionError("that is TLS")
        return self.head

    @property
    def path(self) -> str:
        """What the request line asks for."""
        return self.request().split(b" ")[1].decode("latin-1")

    def send(self, data: bytes | str) -> None:
        """Send all of it."""
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def answer(self, data: bytes | str) -> None:
        """Read a request, send `data` with lines ended by CR LF, and close."""
        self.request()
        raw = data.encode("latin-1") if isinstance(data, str) else data
        self.send(raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))

    def wait(self) -> None:
        """Until the test is over."""
        self._stopped.wait(PATIENCE)

    def reset(self) -> None:
        """End the connection by a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@dataclass
class Running:
    """A server that runs. `heads`: the requests that it read, by connection."""

    port: int
    heads: list[bytes] = field(default_factory=list)


@contextlib.contextmanager
def running(case: Case) -> Iterator[Running]:
    """The case's server."""
    family = socket.AF_INET6 if ":" in case.host else socket.AF_INET
    listener = socket.socket(family)
    listener.bind((case.host, 0))
    found = Running(listener.getsockname()[1])
    if case.serve is None:
        with listener:
            yield found
        return
    listener.listen(64)
    stopped = threading.Event()
    shown = f"[{case.host}]" if ":" in case.host else case.host
    context = case.tls() if case.tls else None
    threads: list[threading.Thread] = []
    open_sockets: list[socket.socket] = []

    def one(sock: socket.socket, number: int) -> None:
        serve = case.serve
        assert serve is not None
        with contextlib.suppress(OSError), sock:
            sock.settimeout(PATIENCE)
            spoken = sock
            if context is not None:
                spoken = context.wrap_socket(sock, server_side=True)
            talk = Talk(spoken, number, f"{shown}:{found.port}", stopped)
            try:
                serve(talk)
            finally:
                found.heads.append(talk.head)
                with contextlib.suppress(OSError):
                    spoken.shutdown(socket.SHUT_WR)
                    # What the client still says is read: a reset would eat the answer.
                    spoken.settimeout(PATIENCE)
                    while spoken.recv(65536):
                        pass
                spoken.close()

    def accept() -> None:
        while not stopped.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            open_sockets.append(sock)
            thread = threading.Thread(target=one, args=(sock, len(threads)))
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield found
    finally:
        stopped.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for sock in open_sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
