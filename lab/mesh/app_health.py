"""The application's probes, done by the agent in kubelet's place.

kubelet cannot pass through mutual TLS and its probes must not be captured, so the injector
rewrites them to the agent (`/app-health/<container>/livez`), which asks the application. It
asks the pod's own address from 127.0.0.6, the source that the redirection rules let through.
"""

import asyncio
import struct
from collections.abc import Mapping

from lab.mesh import contract
from lab.mesh.agent_fetch import FetchError, Target, connect, fetch
from lab.mesh.agent_settings import Probe

MAX_REDIRECTS = 10
"""As kubelet."""
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_SERVING = 1


async def probe(check: Probe, pod_ip: str, headers: Mapping[str, str]) -> tuple[int, str]:
    """Ask the application; return an HTTP status for kubelet and a sentence.

    200 to 399 is success, as kubelet counts it. `headers`: those of kubelet's request.
    """
    local = (
        "" if ":" in pod_ip or pod_ip.startswith("127.") else contract.INBOUND_PASSTHROUGH_SOURCE
    )
    host = check.host or pod_ip
    target = Target(host, check.port, source=local, tls=check.scheme == "https")
    try:
        if check.kind == "tcp":
            async with asyncio.timeout(check.timeout):
                _, writer = await connect(target)
                writer.close()
            return 200, "open"
        if check.kind == "grpc":
            async with asyncio.timeout(check.timeout):
                return await _grpc(target, check.service)
        return await _http(check, target, headers)
    except FetchError as failed:
        return 503, failed.message
    except TimeoutError:
        return 503, f"{host}:{check.port}: no answer within {check.timeout:g} s"
    except (OSError, asyncio.IncompleteReadError) as bad:
        return 503, f"{host}:{check.port}: {bad}"


async def _http(check: Probe, target: Target, headers: Mapping[str, str]) -> tuple[int, str]:
    sent = {"User-Agent": headers.get("user-agent", "kube-probe/sidecar-lab")}
    sent |= dict(check.headers)
    path = check.path
    for _ in range(MAX_REDIRECTS + 1):
        answer = await fetch(target, path, headers=sent, timeout=check.timeout, max_body=0)
        # A redirect to another host is success to kubelet, so only local ones are followed.
        location = answer.headers.get("location", "")
        if not 300 <= answer.status < 400 or not location.startswith("/"):
            return answer.status, f"the application answered {answer.status}"
        path = location
    return 502, f"more than {MAX_REDIRECTS} redirects"


async def _grpc(target: Target, service: str) -> tuple[int, str]:
    """Do one grpc.health.v1.Health/Check over plain HTTP/2.

    Of the answer only DATA is needed, so no header has to be decoded.
    """
    reader, writer = await connect(target)
    try:
        writer.write(_request(f"{target.host}:{target.port}", service))
        await writer.drain()
        data = bytearray()
        while True:
            size, kind, flags, stream = _frame_head(await reader.readexactly(9))
            payload = await reader.readexactly(size)
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                writer.write(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            elif kind in (_RST_STREAM, _GOAWAY):
                return 503, "the application ended the gRPC health check"
            elif kind == _DATA and stream == 1:
                data += payload[1 : size - payload[0]] if flags & _PADDED else payload
            if kind in (_DATA, _HEADERS) and stream == 1 and flags & _END_STREAM:
                break
    finally:
        writer.close()
    if not data:
        return 503, "the application has no gRPC health service, or not of that name"
    # 5 bytes of gRPC framing, then HealthCheckResponse: field 1, a varint. 0 is left out.
    status = data[6] if len(data) >= 7 and data[5] == 0x08 else 0
    serving = status == _SERVING
    return (200 if serving else 503), f"gRPC health status {status}" + (" (SERVING)" * serving)


def _request(authority: str, service: str) -> bytes:
    name = service.encode()
    message = b"\x0a" + _varint(len(name)) + name if name else b""
    # HPACK without compression: indexed :method POST and :scheme http, then literals.
    block = b"\x83\x86" + b"\x04" + _text("/grpc.health.v1.Health/Check")
    block += b"\x01" + _text(authority) + b"\x0f\x10" + _text("application/grpc")
    block += b"\x00" + _text("te") + _text("trailers")
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, b"\x00" + struct.pack(">I", len(message)) + message)
    )


def _text(text: str) -> bytes:
    raw = text.encode("ascii", "replace")[:126]
    return bytes([len(raw)]) + raw


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _frame_head(head: bytes) -> tuple[int, int, int, int]:
    kind, flags, stream = struct.unpack(">BBI", head[3:])
    return int.from_bytes(head[:3], "big"), kind, flags, stream & 0x7FFFFFFF
