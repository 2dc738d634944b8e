"""The injector's HTTPS server: `python3 -m lab.mesh.webhook --cert-dir DIR`.

POST /inject on the TLS port takes AdmissionReviews. /healthz, /readyz and /metrics are plain
HTTP on a separate port, so that kubelet needs no certificate. A certificate that changes, on disk
or in its Secret, is used for the next connection; open connections stay open.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import uvicorn

from lab.mesh import contract
from lab.mesh.errors import AdmissionError, SidecarLabError
from lab.mesh.injector.settings import config as injector_config
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.webhook import review
from lab.mesh.webhook.health import Health, Receive, Scope, Send, State, Warnings, say, send_text
from lab.mesh.webhook.serving_certificate import Certificate, SecretCertificate, Source

KEEP_ALIVE: Final = 120
"""Seconds that an idle connection stays open. This is longer than the API server keeps it (90 s),
so that the webhook never closes a connection on which a review is arriving. The API server would
not repeat the review, because Go does not repeat a POST."""


class Inject:
    """The ASGI application of the TLS port."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        if scope["path"] != contract.WEBHOOK_PATH:
            await send_text(send, 404, f"no such path; POST to {contract.WEBHOOK_PATH}\n")
            return
        if scope["method"] != "POST":
            await send_text(send, 405, "only POST\n", (b"allow", b"POST"))
            return
        try:
            headers = dict(scope["headers"])
            declared = headers.get(b"content-length", b"")
            # Refused before it is read. The HTTP parser has checked that this is a number.
            if declared and int(declared) > review.MAX_BODY:
                raise review.too_long()
            body = await _body(receive)
            if body is None:
                return
            content_type = headers.get(b"content-type", b"").decode("latin-1")
            review.check_request(content_type, len(body))
            answer = review.answer(body, self.state.settings)
        except AdmissionError as error:
            self.state.reviews["bad request"] += 1
            say("bad request", status=error.status, why=error.message)
            await send_text(send, error.status, error.message + "\n")
            return
        # While stopping, each answer closes its connection, so that no review is cut off.
        closing = () if self.state.ready else ((b"connection", b"close"),)
        await send_text(send, 200, json.dumps(answer.review), *closing, kind=b"application/json")
        took = time.perf_counter() - started
        self.state.reviews[answer.verdict] += 1
        self.state.seconds += took
        ms = round(took * 1000, 2)
        say("review", pod=answer.pod, verdict=answer.verdict, why=answer.why, ms=ms)


async def _body(receive: Receive) -> bytes | None:
    """Return the body; None if the client disconnected. Raises AdmissionError if it is too long."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > review.MAX_BODY:
            raise review.too_long()
        if not message.get("more_body"):
            return b"".join(parts)


class _Server(uvicorn.Server):
    """A uvicorn server that leaves the handling of signals to `serve`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Any, certificate: Source | None) -> "_Server":
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="httptools",
        ws="none",
        loop="asyncio",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=10,
    )
    config.load()
    config.ssl = certificate.context if certificate else None
    return _Server(config)


async def serve(
    state: State, certificate: Source, sockets: Sequence[socket.socket], drain: float
) -> None:
    """Serve TLS on the first socket and health on the second until SIGTERM or SIGINT.

    On the signal, /readyz fails at once. Service continues for `drain` seconds, because the API
    server may still send requests; then the open requests are finished. An error that ended
    `certificate.follow` is raised again.
    """
    servers = [
        _server(Health(state), None),
        _server(Inject(state), certificate),
    ]
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    follow = asyncio.create_task(certificate.follow(state.certificate_event))
    there, wait = asyncio.create_task(certificate.there()), asyncio.create_task(stopping.wait())
    tasks = [asyncio.create_task(servers[0].serve(sockets=[sockets[1]]))]
    await asyncio.wait([there, wait, follow, *tasks], return_when=asyncio.FIRST_COMPLETED)
    if there.done():
        tasks.append(asyncio.create_task(servers[1].serve(sockets=[sockets[0]])))
        state.phase = "ok"
        say("ready", port=sockets[0].getsockname()[1], health_port=sockets[1].getsockname()[1])
        await asyncio.wait([wait, follow, *tasks], return_when=asyncio.FIRST_COMPLETED)
        drain = drain if wait.done() else 0
    state.phase = "stopping"
    say("stopping")
    await asyncio.sleep(drain if there.done() else 0)
    for server in servers:
        server.should_exit = True
    wait.cancel()
    there.cancel()
    await asyncio.gather(*tasks)
    if follow.done():
        follow.result()
    follow.cancel()


def _listen(port: int) -> socket.socket:
    """Return a socket that listens on every address, IPv6 included if possible.

    Raises SidecarLabError.
    """
    try:
        if socket.has_dualstack_ipv6():
            sock = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        else:
            sock = socket.create_server(("", port))
    except OSError as bad:
        hint = "another process may have the port; see --port and --health-port"
        raise SidecarLabError(f"cannot listen on {port}: {bad}", hint=hint) from bad
    # Accepted connections inherit the option. asyncio sets it only for sockets with a protocol
    # number, which create_server leaves at 0; without it every answer waits 40 ms for an ACK.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def main(argv: Sequence[str] | None = None) -> int:
    """Run the webhook and return its exit code: 0 after a graceful stop."""
    parser = argparse.ArgumentParser(prog="python3 -m lab.mesh.webhook", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=contract.WEBHOOK_PORT, help="HTTPS, %(default)s"
    )
    parser.add_argument(
        "--health-port",
        type=int,
        default=contract.CONTROL_HEALTH_PORT,
        help="plain HTTP: /healthz /readyz /metrics, %(default)s",
    )
    served = parser.add_mutually_exclusive_group(required=True)
    served.add_argument("--cert-dir", type=Path, help="folder with tls.crt and tls.key (PEM)")
    served.add_argument(
        "--cert-secret", metavar="NAMESPACE/NAME", help="Secret with tls.crt and tls.key, watched"
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=3.0,
        help="seconds of service after SIGTERM, %(default)s",
    )
    parser.add_argument("--proxy-image", default=contract.PROXY_IMAGE, help="%(default)s")
    parser.add_argument(
        "--config", type=Path, help="file: policy, selectors, revision, nativeSidecars"
    )
    parser.add_argument(
        "--kubelet-version", action="append", default=[], metavar="VERSION",
        help="kubelet of a node, for nativeSidecars: auto; repeatable",
    )  # fmt: skip
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, handlers=[Warnings()])
    settings = Settings(image=options.proxy_image)
    certificate: Source
    try:
        if options.config:
            settings = injector_config.read_file(options.config, settings, options.kubelet_version)
        if options.cert_secret:
            certificate = SecretCertificate(options.cert_secret)
        else:
            certificate = Certificate(options.cert_dir)
        sockets = [_listen(options.port), _listen(options.health_port)]
        asyncio.run(serve(State(settings), certificate, sockets, options.drain_seconds))
    except SidecarLabError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return error.exit_code
    say("stopped")
    return 0
