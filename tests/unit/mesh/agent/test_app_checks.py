"""Probes and hooks through the agent's HTTP: how an answer begins, breaks off, or is none."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Awaitable, Callable

import pytest

from lab.mesh.agent.app_checks import HOOKS, MAX_HOOKS, AppChecks
from lab.mesh.grammar.probe_settings import Probe, probes
from lab.mesh.http_server import Begin, HttpAnswer, HttpRequest, HttpServer
from tests.probers import cases_http
from tests.probers.servers import Case, Serve, Talk, running

HOOK = "/app-lifecycle/web/prestopz"
PROBE = "/app-health/web/livez"


def serving(serve: Serve) -> Case:
    return Case("one", cases_http.get(), serve)


async def with_agent(port: int, talk: Callable[[int, AppChecks], Awaitable[None]]) -> None:
    """An agent whose probe and hook ask `port`."""
    entry = {"httpGet": {"path": "/", "port": port}, "timeoutSeconds": 20}
    found = probes(json.dumps({HOOK: entry, PROBE: entry}))
    checks = AppChecks(arrival=0.05)

    async def answer(request: HttpRequest, begin: Begin) -> HttpAnswer:
        return await checks.answer(found[request.path], "127.0.0.1", request, request.path, begin)

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    http = HttpServer(listener, answer, abandoned=HOOKS)
    await http.start()
    try:
        await talk(listener.getsockname()[1], checks)
    finally:
        http.close()


async def ask(port: int, path: str, version: str = "1.1") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/{version}\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


def test_an_answer_begins_before_the_applications_body_ends() -> None:
    case = serving(cases_http.then_waits("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"))

    async def talk(port: int, _: AppChecks) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {PROBE} HTTP/1.1\r\n\r\n".encode())
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        writer.close()

    with running(case) as server:
        asyncio.run(with_agent(server.port, talk))


@pytest.mark.parametrize(("version", "ends"), [("1.1", b"Connection: close\r\n\r\n")])
def test_an_answer_breaks_off_where_the_applications_does(version: str, ends: bytes) -> None:
    case = serving(cases_http.says("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"))

    async def talk(port: int, _: AppChecks) -> None:
        assert (await ask(port, PROBE, version)).endswith(ends)

    with running(case) as server:
        asyncio.run(with_agent(server.port, talk))


def test_a_client_without_chunks_gets_a_whole_answer() -> None:
    case = serving(cases_http.says("HTTP/1.1 204 No\r\n\r\n"))

    async def talk(port: int, _: AppChecks) -> None:
        said = await ask(port, PROBE, "1.0")
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"chunked" not in said
        assert said.endswith(b"the application answered 204\n")

    with running(case) as server:
        asyncio.run(with_agent(server.port, talk))


def test_a_hook_that_failed_is_no_answer_to_kubelet_and_says_why() -> None:
    async def talk(port: int, _: AppChecks) -> None:
        said = await ask(port, HOOK)
        assert b"\r\nTransfer-Encoding: dial tcp 127.0.0.1:" in said
        assert said.endswith(b"connection refused\n")

    with running(Case("one", cases_http.get(), None)) as server:
        asyncio.run(with_agent(server.port, talk))


def test_a_hook_whose_client_went_away_is_given_up() -> None:
    asked, left = threading.Event(), threading.Event()

    def serve(talk: Talk) -> None:
        talk.request()
        asked.set()
        with contextlib.suppress(ConnectionResetError):
            assert talk.sock.recv(1) == b""
        left.set()

    async def talk(port: int, checks: AppChecks) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {HOOK} HTTP/1.1\r\n\r\n".encode())
        await asyncio.to_thread(asked.wait)
        assert checks.under_way == 1
        writer.close()
        await checks.stopped({})
        await asyncio.to_thread(left.wait)

    with running(serving(serve)) as server:
        asyncio.run(with_agent(server.port, talk))


def test_a_stop_waits_for_the_hook_that_is_under_way() -> None:
    case = serving(cases_http.then_waits(""))
    probe = {HOOK: Probe("http", 1)}

    async def talk(port: int, checks: AppChecks) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {HOOK} HTTP/1.1\r\n\r\n".encode())
        while not checks.under_way:
            await asyncio.sleep(0.001)
        stopping = asyncio.ensure_future(checks.stopped(probe))
        assert not (await asyncio.wait((stopping,), timeout=0.2))[0]
        writer.close()
        await stopping

    with running(case) as server:
        asyncio.run(with_agent(server.port, talk))


def test_a_stop_does_not_wait_where_there_is_no_hook() -> None:
    async def stop() -> None:
        await AppChecks(arrival=600).stopped({PROBE: Probe("http", 1)})

    asyncio.run(stop())


def test_a_stop_does_not_wait_for_ever_for_a_hook_that_does_not_come() -> None:
    async def stop() -> None:
        await AppChecks(arrival=0.01).stopped({HOOK: Probe("http", 1)})

    asyncio.run(stop())


def test_more_hooks_than_any_pod_has_are_refused() -> None:
    case = serving(cases_http.then_waits(""))

    async def talk(port: int, checks: AppChecks) -> None:
        writers = []
        for _ in range(MAX_HOOKS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET {HOOK} HTTP/1.1\r\n\r\n".encode())
            writers.append(writer)
        while checks.under_way < MAX_HOOKS:
            await asyncio.sleep(0.001)
        assert b"hooks are running already" in await ask(port, HOOK)
        for writer in writers:
            writer.close()
        await checks.stopped({})

    with running(case) as server:
        asyncio.run(with_agent(server.port, talk))
