"""Answers of one connection: status lines, headers, bodies, and what is none of them."""

from collections.abc import Iterator
from typing import Any

from tests.probers.servers import Case, Serve, Talk

OK = "HTTP/1.1 200 OK\r\n"
NEVER = 2.0
"""Seconds given to servers that never answer. Enough for what comes before, on a busy machine."""


def get(path: str = "/", **more: Any) -> dict[str, Any]:
    """An httpGet."""
    return {"httpGet": {"path": path, **more}}


def says(data: bytes | str) -> Serve:
    """Answers with exactly these bytes, after the request has come."""

    def serve(talk: Talk) -> None:
        talk.request()
        talk.send(data)

    return serve


def then_waits(data: bytes | str) -> Serve:
    """The same, and leaves the connection open."""

    def serve(talk: Talk) -> None:
        talk.request()
        talk.send(data)
        talk.wait()

    return serve


def resets_after(data: bytes | str) -> Serve:
    """The same, and resets the connection."""

    def serve(talk: Talk) -> None:
        talk.request()
        if data:
            talk.send(data)
        talk.reset()

    return serve


def first_then(data: str, after: str) -> Serve:
    """Answers the first connection otherwise than the later ones."""

    def serve(talk: Talk) -> None:
        talk.request()
        talk.send(after if talk.number else data)

    return serve


def cases() -> Iterator[Case]:
    """Every case of an answer over HTTP/1."""
    for code in (
        *(200, 201, 202, 204, 206, 226, 299, 300, 304, 305, 306, 310, 399),
        *(400, 401, 404, 418, 429, 499, 500, 503, 599, 600, 999),
    ):
        yield Case(f"status {code}", get(), says(f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n"))
    yield from _lines()
    yield from _headers()
    yield from _bodies()
    yield from _silence()


def _lines() -> Iterator[Case]:
    whole = "Content-Length: 2\r\n\r\nok"
    for name, line in {
        "no reason": "HTTP/1.1 200\r\n",
        "a blank for a reason": "HTTP/1.1 200 \r\n",
        "two blanks": "HTTP/1.1  200 OK\r\n",
        "HTTP/1.0": "HTTP/1.0 200 OK\r\n",
        "HTTP/2.0": "HTTP/2.0 200 OK\r\n",
        "HTTP/9.9": "HTTP/9.9 200 OK\r\n",
        "HTTP/1.10": "HTTP/1.10 200 OK\r\n",
        "HTTP/1": "HTTP/1 200 OK\r\n",
        "a small http": "http/1.1 200 OK\r\n",
        "no HTTP": "ICY 200 OK\r\n",
        "two digits": "HTTP/1.1 20 OK\r\n",
        "four digits": "HTTP/1.1 2000 OK\r\n",
        "a status of letters": "HTTP/1.1 abc OK\r\n",
        "a status with a sign": "HTTP/1.1 +20 OK\r\n",
        "a negative status": "HTTP/1.1 -20 OK\r\n",
        "status 000": "HTTP/1.1 000 X\r\n",
        "status 099": "HTTP/1.1 099 X\r\n",
        "a tab after the version": "HTTP/1.1\t200 OK\r\n",
        "a leading blank line": "\r\nHTTP/1.1 200 OK\r\n",
        "a leading blank": " HTTP/1.1 200 OK\r\n",
        "a status line ended by LF": "HTTP/1.1 200 OK\n",
        "a status line ended by CR": "HTTP/1.1 200 OK\r",
        "two CR": "HTTP/1.1 200 OK\r\r\n",
    }.items():
        yield Case(f"line: {name}", get(), says(line + whole))
    yield Case("line: LF alone everywhere", get(), says("HTTP/1.1 200 OK\nX: y\n\nok\n"))
    yield Case("line: LF alone, an error", get(), says("HTTP/1.1 500 Oh\nX: y\n\nok\n"))
    yield Case("line: LF and CR LF mixed", get(), says("HTTP/1.1 200 OK\nX: y\r\n\nok\n"))
    yield Case("line: an answer of HTTP/0.9", get(), says("ok\n"))
    yield Case("line: a banner of SSH", get(), says("SSH-2.0-OpenSSH_9.2\r\n"))
    yield Case("line: bytes that are no text", get(), says(bytes(range(256))))
    yield Case("line: HTTP/2 in clear", get(), says(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"))
    yield Case("line: TLS in clear", get(), says(b"\x15\x03\x01\0\x02\x02\x46"))


def _headers() -> Iterator[Case]:
    for name, headers in {
        "a blank before the colon": "Content-Length : 2\r\n\r\nok",
        "a line without a colon": "nonsense\r\n\r\nok",
        "an empty name": ": x\r\n\r\nok",
        "a name with a bracket": "X[y]: z\r\n\r\nok",
        "a folded value": "X: y\r\n z\r\nContent-Length: 2\r\n\r\nok",
        "a folded length": "Content-Length:\r\n 2\r\n\r\nok",
        "a first line that is folded": " X: y\r\n\r\nok",
        "a control character": "X: a\x01b\r\n\r\nok",
        "a DEL": "X: a\x7fb\r\n\r\nok",
        "a CR within": "X: a\rb\r\n\r\nok",
        "a NUL": "X: a\0b\r\n\r\nok",
        "Latin letters": "X: \xe9\xff\r\nContent-Length: 2\r\n\r\nok",
        "two lengths alike": "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "two lengths that differ": "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "lengths in one line": "Content-Length: 2, 2\r\n\r\nok",
        "a negative length": "Content-Length: -1\r\n\r\nok",
        "a length with a sign": "Content-Length: +2\r\n\r\nok",
        "no number for a length": "Content-Length: two\r\n\r\nok",
        "an empty length": "Content-Length:\r\n\r\nok",
        "a length beyond all numbers": "Content-Length: 99999999999999999999\r\n\r\nok",
        "an unknown encoding": "Transfer-Encoding: gzip\r\n\r\nok",
        "identity": "Transfer-Encoding: identity\r\n\r\nok",
        "two encodings": "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "chunked twice": "Transfer-Encoding: chunked\r\n" * 2 + "\r\n0\r\n\r\n",
        "a compressed body that is none": "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
        "a cookie": "Set-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok",
        "half a megabyte": "X: " + "y" * 500_000 + "\r\nContent-Length: 2\r\n\r\nok",
        "ten thousand": "X-Y: z\r\n" * 10_000 + "Content-Length: 2\r\n\r\nok",
        "none": "\r\nok",
    }.items():
        yield Case(f"header: {name}", get(), says(OK + headers))
    yield Case(
        "header: eleven megabytes", get(), says(OK + ("X: " + "y" * 70_000 + "\r\n") * 160 + "\r\n")
    )


def _bodies() -> Iterator[Case]:
    chunked = OK + "Transfer-Encoding: chunked\r\n\r\n"
    for name, chunks in {
        "chunks": "2\r\nok\r\n0\r\n\r\n",
        "an extension": "2;a=b\r\nok\r\n0\r\n\r\n",
        "blanks after the size": "2  \r\nok\r\n0\r\n\r\n",
        "capital digits": "A\r\n0123456789\r\n0\r\n\r\n",
        "no digits": "xyz\r\nok\r\n0\r\n\r\n",
        "no size": "\r\nok\r\n0\r\n\r\n",
        "a size beyond all numbers": "fffffffffffffffff\r\nok\r\n0\r\n\r\n",
        "LF alone": "2\nok\n0\n\n",
        "no line end after the data": "2\r\nok0\r\n\r\n",
        "no last chunk": "2\r\nok\r\n",
        "half a chunk": "5\r\nok",
        "no end": "2\r\nok\r\n0\r\n",
        "a trailer": "2\r\nok\r\n0\r\nX: y\r\n\r\n",
        "a trailer that is none": "2\r\nok\r\n0\r\nnonsense\r\n\r\n",
        "a trailer that breaks off": "2\r\nok\r\n0\r\nX: y\r\n",
        "a trailer of 5 kB": "2\r\nok\r\n0\r\nX: " + "y" * 5000 + "\r\n\r\n",
        "empty": "0\r\n\r\n",
    }.items():
        yield Case(f"chunked: {name}", get(), says(chunked + chunks))
    yield Case(
        "chunked: HTTP/1.0 ignores it", get(),
        says("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunks"),
    )  # fmt: skip
    yield Case(
        "chunked: with a length, too", get(),
        says(OK + "Transfer-Encoding: Chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    )  # fmt: skip
    yield Case("chunked: much that is no data", get(), says(
        chunked + ("1;" + "x" * 200 + "\r\ny\r\n") * 200 + "0\r\n\r\n"))  # fmt: skip
    yield Case("body: until the end", get(), says(OK + "\r\n" + "x" * 100))
    yield Case("body: HTTP/1.0 until the end", get(), says("HTTP/1.0 200 OK\r\n\r\nok"))
    yield Case("body: shorter than said", get(), says(OK + "Content-Length: 9\r\n\r\nok"))
    yield Case("body: longer than said", get(), says(OK + "Content-Length: 2\r\n\r\nokokok"))
    yield Case(
        "body: shorter, of an error", get(), says("HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\n")
    )
    big = "x" * 1_000_000
    yield Case("body: a megabyte", get(), says(OK + "Content-Length: 1000000\r\n\r\n" + big))
    yield Case("body: a megabyte of an error", get(), says("HTTP/1.1 500 X\r\n\r\n" + big))
    yield Case(
        "body: 10240 bytes, then nothing", get(),
        then_waits(OK + "Content-Length: 99999\r\n\r\n" + "x" * 10240),
    )  # fmt: skip
    yield Case(
        "body: 10239 bytes, then nothing", get(),
        then_waits(OK + "Content-Length: 99999\r\n\r\n" + "x" * 10239), timeout=NEVER,
    )  # fmt: skip
    yield Case(
        "body: whole, connection left open", get(), then_waits(OK + "Content-Length: 2\r\n\r\nok")
    )
    yield Case("body: without end", get(), then_waits(OK + "\r\nok"), timeout=NEVER)
    yield Case(
        "body: 204 with one", get(), says("HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\nhello")
    )
    yield Case(
        "body: 304 left open", get(), then_waits("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n")
    )
    yield Case("body: reset within", get(), resets_after(OK + "Content-Length: 9\r\n\r\nok"))
    yield Case(
        "body: broken at first, whole later", get(),
        first_then(OK + "Content-Length: 9\r\n\r\nok", OK + "Content-Length: 2\r\n\r\nok"),
    )  # fmt: skip


def _silence() -> Iterator[Case]:
    def nothing(talk: Talk) -> None:
        talk.request()

    def silent(talk: Talk) -> None:
        talk.wait()

    def at_once(talk: Talk) -> None:
        talk.reset()

    def slowly(talk: Talk) -> None:
        talk.request()
        for byte in (OK + "Content-Length: 2\r\n\r\nok").encode():
            talk.send(bytes([byte]))

    yield Case("nobody listens", get(), None)
    yield Case("closes without an answer", get(), nothing)
    yield Case("never answers", get(), silent, timeout=NEVER)
    yield Case("resets at once", get(), at_once)
    yield Case("resets after the request", get(), resets_after(""))
    yield Case("half a status line", get(), says("HTTP/1.1 2"))
    yield Case("half a status line, left open", get(), then_waits("HTTP/1.1 2"), timeout=NEVER)
    yield Case("a status line alone", get(), says("HTTP/1.1 200 OK\r\n"))
    yield Case("headers without an end", get(), says(OK + "X: y\r\n"))
    yield Case("half a header", get(), says(OK + "X: y"))
    yield Case("headers, left open", get(), then_waits(OK + "X: y\r\n"), timeout=NEVER)
    yield Case("byte by byte", get(), slowly)
    yield Case(
        "an error at first, well later", get(),
        first_then("HTTP/1.1 500 X\r\n\r\n", OK + "\r\nok"),
    )  # fmt: skip
    for code in (100, 102, 103, 199):
        interim = f"HTTP/1.1 {code} X\r\nLink: y\r\n\r\n"
        yield Case(f"interim {code}", get(), says(interim + OK + "\r\nok"))
        yield Case(f"interim {code}, an error", get(), says(interim + "HTTP/1.1 500 X\r\n\r\n"))
    yield Case("interim, nothing else", get(), says("HTTP/1.1 100 Continue\r\n\r\n"))
    yield Case("fifty interim", get(), says("HTTP/1.1 103 X\r\n\r\n" * 50 + OK + "\r\nok"))
    yield Case("101", get(), says("HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\n"))
    yield Case("101 without upgrade", get(), says("HTTP/1.1 101 X\r\n\r\n" + OK + "\r\nok"))
    yield Case("IPv6", get(), says(OK + "\r\nok"), host="::1")
    yield Case("tcp: open", {"tcpSocket": {}}, silent)
    yield Case("tcp: closes at once", {"tcpSocket": {}}, lambda talk: None)
    yield Case("tcp: nobody listens", {"tcpSocket": {}}, None)
    yield Case("tcp: IPv6", {"tcpSocket": {}}, silent, host="::1")
