"""Runs the application's probes and hooks in kubelet's place.

kubelet cannot take part in mutual TLS, and Envoy must not capture kubelet's probes. So the injector
rewrites each probe to a path of the agent (`/app-health/<container>/livez`), and the agent probes
the application. It connects to the pod's own address from 127.0.0.6, a source address that the
redirection rules do not capture.

The agent must come to the same verdict as kubelet: `tests/probers` compares the two.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from lab.mesh import contract
from lab.mesh.agent.probes import health_check, http_get
from lab.mesh.agent.probes.byte_stream import StreamError, dial
from lab.mesh.agent.probes.http_get import Began, BodyError, Way
from lab.mesh.agent.probes.probe_request import ProbeRequest, first_request
from lab.mesh.grammar.probe_settings import Probe
from lab.mesh.grammar.probe_url import probe_url

Result = Literal["success", "warning", "failure", "broken"]

REDIRECT: Final = 302
"""The status that the agent sends for any redirect, without a Location header: kubelet then has
nothing to follow, and counts the probe as success, with a warning."""
_UNAVAILABLE: Final = 503


class Verdict(NamedTuple):
    """The outcome of a probe or hook, and a sentence that explains it.

    `broken`: the answer's status arrived, but not all of its body. kubelet then probes again
    at once.
    """

    result: Result
    sentence: str
    code: int = 0
    """The application's HTTP status; 0 if it sent none."""

    @property
    def status(self) -> int:
        """The HTTP status that the agent sends, so that kubelet comes to the same verdict."""
        return status_for(self.code) if self.code else _STATUSES[self.result]


_STATUSES: Final[Mapping[Result, int]] = {
    "success": 200, "warning": REDIRECT, "failure": _UNAVAILABLE, "broken": _UNAVAILABLE,
}  # fmt: skip


def status_for(code: int) -> int:
    """Return the status that the agent sends to kubelet when the application sent `code`.

    A status from 400 to 999 is sent unchanged, because kubelet prints the number.
    """
    if 200 <= code < 300:
        return 200
    if 300 <= code < 400:
        return REDIRECT
    return code if 400 <= code < 1000 else _UNAVAILABLE


async def probe(
    check: Probe, pod_ip: str, headers: Mapping[str, str], began: Began | None = None
) -> Verdict:
    """Probe the application once and return the verdict.

    `headers`: the headers of kubelet's request, names in lower case. `began` is called with the
    application's HTTP status before its body has arrived.
    """
    host = check.host or pod_ip
    source = _source(pod_ip)
    agent = headers.get("user-agent", "kube-probe/sidecar-lab")
    statuses: list[int] = []

    async def first(status: int) -> None:
        statuses.append(status)
        if began is not None:
            await began(status)

    try:
        async with asyncio.timeout(check.timeout):
            if check.kind == "tcp":
                return await _open(host, check.port, source)
            if check.kind == "grpc":
                status = await health_check.check(host, check.port, check.service, agent, source)
                names = health_check.STATUSES
                status_name = names[status] if status < len(names) else str(status)
                serving = status == health_check.SERVING
                return Verdict(
                    "success" if serving else "failure", f"gRPC health status {status_name}"
                )
            head = await http_get.get(_request(check, host, agent), Way(source), first)
    except BodyError as broken:
        return Verdict("broken", f"the body broke off: {broken.message}")
    except StreamError as failed:
        return Verdict("failure", failed.message)
    except TimeoutError:
        late = f"{host}:{check.port}: no answer within {check.timeout:g} s"
        return Verdict("broken" if statuses else "failure", late)
    return _judged(head.status)


async def hook(check: Probe, pod_ip: str, headers: Mapping[str, str]) -> Verdict:
    """Run an httpGet hook once, without a time limit, because kubelet limits the hook's time.

    Any answer of the application is a success, whatever its status; kubelet judges hooks so, too.
    If there is no answer, the hook has failed.
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
        # The port was open: the application reset the connection right after accepting it.
        if isinstance(failed.__cause__, ConnectionResetError):
            return Verdict("success", "open, and reset at once")
        raise
    return Verdict("success", "open")


def _judged(code: int) -> Verdict:
    if 200 <= code < 300:
        return Verdict("success", f"the application answered {code}", code)
    if 300 <= code < 400:
        sentence = f"the application answered {code}, which is not followed as a redirect"
        return Verdict("warning", sentence, code)
    return Verdict("failure", f"the application answered {code}", code)


def _request(check: Probe, host: str, agent: str) -> ProbeRequest:
    try:
        url = probe_url(check.scheme, host, check.port, check.path)
    except ValueError as bad:
        raise StreamError(f"the probe's URL cannot be requested: {bad}") from bad
    return first_request(url, check.headers, agent)


def _source(pod_ip: str) -> str:
    within = ":" in pod_ip or pod_ip.startswith("127.")
    return "" if within else contract.INBOUND_PASSTHROUGH_SOURCE
