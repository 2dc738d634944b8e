"""The way that a probe takes in a pod: kubelet, the agent's HTTP port, the application."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping

from lab.mesh.agent.app_checks import HOOKS, AppChecks
from lab.mesh.grammar.probe_settings import probes
from lab.mesh.http_server import Begin, HttpAnswer, HttpRequest, HttpServer
from tests.probers.servers import Case


@contextlib.contextmanager
def agent(ports: Mapping[str, tuple[Case, int]]) -> Iterator[int]:
    """The agent's port, which asks for each path the case there at its server's port."""
    entries = {
        path: {**case.task(port), "timeoutSeconds": case.timeout}
        for path, (case, port) in ports.items()
    }
    checks = probes(json.dumps(entries))
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    listener.setblocking(False)
    started, stopped = threading.Event(), threading.Event()

    async def serve() -> None:
        asking = AppChecks()

        async def answer(request: HttpRequest, begin: Begin) -> HttpAnswer:
            case = ports[request.path][0]
            return await asking.answer(
                checks[request.path], case.host, request, request.path, begin
            )

        http = HttpServer(listener, answer, abandoned=HOOKS)
        await http.start()
        started.set()
        await asyncio.to_thread(stopped.wait)
        http.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        stopped.set()
        thread.join()
