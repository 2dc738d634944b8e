"""Decodes header blocks of HTTP/2 (HPACK) in full, and encodes them without compression.

The decoder keeps the server's dynamic table, because later blocks refer to it.
"""

from collections.abc import Iterable
from typing import Final

TABLE_SIZE: Final = 4096
"""Largest size of the dynamic table in bytes: HTTP/2's default, which this client keeps."""
MAX_LIST: Final = 10 << 20
"""Largest size of the decoded headers, for which each header counts its bytes and 32 more. Go has
this limit."""
_OVERHEAD: Final = 32

Field = tuple[str, str]

_STATIC: Final[tuple[Field, ...]] = (
    (":authority", ""),
    *((":method", value) for value in ("GET", "POST")),
    *((":path", value) for value in ("/", "/index.html")),
    *((":scheme", value) for value in ("http", "https")),
    *((":status", value) for value in ("200", "204", "206", "304", "400", "404", "500")),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    *(
        (name, "")
        for name in (
            *("accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age"),
            *("allow", "authorization", "cache-control", "content-disposition"),
            *("content-encoding", "content-language", "content-length", "content-location"),
            *("content-range", "content-type", "cookie", "date", "etag", "expect", "expires"),
            *("from", "host", "if-match", "if-modified-since", "if-none-match", "if-range"),
            *("if-unmodified-since", "last-modified", "link", "location", "max-forwards"),
            *("proxy-authenticate", "proxy-authorization", "range", "referer", "refresh"),
            *("retry-after", "server", "set-cookie", "strict-transport-security"),
            *("transfer-encoding", "user-agent", "vary", "via", "www-authenticate"),
        )
    ),
)
_LENGTHS: Final = bytes.fromhex(
    # The length in bits of the Huffman code of each byte, then of the end. The code is canonical.
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c"
    "060a0a0c0d06080b0a0a080b080606060505050606060606060607080f060c0a"
    "0d06070707070707070707070707070707070707070707070807080d130d0e06"
    "0f05060506050606060507070606060506070605050607070707070f0b0e0d1c"
    "1416141416161617161717171717181718181617181717171715161716171718"
    "1615141616171715171616181516171715151615171617171416161617161617"
    "1a1a1413161716191a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b"
    "14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c1b1b1b1b1b1a"
    "1e"
)


class HpackError(ValueError):
    """A header block that cannot be decoded, or one that is too large."""


def _codes() -> dict[tuple[int, int], int]:
    """Return the Huffman table: (number of bits, code) → byte."""
    table, code, before = {}, 0, 0
    for bits, symbol in sorted((bits, symbol) for symbol, bits in enumerate(_LENGTHS)):
        code <<= bits - before
        table[bits, code] = symbol
        code, before = code + 1, bits
    return table


class Decoder:
    """Decodes the header blocks of one connection, in the order in which they arrive."""

    def __init__(self) -> None:
        self._dynamic: list[Field] = []
        self._size, self._limit = 0, TABLE_SIZE
        self._huffman: dict[tuple[int, int], int] = {}

    def decode(self, block: bytes) -> list[Field]:
        """Decode a header block; return its fields as (name, value), one character per byte.

        Raises HpackError.
        """
        fields: list[Field] = []
        at, total = 0, 0
        while at < len(block):
            first = block[at]
            if first & 0xE0 == 0x20:
                if fields:
                    raise HpackError("the table's size is changed after the first field")
                self._limit, at = _integer(block, at, 5)
                if self._limit > TABLE_SIZE:
                    raise HpackError("the server's table is larger than this client allows")
                self._evict()
                continue
            if first & 0x80:
                index, at = _integer(block, at, 7)
                field = self._field(index)
            else:
                kept = first & 0x40
                index, at = _integer(block, at, 6 if kept else 4)
                name = self._field(index)[0] if index else ""
                if not index:
                    name, at = self._string(block, at)
                value, at = self._string(block, at)
                field = (name, value)
                if kept:
                    self._dynamic.insert(0, field)
                    self._size += _size(field)
                    self._evict()
            total += _size(field)
            if total > MAX_LIST:
                raise HpackError("the headers are too large")
            fields.append(field)
        return fields

    def _field(self, index: int) -> Field:
        if 0 < index <= len(_STATIC):
            return _STATIC[index - 1]
        if len(_STATIC) < index <= len(_STATIC) + len(self._dynamic):
            return self._dynamic[index - len(_STATIC) - 1]
        raise HpackError(f"there is no field {index} in the tables")

    def _evict(self) -> None:
        while self._size > self._limit:
            self._size -= _size(self._dynamic.pop())

    def _string(self, block: bytes, at: int) -> tuple[str, int]:
        if at >= len(block):
            raise HpackError("the block ends within a field")
        packed = block[at] & 0x80
        length, at = _integer(block, at, 7)
        raw = block[at : at + length]
        if len(raw) < length:
            raise HpackError("the block ends within a field")
        text = self._unpack(raw) if packed else raw
        return text.decode("latin-1"), at + length

    def _unpack(self, raw: bytes) -> bytes:
        if not self._huffman:
            self._huffman = _codes()
        out, bits, code = bytearray(), 0, 0
        for byte in raw:
            for shift in range(7, -1, -1):
                bits, code = bits + 1, code << 1 | byte >> shift & 1
                symbol = self._huffman.get((bits, code))
                if symbol is not None:
                    if symbol > 255:
                        raise HpackError("a Huffman-coded text contains the code for its end")
                    out.append(symbol)
                    bits = code = 0
                elif bits > 30:
                    raise HpackError("bits that are not a Huffman code")
        # The last byte is padded with ones, fewer than eight.
        if bits > 7 or code != (1 << bits) - 1:
            raise HpackError("a Huffman code is incomplete")
        return bytes(out)


def encode(fields: Iterable[Field]) -> bytes:
    """Encode the fields as literals, which do not change the server's dynamic table."""
    block = bytearray()
    for name, value in fields:
        block.append(0)
        for text in (name, value):
            raw = text.encode("latin-1")
            block += _prefixed(len(raw)) + raw
    return bytes(block)


def _size(field: Field) -> int:
    return len(field[0]) + len(field[1]) + _OVERHEAD


def _prefixed(number: int) -> bytes:
    """Encode an integer as HPACK does: in the lower seven bits of a byte, then in further bytes."""
    if number < 127:
        return bytes([number])
    out, number = bytearray([127]), number - 127
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    most = (1 << bits) - 1
    number = block[at] & most
    at += 1
    if number < most:
        return number, at
    for shift in range(0, 63, 7):
        if at >= len(block):
            break
        number += (block[at] & 127) << shift
        at += 1
        if not block[at - 1] & 128:
            return number, at
    raise HpackError("an integer is incomplete or too long")
