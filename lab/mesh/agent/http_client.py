"""A small HTTP/1.1 client on asyncio, for the agent's requests to Envoy's admin interface.

`http.client` would need a thread for each request. This client needs no thread and little memory.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.mesh.errors import SidecarLabError

MAX_HEAD = 64 * 1024
MAX_BODY = 32 * 1024 * 1024


class FetchError(SidecarLabError):
    """A request got no usable answer.

    For example, the connection was refused, or the answer came too late or was not HTTP.
    """


@dataclass(frozen=True)
class Response:
    """A complete HTTP response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        """The body as text; bytes that are not UTF-8 are replaced."""
        return self.body.decode(errors="replace")


@dataclass(frozen=True)
class Target:
    """The address of an HTTP server."""

    host: str
    port: int


async def fetch(
    target: Target,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    timeout: float = 2.0,
    max_body: int = MAX_BODY,
) -> Response:
    """Send one request and return the response; redirects are not followed.

    `timeout` is in seconds, `max_body` in bytes. Raises FetchError.
    """
    sent = {"Host": f"{target.host}:{target.port}", "Connection": "close", "Accept": "*/*"}
    for name, value in (headers or {}).items():
        sent[next((known for known in sent if known.lower() == name.lower()), name)] = value
    if method == "POST":
        sent["Content-Length"] = "0"
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in sent.items())
    what = f"{method} {target.host}:{target.port}{path}"
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(target.host, target.port, limit=MAX_HEAD)
            try:
                writer.write(f"{head}\r\n".encode())
                await writer.drain()
                return await _response(reader, max_body)
            finally:
                writer.close()
    except TimeoutError as late:
        raise FetchError(f"{what}: no answer within {timeout:g} s") from late
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as bad:
        raise FetchError(f"{what}: {bad}") from bad


async def _response(reader: asyncio.StreamReader, max_body: int) -> Response:
    status = 100
    while 100 <= status < 200:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ValueError(f"not an HTTP answer: {lines[0][:60]!r}")
        status = int(rest[:3])
    pairs = (line.partition(":") for line in lines[1:] if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if status in (204, 304) or max_body == 0:
        return Response(status, headers)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Response(status, headers, await _chunks(reader, max_body))
    if "content-length" in headers:
        size = int(headers["content-length"])
        if not 0 <= size <= max_body:
            raise ValueError(f"the body has {size} bytes; at most {max_body} are read")
        return Response(status, headers, await reader.readexactly(size))
    body = bytearray()
    while data := await reader.read(65536):
        body += data
        if len(body) > max_body:
            raise ValueError(f"the body is longer than {max_body} bytes")
    return Response(status, headers, bytes(body))


async def _chunks(reader: asyncio.StreamReader, max_body: int) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size < 0 or len(body) + size > max_body:
            raise ValueError(f"the body is longer than {max_body} bytes")
        if size == 0:
            return bytes(body)
        body += await reader.readexactly(size)
        await reader.readexactly(2)
