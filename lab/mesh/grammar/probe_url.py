"""Parses URLs as kubelet (Go) does, to find where a probe goes and where a redirect leads.

Python parses some URLs differently: those with invalid escapes, a path without a leading slash, or
an address in brackets. All texts have one character for each byte (Latin-1).
"""

import ipaddress
import re
import string
from dataclasses import dataclass, replace
from typing import Final

_ALWAYS: Final = frozenset(string.ascii_letters + string.digits + "-_.~")
_PATH: Final = _ALWAYS | set("$&+,/:;=@")
_HOST: Final = _ALWAYS | set("!$&'()*+,;=:[]<>\"")
_USER: Final = _ALWAYS | set("$&+,;=")
_KEPT_IN_PATH: Final = _PATH | set("!'()*[]%")
_ESCAPE: Final = re.compile(r"%(..)?", re.DOTALL)
_HEX: Final = re.compile(r"[0-9A-Fa-f]{2}")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)
_PORT: Final = re.compile(r"(:[0-9]*)?")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Url:
    """An absolute or relative URL.

    `path` is decoded; `written` is the path as the URL spells it, or "" if that is the usual
    spelling. `host` includes the port, if the URL has one; `user` is name and password. `opaque` is
    the text after the scheme in a URL such as `mailto:a@b`, where no slash follows the colon.
    """

    scheme: str = ""
    host: str = ""
    path: str = ""
    written: str = ""
    query: str = ""
    bare_query: bool = False
    """Whether the URL has a question mark and no query after it."""
    opaque: str = ""
    user: tuple[str, str | None] | None = None

    @property
    def hostname(self) -> str:
        """The host without port and brackets; kubelet compares it when it follows a redirect."""
        return _split(self.host)[0]

    @property
    def port(self) -> int:
        """The port, or the scheme's default: 80 for http, 443 for https, 0 for any other scheme.

        Raises ValueError if the port is above 65535.
        """
        digits = _split(self.host)[1]
        port = int(digits[:6]) if digits else _DEFAULT_PORTS.get(self.scheme, 0)
        if port > 65535:
            raise ValueError(f"port {digits} is above 65535")
        return port

    @property
    def escaped_path(self) -> str:
        """The path as a request sends it."""
        if self.written and set(self.written) <= _KEPT_IN_PATH:
            return self.written
        return "*" if self.path == "*" else _escape(self.path, _PATH)

    @property
    def request_uri(self) -> str:
        """The target in the request line of HTTP."""
        asked = self.opaque or self.escaped_path or "/"
        if self.opaque.startswith("//"):
            asked = f"{self.scheme}:{asked}"
        return asked + self._question

    @property
    def without_user(self) -> str:
        """The URL without name and password, as in a Referer header. The URL must have a scheme."""
        if self.opaque:
            return f"{self.scheme}:{self.opaque}{self._question}"
        path = self.escaped_path
        lead = "/" if path and not path.startswith("/") and self.host else ""
        return f"{self.scheme}://{_escape(self.host, _HOST)}{lead}{path}{self._question}"

    @property
    def _question(self) -> str:
        return f"?{self.query}" if self.query or self.bare_query else ""

    def resolve(self, reference: str) -> "Url":
        """Returns the URL to which `reference` (a Location header) leads. Raises ValueError."""
        to = parse(reference)
        if to.scheme or to.host or to.user:
            return replace(to, scheme=to.scheme or self.scheme)._at(_resolve(to.escaped_path, ""))
        if to.opaque:
            return replace(to, scheme=self.scheme, host="", user=None, path="", written="")
        query = to.query
        if not (to.path or to.bare_query or to.query):
            query = self.query
        if not to.path and self.opaque:
            return Url(self.scheme, query=query, bare_query=to.bare_query, opaque=self.opaque)
        path = _resolve(self.escaped_path, to.escaped_path)
        base = Url(self.scheme, self.host, user=self.user, query=query, bare_query=to.bare_query)
        return base._at(path)

    def _at(self, path: str) -> "Url":
        decoded = _unescape(path)
        return replace(self, path=decoded, written="" if path == _escape(decoded, _PATH) else path)


def probe_url(scheme: str, address: str, port: int, path: str) -> Url:
    """Returns the URL to which an httpGet with the manifest's `path` goes.

    kubelet parses the path as a URL and then sets scheme and host. So a query in the path is kept,
    a host in it is replaced, and a path that is not a URL is used as it is. Raises ValueError where
    kubelet reports an error.
    """
    text = path.encode().decode("latin-1")
    try:
        url = parse(text)
    except ValueError:
        url = Url(path=text)
    host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    addressed = replace(url, scheme=scheme, host=host)
    # kubelet passes the URL on as text, which Go parses again.
    user = "" if addressed.user is None else f"{_user_text(addressed.user)}@"
    again = addressed.without_user
    if user and not addressed.opaque:
        again = again.replace("://", f"://{user}", 1)
    return parse(again)


def parse(text: str) -> Url:
    """Parses an absolute or relative URL. Raises ValueError with the reason."""
    text, _, fragment = text.partition("#")
    if _CONTROL.search(text):
        raise ValueError("the URL has a control character")
    _unescape(fragment)
    if text == "*":
        return Url(path="*")
    scheme, rest = "", text
    if match := _SCHEME.fullmatch(text):
        scheme, rest = match[1].lower(), match[2]
    elif text.startswith(":"):
        raise ValueError("the URL has no scheme before its colon")
    bare = rest.endswith("?") and rest.count("?") == 1
    rest, _, query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, opaque=rest, query=query, bare_query=bare)
        if ":" in rest.partition("/")[0]:
            raise ValueError("the first segment of the path has a colon")
    host, user = "", None
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        user, host = _authority(scheme, authority)
        rest = slash + path
    return Url(scheme, host, query=query, bare_query=bare, user=user)._at(rest)


def _authority(scheme: str, text: str) -> tuple[tuple[str, str | None] | None, str]:
    user, at, host = text.rpartition("@")
    checked = _host(scheme, host)
    if not at:
        return None, checked
    if not set(user) <= _ALWAYS | set(":!$&'()*+,;=%@"):
        raise ValueError("the user in the URL has a character that is not allowed")
    name, colon, password = user.partition(":")
    return (_unescape(name), _unescape(password) if colon else None), checked


def _host(scheme: str, text: str) -> str:
    if text.rfind("[") > 0:
        raise ValueError("the host has a bracket that is not at its start")
    if text.startswith("["):
        inside, closed, port = text[1:].rpartition("]")
        if not closed:
            raise ValueError("the host has a bracket that is not closed")
        name, percent, zone = inside.partition("%25")
        name = _unescape(name, host=True) + _unescape(percent + zone, zone=True)
        ipaddress.IPv6Address(name)
        _check_port(port)
        return f"[{name}]{port}"
    if ":" in text:
        first = scheme in ("http", "https")
        _check_port(text[text.index(":") if first else text.rindex(":") :])
    return _unescape(text, host=True)


def _check_port(text: str) -> None:
    if not _PORT.fullmatch(text):
        raise ValueError(f"{text!r} is not a port")


def _split(host: str) -> tuple[str, str]:
    name, colon, port = host.rpartition(":")
    if not colon or (port and not (port.isascii() and port.isdigit())):
        name, port = host, ""
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    return name, port


def _unescape(text: str, *, host: bool = False, zone: bool = False) -> str:
    for match in _ESCAPE.finditer(text):
        digits = match[1] or ""
        if not _HEX.fullmatch(digits):
            raise ValueError(f"{match[0]!r} is not an escape")
        byte = chr(int(digits, 16))
        in_host = host and byte < "\x80" and digits != "25"
        if in_host or (zone and byte not in _HOST and byte != " " and digits != "25"):
            raise ValueError(f"{match[0]!r} cannot be in a host")
    if host or zone:
        plain = _ESCAPE.sub("", text)
        if any(c < "\x80" and c not in _HOST for c in plain):
            raise ValueError(f"{plain!r} is not a host")
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def _escape(text: str, kept: frozenset[str] | set[str]) -> str:
    return "".join(c if c in kept else f"%{ord(c):02X}" for c in text)


def _user_text(user: tuple[str, str | None]) -> str:
    name, password = user
    shown = _escape(name, _USER)
    return shown if password is None else f"{shown}:{_escape(password, _USER)}"


def _resolve(base: str, reference: str) -> str:
    """Returns the path to which `reference` leads from the path `base`, without `.` and `..`."""
    if not reference:
        full = base
    elif reference.startswith("/"):
        full = reference
    else:
        full = base[: base.rfind("/") + 1] + reference
    if not full:
        return ""
    done, first, element = "/", True, ""
    for element in full.split("/"):
        if element == ".":
            first = False
        elif element == "..":
            cut = done.rfind("/", 1)
            done = done[:cut] if cut > 0 else "/"
            first = len(done) == 1
        else:
            done += ("" if first else "/") + element
            first = False
    if element in (".", ".."):
        done += "/"
    return done[1:] if done[1:2] == "/" else done
