"""The whole table of servers, and how the agent and kubelet are asked about it."""

import asyncio
import json
import subprocess
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

from lab.mesh.agent.probes import app_probes
from lab.mesh.grammar.probe_settings import probes
from tests.probers import cases_hooks, cases_http, cases_redirects, cases_tls
from tests.probers.servers import Case, running

RECORDED: Final = Path(__file__).with_name("verdicts.json")
"""What kubelet made of each case, for those who have no Go."""
ATTEMPTS: Final = 3
"""How often kubelet asks where an answer's body broke off."""


class Found(NamedTuple):
    """A verdict: success, warning, failure, or waiting (a hook that does not end), and why."""

    result: str
    why: str = ""


def cases() -> list[Case]:
    """Every case, by name."""
    found = [
        *cases_http.cases(),
        *cases_redirects.cases(),
        *cases_tls.cases(),
        *cases_hooks.cases(),
    ]
    names = [case.name for case in found]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, twice
    return found


def recorded() -> dict[str, Found]:
    """Kubelet's verdicts of the record."""
    found: Mapping[str, list[str]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return {name: Found(*verdict) for name, verdict in found.items()}


def record(found: Mapping[str, Found]) -> None:
    """Write the record anew."""
    ordered = ((case.name, found[case.name]) for case in cases())
    lines = [f"{json.dumps(name)}: {json.dumps(list(each))}" for name, each in ordered]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


REASONS: Final = {
    "redirects": ("stopped after 10 redirects",),
    "location": ("failed to parse Location",),
    "scheme": ("unsupported protocol scheme", "no Host in request URL"),
    "timeout": ("Client.Timeout", "deadline exceeded", "timeout:", "no answer within"),
    "refused": ("connection refused",),
    "unhealthy": ("service unhealthy", "gRPC health status"),
    "unimplemented": ("does not implement",),
    "status": ("statuscode:", "the application answered"),
}
"""What a reason is about, by words in kubelet's or in ours."""


def why(text: str) -> str:
    """What a failure is about; "" for one of the many ways to answer badly."""
    for name, words in REASONS.items():
        if any(word in text for word in words):
            code = text.rstrip().rpartition(" ")[2] if name == "status" else ""
            return f"{name} {code}".rstrip()
    return ""


def ours(wanted: Iterable[Case], together: int = 32) -> dict[str, Found]:
    """The agent's verdicts."""

    async def one(case: Case, room: asyncio.Semaphore) -> Found:
        async with room:
            # Servers have threads; starting and ending them must not hold up what is measured.
            stack = ExitStack()
            server = await asyncio.to_thread(stack.enter_context, running(case))
            try:
                return await _ask(case, server.port)
            finally:
                await asyncio.to_thread(stack.close)

    async def all_of_them() -> dict[str, Found]:
        room = asyncio.Semaphore(together)
        listed = list(wanted)
        found = await asyncio.gather(*(one(case, room) for case in listed))
        return {case.name: each for case, each in zip(listed, found, strict=True)}

    return asyncio.run(all_of_them())


async def _ask(case: Case, port: int) -> Found:
    entry = {"/x": {**case.task(port), "timeoutSeconds": case.timeout}}
    check = probes(json.dumps(entry))["/x"]
    if case.hook:
        agent = {"user-agent": "kube-lifecycle/1.37"}
        try:
            async with asyncio.timeout(case.timeout):
                found = await app_probes.hook(check, case.host, agent)
        except TimeoutError:
            return Found("waiting")
        return Found(found.result, why(found.sentence) if found.result == "failure" else "")
    for _ in range(ATTEMPTS):
        found = await app_probes.probe(check, case.host, {"user-agent": "kube-probe/1.37"})
        if found.result != "broken":
            said = found.sentence if found.result == "failure" else ""
            return Found(found.result, why(said))
    return Found("failure")


def kubelets(program: Path, tasks: Iterable[Mapping[str, Any]]) -> dict[str, Found]:
    """Kubelet's verdicts on tasks of `sources/prober-*`."""
    lines = "".join(json.dumps(task) + "\n" for task in tasks)
    done = subprocess.run(
        [program], input=lines, capture_output=True, text=True, timeout=300, check=True
    )
    found = {}
    for line in done.stdout.splitlines():
        told = json.loads(line)
        said = "" if told["result"] in ("success", "warning") else told["output"]
        found[told["name"]] = Found(told["result"], why(said))
    return found


def task(case: Case, port: int, address: str) -> dict[str, Any]:
    """A case as the program takes it."""
    kind = "hook" if case.hook else "probe"
    return {
        "name": case.name,
        "podIP": address,
        "timeoutMs": round(case.timeout * 1000),
        kind: case.task(port),
    }
