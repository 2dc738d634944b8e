"""Builds the request that kubelet sends for an httpGet, from the manifest's URL and headers.

Header names are sorted and written as Go writes them; all values of a name are sent. A Host header
of the manifest becomes the request's host. Over HTTP/1.1 the manifest's Content-Length,
Transfer-Encoding and Trailer are not sent, because Go's client does not send them either.
"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from lab.mesh.agent.probes.byte_stream import StreamError
from lab.mesh.agent.probes.http1_client import canonical
from lab.mesh.grammar.probe_url import Url

Headers = Mapping[str, list[str]]

_OWN: Final = ("Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOST: Final = re.compile(r"[A-Za-z0-9!$%&()*+,\-.:;='\[\]_~]*")
_ZONE: Final = re.compile(r"^(\[.*)%.*\]", re.DOTALL)
_BLANKS: Final = " \t\r\n"
_OF_BODY: Final = ("Content-Encoding", "Content-Language", "Content-Location", "Content-Type")
_OF_CONNECTION: Final = (
    *("Connection", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Keep-Alive"),
)


class ProbeRequest(NamedTuple):
    """One GET request. `host`: the value of its Host header; "" stands for the URL's host."""

    url: Url
    headers: Headers
    host: str = ""


def first_request(
    url: Url, manifest_headers: Iterable[tuple[str, str]], user_agent: str
) -> ProbeRequest:
    """Return the first request of a probe; `redirected` makes those that follow a redirect."""
    headers: dict[str, list[str]] = {}
    for name, value in manifest_headers:
        text = value.encode().decode("latin-1")
        headers.setdefault(canonical(name), []).append(text)
    headers.setdefault("User-Agent", [user_agent])
    if headers.setdefault("Accept", ["*/*"])[0] == "":
        del headers["Accept"]
    return ProbeRequest(url, headers, headers.get("Host", [""])[0])


def redirected(
    first: ProbeRequest, last: ProbeRequest, location: str, *, keeps_body: bool
) -> ProbeRequest:
    """Return the request that follows a redirect to `location`.

    `first`: the probe's first request; `last`: the request that was redirected. `keeps_body`: every
    redirect so far had the status 307 or 308. Raises ValueError if `location` is not a URL.
    """
    url = last.url.resolve(location)
    relative = not _has_scheme(location)
    host = last.host if last.host and last.host != last.url.host and relative else ""
    headers = {k: v for k, v in first.headers.items() if keeps_body or k not in _OF_BODY}
    if not (last.url.scheme == "https" and url.scheme == "http"):
        headers.setdefault("Referer", [last.url.without_user])
        if not headers["Referer"][0]:
            headers["Referer"] = [last.url.without_user]
    return ProbeRequest(url, headers, host)


def http1_bytes(request: ProbeRequest, extra: Iterable[tuple[str, str]], *, closes: bool) -> bytes:
    """Return the request's bytes in HTTP/1.1. Raises StreamError if kubelet could not send it.

    `extra`: headers that the client adds; `closes`: the connection is closed after this request.
    """
    headers = _sent(request)
    lines = [f"GET {request.url.request_uri} HTTP/1.1", f"Host: {_host(request)}"]
    if agent := headers["User-Agent"][0].strip(_BLANKS):
        lines.append(f"User-Agent: {agent}")
    tokens = [t.strip().lower() for v in headers.get("Connection", ()) for t in v.split(",")]
    asks_to_close = "close" in tokens
    switches = "upgrade" in tokens and headers.get("Upgrade", [""])[0] != ""
    for name in sorted(headers):
        if name not in _OWN:
            lines += (f"{name}: {value.strip(_BLANKS)}" for value in headers[name])
    lines += (f"{name}: {value}" for name, value in extra)
    if closes and not asks_to_close and not switches:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def http2_fields(request: ProbeRequest) -> list[tuple[str, str]]:
    """Return the request's HTTP/2 fields. Raises StreamError if kubelet could not send it."""
    headers = _sent(request)
    connection = headers.get("Connection", [])
    if headers.get("Upgrade", [""])[0] not in ("", "chunked"):
        raise StreamError("http2: invalid Upgrade request header")
    if connection and (
        len(connection) > 1 or connection[0].lower() not in ("", "close", "keep-alive")
    ):
        raise StreamError("http2: invalid Connection request header")
    encoding = headers.get("Transfer-Encoding", [])
    if encoding and (len(encoding) > 1 or encoding[0] not in ("", "chunked")):
        raise StreamError("http2: invalid Transfer-Encoding request header")
    fields = [(":authority", _host(request)), (":method", "GET")]
    fields += [(":path", request.url.request_uri), (":scheme", request.url.scheme)]
    for name in sorted(headers):
        values = headers[name]
        if name == "User-Agent":
            values = [value for value in values[:1] if value]
        elif name in ("Host", "Content-Length", *_OF_CONNECTION):
            continue
        fields += ((name.lower(), value) for value in values)
    return fields


def _sent(request: ProbeRequest) -> dict[str, list[str]]:
    headers = dict(request.headers)
    for name, values in headers.items():
        if not _TOKEN.fullmatch(name):
            raise StreamError(f"invalid header field name {name!r}")
        if any(_CONTROL.search(value) for value in values):
            raise StreamError(f"invalid header field value for {name!r}")
    if request.url.user is not None and not headers.get("Authorization", [""])[0]:
        name, password = request.url.user
        pair = f"{name}:{password or ''}".encode("latin-1")
        headers["Authorization"] = ["Basic " + base64.b64encode(pair).decode()]
    return headers


def _host(request: ProbeRequest) -> str:
    host = request.host or request.url.host
    if not host.isascii():
        raise StreamError(f"the host {host!r} has characters that are not ASCII")
    return _ZONE.sub(r"\1]", host) if _HOST.fullmatch(host) else ""


def _has_scheme(location: str) -> bool:
    return bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", location.partition("#")[0]))
