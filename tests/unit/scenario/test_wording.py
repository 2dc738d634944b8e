"""What is said of values that hold: in words, whole, and never as Python prints them."""

import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.observe import api_objects, envoy, readings
from lab.scenario.claims import keeping
from lab.scenario.expectation import expect
from lab.scenario.wording import equals, fault, holds, lacks, say, series, show

WORDS = st.text(string.ascii_lowercase + string.digits + "-/:_", min_size=1, max_size=12)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), WORDS, st.binary(max_size=4))


HASHABLE = st.one_of(
    st.builds(readings.Listener, WORDS, st.integers(1, 65535), WORDS, st.integers(1, 9), WORDS),
    st.builds(
        readings.Interface, WORDS, st.integers(1, 9000), st.frozensets(WORDS), st.tuples(WORDS)
    ),
    st.builds(readings.Route, WORDS, st.none() | WORDS, WORDS, WORDS, st.integers(0, 9)),
    st.builds(readings.Process, st.integers(1, 9), st.integers(1, 9), WORDS, WORDS),
    st.builds(readings.Rule, WORDS, st.tuples(WORDS), WORDS, st.tuples(WORDS)),
    st.builds(readings.Connect, st.sampled_from(["open", "refused", "timed out", "unreachable"])),
    st.builds(api_objects.Container, WORDS, WORDS),
    st.builds(envoy.Endpoint, WORDS, st.integers(1, 65535)),
)
ANSWERS = st.builds(readings.HttpAnswer, st.none() | st.just(200), st.just({}), WORDS, WORDS)
ANY = st.recursive(
    PLAIN | HASHABLE | ANSWERS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(WORDS, inner, max_size=4),
    ),
    max_leaves=8,
)


@given(ANY)
def test_any_value_is_said_without_a_trace_of_python(value: object) -> None:
    with keeping() as ledger:
        expect(value, "the value").equal(value)
    (sentence,) = ledger.sentences
    assert not fault(sentence[:600]), sentence


@given(st.frozensets(HASHABLE | WORDS, max_size=4))
def test_any_set_is_said_in_one_order(values: frozenset[object]) -> None:
    assert say(values) == say(frozenset(reversed(list(values))))
    assert not fault(equals("the set", values)[:600])


@pytest.mark.parametrize(
    "sentence",
    [
        "READY is '2/2'",
        "containers is {nginx}",
        "containers is [nginx]",
        "what it prints matches ^HTTP/1",
        "the line matches FILE:3\\b.*colon",
        "rules: -A, -B, …",
        "listeners: Listener(address=0.0.0.0)",
        "the old pod is None",
        "the Job complete is False",
        "it is <object object at 0x7f>",
        'what another pod gets lacks "state"',
        "1 Ready pod(s)",
        "a" * 2000,
    ],
)
def test_what_gives_away_where_it_comes_from_is_no_sentence(sentence: str) -> None:
    assert fault(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "READY is 2/2",
        "Envoy's process id is a new one",
        "the pods' names: a and b",
        "the header `server` is envoy",
        "the route is 0.0.0.0/0 by 10.244.0.1 on eth0 UG",
        "Envoy knows outbound|80||web.jiuxi.svc.cluster.local (after 0.3 s)",
        "the arguments, in this order: nginx, -g and daemon off;",
        "-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -j RETURN",
    ],
)
def test_what_is_meant_for_readers_is_a_sentence(sentence: str) -> None:
    assert not fault(sentence)


def test_collections_are_listed_whole_and_say_whether_order_counts() -> None:
    assert equals("the chains", ("b", "a", "c")) == "the chains, in this order: b, a and c"
    assert equals("containers", {"b", "a"}) == "containers: a and b"
    assert equals("containers", ["nginx"]) == "containers: only nginx"
    assert equals("init containers", ()) == "init containers: none"
    assert equals("references", {"A": 1, "B": 3}) == "references: 1 for A and 3 for B"
    assert series(["a, b", "c"]) == "a, b; c"
    assert holds("the rows", ["a", "b"], ["b"]) == "the rows: among them b"
    assert lacks("the labels", {"a": 1}, ["b", "c"]) == "the labels: among them is no b or c"
    long = [f"member-{number}" for number in range(60)]
    assert all(one in say(long) for one in long)
    assert show(long).endswith("…")


def test_every_observed_type_is_tried_above() -> None:
    named = {"Listener", "Interface", "Route", "Process", "Rule", "Connect", "HttpAnswer"}
    others = {"Chain", "Table", "Ran"}  # said by their rules, or by what they printed
    kinds = {
        name
        for name, kind in vars(readings).items()
        if dataclasses.is_dataclass(kind) and kind.__module__ == readings.__name__
    }
    assert kinds == named | others
