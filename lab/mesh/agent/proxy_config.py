"""Parses a ProxyConfig and the downward API's files with the standard library alone.

A ProxyConfig comes as JSON (PROXY_CONFIG, made by the injector) or as YAML (the annotation
proxy.istio.io/config, written by people). The proxy image has no YAML parser, so this module parses
only a part of YAML: nested mappings of scalars, which is what such annotations hold. For anything
else it raises an error that names the line. It does no I/O.
"""

import json
import re
from typing import Any, TypeAlias

from lab.mesh.errors import BootstrapError
from lab.mesh.grammar import proxy_grammar
from lab.mesh.grammar.proxy_config_fields import ELSEWHERE, KNOWN

Scalar: TypeAlias = str | int | float | bool

_LINE = re.compile(r"""(?P<indent>\ *)(?P<key>"[^"]+"|'[^']+'|[\w./-]+):(?:\s+(?P<value>.*))?""")
_COMMENT = re.compile(r"(^|\s)#.*$")
_ODD = re.compile(
    r"(?i)yes|no|on|off|y|n|null|~|=|<<|[-+]?\.(inf|nan)|[-+]?0[xbo][\da-f_]+"
    r"|[-+]?[\d_.]+(e[-+]?\d+)?|[-+]?\d[\d_]*(:[0-5]?\d)+(\.[\d_]*)?|\d{4}-\d\d?-\d\d?.*"
    r"|.*[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff].*"
)
"""Matches unquoted values with a special meaning in YAML, and characters that YAML forbids."""
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")
_PAIR = re.compile(r'([^=\n]+)="((?:[^"\\\n]|\\.)*)"')


def parse(text: str, source: str) -> dict[str, Any]:
    """Parse the ProxyConfig in `text` and return its fields, whose types are checked.

    Known fields that this agent does not use are left out. Raises BootstrapError naming the field
    and `source`, the origin of the text.
    """
    fields = _json(text, source) if text.lstrip().startswith("{") else _block(text, source)
    for key, value in fields.items():
        if key in ELSEWHERE:
            continue
        expected = KNOWN.get(key)
        if expected is None:
            raise BootstrapError(
                f"{source}: field {key!r} is not part of a ProxyConfig",
                hint=f"the fields are: {', '.join(KNOWN)}",
            )
        if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
            kind = "map" if expected is dict else getattr(expected, "__name__", str(expected))
            raise BootstrapError(f"{source}: field {key!r} must be a {kind}, not {value!r}")
        if isinstance(value, dict):
            for name, inner in value.items():
                if not isinstance(inner, (str, int, float, bool)):
                    raise BootstrapError(
                        f"{source}: field {key}.{name} must be a plain value, not {inner!r}"
                    )
    return {key: value for key, value in fields.items() if key in KNOWN}


def seconds(text: str, field: str) -> float:
    """Parse a Go duration ("5s", "1m30s", "500ms"); return seconds. Raises BootstrapError."""
    try:
        return proxy_grammar.seconds(text)
    except ValueError as bad:
        raise BootstrapError(f"{field}: {bad}") from bad


def host_port(text: str, field: str) -> tuple[str, int]:
    """Parse `host:port`, in which an IPv6 host is in brackets; return both.

    Raises BootstrapError naming `field`.
    """
    try:
        return proxy_grammar.host_port(text)
    except ValueError as bad:
        raise BootstrapError(f"{field}: {bad}") from bad


def downward_pairs(text: str, source: str) -> dict[str, str]:
    """Parse a downward API file: one `key="value"` per line, the value quoted as in Go.

    Raises BootstrapError naming `source` and the line.
    """
    pairs: dict[str, str] = {}
    # Not splitlines(): it also splits at separators that Go leaves unquoted.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        match = _PAIR.fullmatch(line)
        if not match:
            raise BootstrapError(f'{source}, line {number}: {line[:80]!r} is not key="value"')
        pairs[match[1]] = _ESCAPE.sub(_unescape, match[2])
    return pairs


def _unescape(match: re.Match[str]) -> str:
    body = match[1]
    if len(body) > 1:
        code = int(body[1:], 16)
        return chr(code) if code <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"
    return _ESCAPES.get(body, body)


def _json(text: str, source: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as bad:
        raise BootstrapError(f"{source}: not JSON: {bad}") from bad
    return dict(config)


def _block(text: str, source: str) -> dict[str, Any]:
    root: dict[str, Any] = {}
    # (indentation, mapping) of the open mappings, from the outermost to the innermost.
    open_maps: list[tuple[int, dict[str, Any]]] = []
    pending: tuple[dict[str, Any], str, int] | None = None
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.rstrip(" \r")
        if not line.strip() or line.lstrip().startswith("#") or line in ("---", "..."):
            continue
        match = _LINE.fullmatch(line)
        if not match:
            raise _unreadable(source, number, line)
        indent, key = len(match["indent"]), match["key"].strip("\"'")
        if pending and indent > pending[2]:
            child: dict[str, Any] = {}
            pending[0][pending[1]] = child
            open_maps.append((indent, child))
        elif not open_maps:
            open_maps.append((indent, root))
        pending = None
        while open_maps and indent < open_maps[-1][0]:
            open_maps.pop()
        if not open_maps or open_maps[-1][0] != indent:
            raise _unreadable(source, number, line)
        mapping = open_maps[-1][1]
        if key in mapping:
            raise BootstrapError(f"{source}, line {number}: field {key!r} is given twice")
        value = _scalar(match["value"] or "", source, number)
        mapping[key] = {} if value is None else value
        if value is None:
            pending = (mapping, key, indent)
    return root


def _scalar(text: str, source: str, number: int) -> Scalar | None:
    text = text.strip()
    quoted = re.fullmatch(r"""("(?:[^"\\]|\\.)*"|'[^']*')(?:\s+#.*)?""", text)
    if quoted:
        inner = quoted[1]
        if inner.startswith("'"):
            return inner[1:-1]
        try:
            return str(json.loads(inner))
        except ValueError as bad:
            raise _unreadable(source, number, text) from bad
    text = _COMMENT.sub("", text).strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if re.fullmatch(r"[-+]?(0|[1-9]\d*)", text):
        return int(text)
    if re.fullmatch(r"[-+]?\d+\.\d+", text):
        return float(text)
    if text in ("", "{}"):
        return None
    if text[0] in "[]{}&*!|>%@`\"'?,-" or ": " in text or text[-1] == ":" or _ODD.fullmatch(text):
        raise _unreadable(source, number, text)
    return text


def _unreadable(source: str, number: int, line: str) -> BootstrapError:
    return BootstrapError(
        f"{source}, line {number}: cannot read {line[:80]!r}",
        hint="the agent reads only `key: value` lines and nested mappings; write the rest as JSON",
    )
