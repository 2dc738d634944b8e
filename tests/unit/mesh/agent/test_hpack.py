"""Header blocks of HTTP/2: the examples of RFC 7541, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.agent.probes import hpack

FIRST = """
4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d
29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3
"""
DATE = ("date", "Mon, 21 Oct 2013 20:13:21 GMT")
PLACE = ("location", "https://www.example.com")


def test_responses_in_huffman_share_a_table() -> None:
    decoder = hpack.Decoder()
    assert decoder.decode(bytes.fromhex(FIRST)) == [
        (":status", "302"), ("cache-control", "private"), DATE, PLACE,
    ]  # fmt: skip
    assert decoder.decode(bytes.fromhex("4883640effc1c0bf")) == [
        (":status", "307"), ("cache-control", "private"), DATE, PLACE,
    ]  # fmt: skip


TEXTS = st.text(st.characters(max_codepoint=255), max_size=300)


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=5))
def test_what_is_encoded_is_decoded(fields: list[hpack.Field]) -> None:
    assert hpack.Decoder().decode(hpack.encode(fields)) == fields


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_any_bytes_are_fields_or_an_error(blocks: list[bytes]) -> None:
    decoder = hpack.Decoder()
    for block in blocks:
        try:
            decoder.decode(block)
        except hpack.HpackError:
            return


def test_a_table_that_grows_without_end_is_an_error() -> None:
    # One long field in the table, and then that field again and again, a byte each.
    block = b"\x40" + hpack.encode([("a", "b" * 3000)])[1:] + b"\xbe" * 4000
    with pytest.raises(hpack.HpackError, match="too large"):
        hpack.Decoder().decode(block)
