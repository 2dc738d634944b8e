"""HTTP hooks: any answer is success, and there is no other time than the hook's own."""

from collections.abc import Iterator

from tests.probers.cases_http import NEVER, OK, first_then, get, resets_after, says, then_waits
from tests.probers.cases_redirects import hops, leads
from tests.probers.cases_tls import HTTPS, WHOLE, says_at_once, tls
from tests.probers.servers import Case, Serve, Talk


def cases() -> Iterator[Case]:
    """Every case of a hook."""
    for case in _cases():
        yield Case(
            f"hook: {case.name}", case.action, case.serve, True, case.timeout, case.host, case.tls
        )


def _cases() -> Iterator[Case]:
    for code in (200, 204, 301, 304, 404, 500, 503, 999):
        yield Case(f"{code}", get(), says(f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n"))
    yield Case("nobody listens", get(), None)
    yield Case("closes without an answer", get(), lambda talk: None)
    yield Case("resets", get(), resets_after(""))
    yield Case("never answers", get(), lambda talk: talk.wait(), timeout=NEVER)
    yield Case("no HTTP", get(), says("hello\r\n"))
    yield Case("LF alone", get(), says("HTTP/1.1 200 OK\nX: y\n\nok"))
    yield Case("a body shorter than said", get(), says(OK + "Content-Length: 9\r\n\r\nok"))
    yield Case("a body that does not end", get(), then_waits(OK + "\r\nok"), timeout=NEVER)
    yield Case(
        "a long body that does not come", get(), then_waits(OK + "Content-Length: 10241\r\n\r\n")
    )
    yield Case(
        "a short body that does not come", get(),
        then_waits(OK + "Content-Length: 10240\r\n\r\n"), timeout=NEVER,
    )  # fmt: skip
    yield Case("left open", get(), then_waits(OK + "Content-Length: 0\r\n\r\n"))
    yield Case("101", get(), says("HTTP/1.1 101 X\r\n\r\n"))
    yield Case("broken at first", get(), first_then("", OK + "\r\nok"))
    yield Case("a redirect", get("/start"), leads("/end"))
    yield Case("a redirect elsewhere", get("/start"), leads("http://elsewhere.example/"))
    yield Case("a redirect to where nobody is", get("/start"), leads("http://{host}:1/"))
    yield Case("a redirect to no URL", get("/start"), leads("/%zz"))
    for count in (9, 10):
        yield Case(f"{count} redirects", get("/0"), hops(count))
    yield Case("a path that is none", get("mailto:x"), says(WHOLE))
    yield Case("TLS", get("/", **HTTPS), says(WHOLE), tls=tls())
    yield Case("TLS with HTTP/2 alone", get("/", **HTTPS), says(WHOLE), tls=tls(protocols=("h2",)))
    yield Case("TLS that is no HTTP", get("/", **HTTPS), says_at_once("220 mail\r\n"))
    yield Case("TLS answered in clear, then served", get("/", **HTTPS), _in_clear())
    yield Case(
        "TLS answered in clear, without who one is",
        get("/", **HTTPS, httpHeaders=[{"name": "Authorization", "value": "x"}]),
        _in_clear(refuses="Authorization: x"),
    )  # fmt: skip
    yield Case("TLS answered in clear twice", get("/", **HTTPS), says_at_once(WHOLE))
    yield Case("IPv6", get(), says(OK + "\r\nok"), host="::1")
    # Any status is success, so these end the connection where they do not like the request.
    yield Case("who asks", get(), _likes("User-Agent: kube-lifecycle/1.37"))
    yield Case("compressed is welcome", get(), _likes("Accept-Encoding: gzip"))
    yield Case("it does not close", get(), _likes("Connection: close", there=False))
    range_ = [{"name": "Range", "value": "bytes=0-1"}]
    yield Case("a range", get(httpHeaders=range_), _likes("Accept-Encoding: gzip", there=False))


def _likes(line: str, *, there: bool = True) -> Serve:
    def serve(talk: Talk) -> None:
        if (line.encode() in talk.request().split(b"\r\n")) is there:
            talk.send(WHOLE)

    return serve


def _in_clear(refuses: str = "?") -> Serve:
    """An HTTP server that is asked in TLS at first, and tells so in HTTP."""

    def serve(talk: Talk) -> None:
        if talk.number == 0:
            says_at_once("HTTP/1.1 400 X\r\n\r\n")(talk)
        elif refuses.encode() not in talk.request():
            talk.send(WHOLE)

    return serve
