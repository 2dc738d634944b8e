"""Redirects of all kinds, and requests: what is sent, judged by a server that looks at it."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.probers.cases_http import NEVER, OK, get, says
from tests.probers.servers import Case, Serve, Talk


def leads(location: str, code: int = 302, *, well: str = "", body: str = "") -> Serve:
    """Redirects /start to `location` ({} is its own address), answers 200 at `well` only."""

    def serve(talk: Talk) -> None:
        path = talk.path
        if path.startswith("/start"):
            to = location.replace("{}", talk.address).replace(
                "{host}", talk.address.rpartition(":")[0]
            )
            head = f"HTTP/1.1 {code} X\r\nLocation: {to}\r\n"
            talk.send(head + (f"\r\n{body}" if body else "Content-Length: 0\r\n\r\n"))
        else:
            talk.send((OK if path == well else "HTTP/1.1 500 X\r\n") + "Content-Length: 0\r\n\r\n")

    return serve


def sees(judge: Callable[[list[str]], bool]) -> Serve:
    """Answers 200 where `judge` likes the lines of the request, else 400."""

    def serve(talk: Talk) -> None:
        lines = talk.request().decode("latin-1").split("\r\n")
        code = 200 if judge(lines[:-2]) else 400
        talk.send(f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n\r\n")

    return serve


def hops(count: int) -> Serve:
    """Redirects that many times, then 200."""

    def serve(talk: Talk) -> None:
        at = int(talk.path.strip("/") or 0)
        if at < count:
            talk.send(f"HTTP/1.1 302 X\r\nLocation: /{at + 1}\r\nContent-Length: 0\r\n\r\n")
        else:
            talk.send(OK + "Content-Length: 0\r\n\r\n")

    return serve


def cases() -> Iterator[Case]:
    """Every case of a redirect, and of a request."""
    yield from _locations()
    yield from _ways()
    yield from _requests()
    yield from _paths()


def _locations() -> Iterator[Case]:
    # name, Location, the path at which it is well.
    for name, location, well in (
        ("absolute to itself", "http://{}/end", "/end"),
        ("absolute to itself, which fails", "http://{}/end", ""),
        ("a path", "/end", "/end"),
        ("a path, which fails", "/end", ""),
        ("no leading slash", "end", "/start/end"),
        ("dots", "../end", "/end"),
        ("more dots than there are", "../../../end", "/end"),
        ("a dot", "./end/.", "/start/end/"),
        ("only a query", "?q=1", "/start/here?q=1"),
        ("only a fragment", "#x", "/start/here"),
        ("a fragment", "/end#x", "/end"),
        ("no scheme", "//{}/end", "/end"),
        ("no scheme, another host", "//elsewhere.example/end", ""),
        ("another host", "http://elsewhere.example/end", ""),
        ("localhost", "http://localhost/end", ""),
        ("another loopback", "http://127.0.0.2/end", ""),
        ("a port where nobody is", "http://{host}:1/end", ""),
        ("a port beyond all ports", "http://{host}:99999/end", ""),
        ("a port of letters", "http://{host}:http/end", ""),
        ("an empty port", "http://{host}:/end", ""),
        ("two ports", "http://{host}:80:80/end", ""),
        ("a user", "http://me:secret@{}/end", "/end"),
        ("an ftp of the same host", "ftp://{}/end", ""),
        ("an ftp of another host", "ftp://elsewhere.example/", ""),
        ("mailto", "mailto:me@elsewhere.example", ""),
        ("http without slashes", "http:end", ""),
        ("http without a host", "http:///end", ""),
        ("a capital scheme", "HTTP://{}/end", "/end"),
        ("https where none is spoken", "https://{}/end", ""),
        ("an escape that is none", "/%zz", ""),
        ("an escaped slash", "/a%2Fb", "/a%2Fb"),
        ("a blank", "/a b", "/a%20b"),
        ("a letter beyond ASCII", "/\xc3\xbc", "/%C3%BC"),
        ("a backslash", "/\\end", "/%5Cend"),
        ("a colon first", ":end", ""),
        ("a colon in the first segment", "1:2", ""),
        ("an escaped host", "http://%31%32%37.0.0.1/end", ""),
        ("a number for a host", "http://2130706433/end", ""),
        ("IPv6 where IPv4 was asked", "http://[::1]/end", ""),
        ("a bracket that is not closed", "http://[::1/end", ""),
        ("two slashes", "/..//end", "/end"),
        ("a query with a question mark", "/end?a?b", "/end?a?b"),
        ("a question mark alone", "/end?", "/end?"),
        ("a star", "*", "/start/*"),
    ):
        yield Case(f"redirect: {name}", get("/start/here"), leads(location, well=well))
    for name, location, well in (
        ("to itself", "http://{}/end", "/end"),
        ("to itself, which fails", "http://{}/end", ""),
        ("the address in other words", "http://[0::1]/end", ""),
        ("with a zone", "http://[::1%25lo]/end", ""),
        ("a path", "/end", "/end"),
    ):
        yield Case(f"redirect IPv6: {name}", get("/start"), leads(location, well=well), host="::1")


def _ways() -> Iterator[Case]:
    for code in (301, 302, 303, 307, 308):
        yield Case(f"redirect by {code}", get("/start"), leads("/end", code, well="/end"))
        yield Case(f"redirect by {code} to an error", get("/start"), leads("/end", code))
    for code in (300, 304, 305, 306):
        yield Case(f"no redirect by {code}", get("/start"), leads("/end", code))
    for code in (201, 200):
        yield Case(f"a Location with {code}", get("/start"), leads("/end", code))
    for code in (301, 302, 303, 307, 308):
        head = f"HTTP/1.1 {code} X\r\n"
        yield Case(f"{code} without a Location", get(), says(head + "Content-Length: 0\r\n\r\n"))
    yield Case("an empty Location", get(), says("HTTP/1.1 302 X\r\nLocation:\r\n\r\n"))
    yield Case(
        "two Locations", get("/start"),
        leads("/end\r\nLocation: /other", well="/end"),
    )  # fmt: skip
    for count in (9, 10, 11):
        yield Case(f"{count} redirects", get("/0"), hops(count))
    yield Case("a loop", get("/start"), leads("/start"))
    yield Case("a redirect with a body", get("/start"), leads("/end", well="/end", body="x" * 9000))
    yield Case(
        "a redirect elsewhere whose body breaks off", get(),
        says("HTTP/1.1 302 X\r\nLocation: http://elsewhere.example/\r\nContent-Length: 9\r\n\r\n"),
    )  # fmt: skip

    def holds(talk: Talk) -> None:
        if talk.path == "/start":
            talk.send("HTTP/1.1 302 X\r\nLocation: /end\r\n\r\nshort")
            talk.wait()
        talk.answer(OK + "Content-Length: 0\r\n\r\n")

    yield Case("a redirect whose body does not end", get("/start"), holds, timeout=NEVER)

    def keeps(talk: Talk) -> None:
        if talk.path == "/start":
            talk.send("HTTP/1.1 302 X\r\nLocation: /end\r\nContent-Length: 9999\r\n\r\nshort")
            talk.wait()
        talk.answer(OK + "Content-Length: 0\r\n\r\n")

    yield Case("a redirect with a long body that does not come", get("/start"), keeps)


def _requests() -> Iterator[Case]:
    def has(*wanted: str) -> Serve:
        return sees(lambda lines: all(line in lines for line in wanted))

    def headers(*pairs: tuple[str, str]) -> dict[str, Any]:
        return get("/x", httpHeaders=[{"name": name, "value": value} for name, value in pairs])

    def host_is(name: str) -> Serve:
        return lambda talk: sees(lambda lines: f"Host: {name or talk.address}" in lines)(talk)

    yield Case("request: the line", get("/x?a=b"), has("GET /x?a=b HTTP/1.1"))
    yield Case("request: the Host", get("/x"), host_is(""))
    yield Case("request: the Host of IPv6", get("/x"), host_is(""), host="::1")
    yield Case("request: a Host of one's own", headers(("host", "a.b")), host_is("a.b"))
    yield Case("request: a Host that is none", headers(("Host", "a/b")), has("Host: "))
    yield Case("request: an empty Host", headers(("Host", "")), host_is(""))
    yield Case(
        "request: a zone in the Host", headers(("Host", "[fe80::1%25x]")), has("Host: [fe80::1]")
    )
    yield Case("request: two Hosts", headers(("Host", "a"), ("Host", "b")), has("Host: a"))
    yield Case("request: what it accepts", get("/x"), has("Accept: */*"))
    yield Case("request: it closes", get("/x"), has("Connection: close"))
    yield Case(
        "request: who asks", get("/x"),
        sees(lambda lines: any(line.startswith("User-Agent: kube-probe/1.") for line in lines)),
    )  # fmt: skip
    yield Case(
        "request: nothing compressed", get("/x"),
        sees(lambda lines: not any(line.startswith("Accept-Encoding") for line in lines)),
    )  # fmt: skip
    yield Case(
        "request: no Accept", headers(("Accept", "")),
        sees(lambda lines: not any(line.startswith("Accept") for line in lines)),
    )  # fmt: skip
    yield Case("request: an Accept", headers(("accept", "text/x")), has("Accept: text/x"))
    yield Case(
        "request: no agent", headers(("User-Agent", "")),
        sees(lambda lines: not any(line.startswith("User-Agent") for line in lines)),
    )  # fmt: skip
    yield Case("request: an agent", headers(("user-agent", "me")), has("User-Agent: me"))
    yield Case("request: two of a name", headers(("X", "a"), ("x", "b")), has("X: a", "X: b"))
    yield Case(
        "request: in Go's order", headers(("zoo", "1"), ("abc", "2"), ("m-n", "3")),
        sees(lambda lines: [one for one in lines if one[0] in "ZMA" and one[1] in "o-b"]
             == ["Abc: 2", "M-N: 3", "Zoo: 1"]),
    )  # fmt: skip
    yield Case("request: blanks around", headers(("X", "  a  ")), has("X: a"))
    yield Case("request: a letter beyond ASCII", headers(("X", "ü")), has("X: \xc3\xbc"))
    yield Case("request: an empty value", headers(("X", "")), has("X: "))
    yield Case("request: a control character", headers(("X", "a\x01")), has("X: a"))
    yield Case("request: a tab within", headers(("X", "a\tb")), has("X: a\tb"))
    yield Case(
        "request: lengths are the client's",
        headers(("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Trailer", "X")),
        sees(lambda lines: not any(one.startswith(("Content", "Trans", "Trail")) for one in lines)),
    )  # fmt: skip
    yield Case(
        "request: a Connection of one's own", headers(("Connection", "keep-alive")),
        has("Connection: keep-alive", "Connection: close"),
    )  # fmt: skip
    yield Case(
        "request: close said already", headers(("Connection", "Close")),
        sees(lambda lines: sum(one.startswith("Connection") for one in lines) == 1),
    )  # fmt: skip
    yield Case(
        "request: an upgrade", headers(("Connection", "Upgrade"), ("Upgrade", "x")),
        sees(lambda lines: "Connection: close" not in lines and "Upgrade: x" in lines),
    )  # fmt: skip

    def after(judge: Callable[[list[str], str], bool], location: str, code: int = 302) -> Serve:
        def serve(talk: Talk) -> None:
            if talk.path == "/x":
                to = location.replace("{}", talk.address)
                talk.send(f"HTTP/1.1 {code} X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
            else:
                sees(lambda lines: judge(lines, talk.address))(talk)

        return serve

    given = headers(("Host", "a.b"), ("X", "y"), ("Content-Type", "t"), ("Authorization", "z"))
    for name, judge, location, code in (
        ("the Host stays on a path", lambda lines, _: "Host: a.b" in lines, "/end", 302),
        ("the Host goes on a URL", lambda lines, me: f"Host: {me}" in lines, "http://{}/e", 302),
        ("the headers stay", lambda lines, _: "X: y" in lines, "http://{}/e", 302),
        ("so does who one is", lambda lines, _: "Authorization: z" in lines, "http://{}/e", 302),
        ("not those of a body", lambda lines, _: "Content-Type: t" not in lines, "/end", 302),
        ("those of a body with 307", lambda lines, _: "Content-Type: t" in lines, "/end", 307),
        ("the Referer", lambda lines, me: f"Referer: http://{me}/x" in lines, "/end", 302),
    ):
        yield Case(f"redirected: {name}", given, after(judge, location, code))
    yield Case(
        "redirected: a user becomes Basic", get("/x"),
        after(lambda lines, _: "Authorization: Basic bWU6c2VjcmV0" in lines,
              "http://me:secret@{}/end"),
    )  # fmt: skip


def _paths() -> Iterator[Case]:
    for path, line in {
        "healthz": "/healthz",
        "/a b": "/a%20b",
        "/\u00fc": "/%C3%BC",
        "/%zz": "/%25zz",
        "/a%2fb": "/a%2fb",
        "/a%41": "/a%41",
        "?q": "/?q",
        "/?": "/?",
        "/x#y": "/x",
        "//a/b": "/b",
        "///a": "///a",
        "http://other/c": "/c",
        "//me:x@h/d": "/d",
        "/a/../b": "/a/../b",
        "/'(x)!": "/'(x)!",
        '/"<x>{}|^`': "/%22%3Cx%3E%7B%7D%7C%5E%60",
        "/\\": "/%5C",
        "*": "/*",
        "1:2": "/1:2",
        "mailto:x": "",
        "/a\nb": "/a%0Ab",
        "/x?a b": "/x?a b",
    }.items():
        yield Case(f"path: {path!r}", get(path), _asks(f"GET {line} HTTP/1.1"))


def _asks(wanted: str) -> Serve:
    return sees(lambda lines: lines[0] == wanted)
