"""The application's probes and hooks, done by the agent in kubelet's place.

kubelet cannot pass through mutual TLS and its probes must not be captured, so the injector
rewrites them to the agent (`/app-health/<container>/livez`), which asks the application. It
asks the pod's own address from 127.0.0.6, the source that the redirection rules let through.

What is right is kubelet's own verdict on the same application: `tests/probers` compares.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from lab.mesh import contract
from lab.mesh.agent.probes import health_check, http_get
from lab.mesh.agent.probes.byte_stream import StreamError, dial
from lab.mesh.agent.probes.http_get import Began, BodyError, Way
from lab.mesh.agent.probes.probe_request import Request, first_request
from lab.mesh.grammar.probe_settings import Probe
from lab.mesh.grammar.probe_url import probe_url

Result = Literal["success", "warning", "failure", "broken"]

REDIRECT: Final = 302
"""Without a Location: kubelet counts it as success, with a warning, and follows nothing."""
_UNAVAILABLE: Final = 503


class Verdict(NamedTuple):
    """What kubelet is to make of it, and a sentence.

    `broken`: an answer came whose body did not; kubelet asks again at once.
    """

    result: Result
    sentence: str
    code: int = 0
    """The application's HTTP status, 0 where it gave none."""

    @property
    def status(self) -> int:
        """The HTTP status from which kubelet comes to the same verdict on a probe."""
        return status_for(self.code) if self.code else _STATUSES[self.result]


_STATUSES: Final[Mapping[Result, int]] = {
    "success": 200, "warning": REDIRECT, "failure": _UNAVAILABLE, "broken": _UNAVAILABLE,
}  # fmt: skip


def status_for(code: int) -> int:
    """What the agent answers to kubelet where the application answered `code`.

    A failure keeps its number, for kubelet prints that.
    """
    if 200 <= code < 300:
        return 200
    if 300 <= code < 400:
        return REDIRECT
    return code if 400 <= code < 1000 else _UNAVAILABLE


async def probe(
    check: Probe, pod_ip: str, headers: Mapping[str, str], began: Began | None = None
) -> Verdict:
    """Ask the application once. `headers`: those of kubelet's request, lower case.

    `began` is told the application's HTTP status before its body has come.
    """
    host = check.host or pod_ip
    source = _source(pod_ip)
    agent = headers.get("user-agent", "kube-probe/sidecar-lab")
    seen: list[int] = []

    async def first(status: int) -> None:
        seen.append(status)
        if began is not None:
            await began(status)

    try:
        async with asyncio.timeout(check.timeout):
            if check.kind == "tcp":
                return await _open(host, check.port, source)
            if check.kind == "grpc":
                status = await health_check.check(host, check.port, check.service, agent, source)
                names = health_check.STATUSES
                shown = names[status] if status < len(names) else str(status)
                serving = status == health_check.SERVING
                return Verdict("success" if serving else "failure", f"gRPC health status {shown}")
            head = await http_get.get(_request(check, host, agent), Way(source), first)
    except BodyError as broken:
        return Verdict("broken", f"the body broke off: {broken.message}")
    except StreamError as failed:
        return Verdict("failure", failed.message)
    except TimeoutError:
        late = f"{host}:{check.port}: no answer within {check.timeout:g} s"
        return Verdict("broken" if seen else "failure", late)
    return _judged(head.status)


async def hook(check: Probe, pod_ip: str, headers: Mapping[str, str]) -> Verdict:
    """Run an httpGet hook once, for as long as it takes: whoever waits for it has the patience.

    Any answer is success, as it is to kubelet; none is failure.
    """
    host = check.host or pod_ip
    agent = headers.get("user-agent", "kube-lifecycle/sidecar-lab")
    try:
        head = await http_get.hook(_request(check, host, agent), Way(_source(pod_ip), hook=True))
    except StreamError as failed:
        return Verdict("failure", failed.message)
    return Verdict("success", f"the application answered {head.status}")


async def _open(host: str, port: int, source: str) -> Verdict:
    try:
        (await dial(host, port, source)).close()
    except StreamError as failed:
        # Open it was; the application was quicker than we.
        if isinstance(failed.__cause__, ConnectionResetError):
            return Verdict("success", "open, and reset at once")
        raise
    return Verdict("success", "open")


def _judged(code: int) -> Verdict:
    if 200 <= code < 300:
        return Verdict("success", f"the application answered {code}", code)
    if 300 <= code < 400:
        said = f"the application answered {code}, which leads to nowhere that is followed"
        return Verdict("warning", said, code)
    return Verdict("failure", f"the application answered {code}", code)


def _request(check: Probe, host: str, agent: str) -> Request:
    try:
        url = probe_url(check.scheme, host, check.port, check.path)
    except ValueError as bad:
        raise StreamError(f"no request can be made: {bad}") from bad
    return first_request(url, check.headers, agent)


def _source(pod_ip: str) -> str:
    within = ":" in pod_ip or pod_ip.startswith("127.")
    return "" if within else contract.INBOUND_PASSTHROUGH_SOURCE
