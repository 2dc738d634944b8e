import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lab.errors import ScenarioError
from lab.scenario.template import HOLES, Template

SAMPLES = {
    "any": st.text("abc :/.-", max_size=9).filter(lambda text: text == text.strip()),
    "word": st.text("abc:/.-", min_size=1),
    "name": st.from_regex(r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?", fullmatch=True),
    "number": st.integers(0).map(str),
    "pid": st.integers(0, 99999).map(str),
    "port": st.integers(0, 65535).map(str),
    "ip": st.ip_addresses().map(str),
    "mac": st.just("0a:58:0a:f4:00:05"),
    "hash": st.text("bcdf2456789", min_size=5, max_size=10),
    "digest": st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format),
    "age": st.sampled_from(["5s", "2m30s", "4d", "3h2m", "12ms"]),
    "time": st.sampled_from(["10:01", "10:01:59", "2026-11-23T10:01:59.123Z"]),
}
kinds = st.sampled_from(sorted(HOLES))
words = st.text("abcXYZ123*+().[]$^\\|?", min_size=1, max_size=8)


def test_every_type_of_hole_is_tried_here() -> None:
    assert SAMPLES.keys() == HOLES.keys()


@given(st.data())
def test_a_filled_template_matches_itself(data: st.DataObject) -> None:
    template, output = [], []
    for _ in range(data.draw(st.integers(1, 5))):
        literal, kind = data.draw(words), data.draw(kinds)
        value = data.draw(SAMPLES[kind])
        template.append(f"{literal} <{kind}> {literal}")
        output.append(f"{literal}   {value}\t{literal}".replace("  ", " " * data.draw(blanks)))
    assert Template("\n".join(template)).match("\n".join(output)).ok


blanks = st.integers(2, 4)
literals = words.filter(lambda line: len(line) < 3 or set(line) != {"."})
"""Lines that stand for themselves: one of dots alone stands for any lines."""


@given(st.lists(literals, min_size=1), st.lists(words, min_size=1))
@example(["a"], ["..."])
@example(["a", "b"], ["a", "...", "b"])
def test_a_text_without_holes_matches_only_itself(one: list[str], other: list[str]) -> None:
    first, second = "\n".join(one), "\n".join(other)
    assert Template(first).match(first).ok
    assert Template(first).match(second).ok == (one == other)


@given(st.lists(words), st.lists(words, max_size=30), st.lists(words))
@example([], ["..."], [])
def test_dots_stand_for_any_number_of_lines(
    head: list[str], middle: list[str], tail: list[str]
) -> None:
    template = Template("\n".join([*head, "......", *tail]))
    assert template.match("\n".join([*head, *middle, *tail])).ok


@given(st.lists(st.sampled_from(["a", "b", "..."]), max_size=12))
def test_many_dots_need_no_long_search(template: list[str]) -> None:
    Template("\n".join(template)).match("\n".join(["a"] * 400))


def test_a_named_hole_must_be_the_same_everywhere() -> None:
    template = Template("a <ip:pod>\nb <ip:pod> <ip:pod>")
    found = template.match("a 10.0.0.1\nb 10.0.0.1 10.0.0.1")
    assert found.ok
    assert found.holes == {"pod": "10.0.0.1"}
    assert not template.match("a 10.0.0.1\nb 10.0.0.1 10.0.0.2").ok


def test_a_mismatch_shows_the_line_that_found_no_place() -> None:
    found = Template("NAME READY\njiuxi 1/1").match("NAME   READY\njiuxi  0/1\n")
    assert (found.expected, found.observed) == ("jiuxi 1/1", "jiuxi  0/1")


@pytest.mark.parametrize("output", ["a\nb\nc", "a", ""])
def test_nothing_may_be_left_over_or_missing(output: str) -> None:
    assert not Template("a\nb").match(output).ok


def test_what_kubectl_prints_in_brackets_is_literal() -> None:
    assert Template("<none> <ip>").match("<none>  10.0.0.1").ok
    assert not Template("<none>").match("anything").ok


def test_an_unknown_type_is_refused_when_the_chapter_is_read() -> None:
    with pytest.raises(ScenarioError, match="<ipp>"):
        Template("a\n<ipp>")
