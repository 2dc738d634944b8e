"""An API server of written answers on loopback, HTTP or HTTPS, chunked where it streams."""

import json
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab.kube.client import KubeApi
from lab.kube.kubeconfig import Login

LOOPBACK = Login("")


@dataclass
class Stream:
    """Lines of a watch, sent one by one; then the connection ends, or `stays` open in silence."""

    events: Sequence[Any]
    stays: bool = False


@dataclass
class ApiServer:
    """Answers to the requests in their order: (status, JSON or Stream); the last one stays."""

    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    ended: threading.Event = field(default_factory=threading.Event)

    def next(self) -> tuple[int, Any]:
        """The answer to the next request."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def opened(
    *answers: tuple[int, Any], login: Login = LOOPBACK
) -> Iterator[tuple[ApiServer, KubeApi]]:
    """A server of these answers, and a client of it with the credentials of `login`."""
    made = ApiServer(list(answers))
    with serving(made) as server, KubeApi(replace(login, server=server.url)) as api:
        yield server, api


@contextmanager
def serving(server: ApiServer, tls: ssl.SSLContext | None = None) -> Iterator[ApiServer]:
    """Serve it until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            server.asked.append(f"{self.command} {self.path}")
            server.headers.append({key.lower(): value for key, value in self.headers.items()})
            status, body = server.next()
            self.send_response(status)
            if isinstance(body, Stream):
                self._stream(body)
                return
            data = json.dumps(body).encode()
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, body: Stream) -> None:
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            with suppress(OSError):
                for event in body.events:
                    # A line comes in two chunks, as the network may cut it anywhere.
                    line = json.dumps(event).encode() + b"\n"
                    for piece in (line[:5], line[5:]):
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                if body.stays:
                    server.ended.wait(30)
                self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        if tls is not None:
            listening.socket = tls.wrap_socket(listening.socket, server_side=True)
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        scheme = "http" if tls is None else "https"
        server.url = f"{scheme}://127.0.0.1:{listening.server_address[1]}"
        try:
            yield server
        finally:
            server.ended.set()
            listening.shutdown()
            thread.join()
