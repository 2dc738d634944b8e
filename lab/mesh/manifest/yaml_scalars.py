"""Decides what an unquoted scalar of YAML means to Kubernetes, and how a number is spelt. Pure.

The rules are those of the Go library go.yaml.in/yaml/v2 (resolve.go). Kubernetes calls this library
through sigs.k8s.io/yaml, which turns YAML into JSON. So a number has the type that it has in JSON:
`8080.0` and `1e3` are integers.
"""

import math
import re
import struct
from typing import Any, Final

Scalar = str | int | float | bool | None

_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(
        ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True
    ),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), False),
    **dict.fromkeys(("off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_INTEGER: Final = re.compile(
    r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))"
)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_POINT_FIRST: Final = re.compile(r"\.[0-9](?:_?[0-9])*(?:[eE][-+]?[0-9](?:_?[0-9])*)?")
_NUMBER_STARTS: Final = frozenset("0123456789+-.")


def resolve(text: str) -> Scalar:
    """Returns the value that an unquoted scalar has for kubectl, after its conversion to JSON."""
    value = go_value(text)
    return json_number(value) if isinstance(value, float) else value


def json_number(value: float) -> int | float:
    """Returns a number as Go writes it into JSON: an integer if it needs no point or exponent."""
    if not value.is_integer() or abs(value) >= 1e21:
        return value
    if abs(value) < 1e16:
        return int(value)
    # The shortest digits that are this float, filled up with zeros.
    digits, _, exponent = repr(value).partition("e")
    before, _, fraction = digits.partition(".")
    return (
        int(before + fraction) * 10 ** (int(exponent) - len(fraction)) if exponent else int(value)
    )


def go_value(text: str) -> Scalar:
    """Returns the value that Go's YAML reader gives an unquoted scalar: 1e3 is a float."""
    if text in _WORDS:
        return _WORDS[text]  # type: ignore[no-any-return]
    if text[0] not in _NUMBER_STARTS:
        return text
    plain = text.replace("_", "")
    if text[0] == ".":
        return _finite(plain, text) if _POINT_FIRST.fullmatch(text) else text
    if integer := _INTEGER.fullmatch(plain):
        sign, hexadecimal, binary, octal, decimal = integer.groups()
        digits, base = next(
            (d, b) for d, b in ((hexadecimal, 16), (binary, 2), (octal, 8), (decimal, 10)) if d
        )
        if len(digits) <= 64:
            number = int(digits, base) * (-1 if sign == "-" else 1)
            # Go reads an integer of 64 bits only if it has no sign.
            if -(2**63) <= number < 2 ** (63 if sign else 64):
                return number
    return _finite(plain, text) if _FLOAT.fullmatch(plain) else text


def _finite(plain: str, text: str) -> str | float:
    """Returns `plain` as a number, or `text` if the number is outside Go's range."""
    value = float(plain)
    return text if math.isinf(value) else value


def key_text(value: float) -> str:
    """Returns a number as Kubernetes spells it in a key: the shortest text for a 32-bit float."""
    if math.isnan(value):
        return ".nan"
    try:
        short = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return "-.inf" if value < 0 else ".inf"
    if math.isinf(short):
        return "-.inf" if value < 0 else ".inf"
    for precision in range(9):
        shown = f"{short:.{precision}e}"
        if struct.pack("f", float(shown)) == struct.pack("f", short):
            break
    mantissa, _, exponent = shown.partition("e")
    power = int(exponent)
    digits = mantissa.replace(".", "").lstrip("-")
    if power < -4 or power >= 6:
        return f"{mantissa}e{exponent[0]}{abs(power):02d}"
    return f"{short:.{max(len(digits) - 1 - power, 0)}f}"
