import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import ScenarioError
from lab.scenario.command_line import parse

values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0{}"), min_size=1)


def test_a_pipeline_is_argv_lists_and_a_file() -> None:
    line = parse("lab kube-inject -f a.yaml | kubectl apply -f - > 'out put'")
    assert line.argvs == (
        ("lab", "kube-inject", "-f", "a.yaml"),
        ("kubectl", "apply", "-f", "-"),
    )
    assert line.into is not None
    assert line.into.meaning == "out put"


def test_what_is_shown_is_as_written() -> None:
    text = """kubectl get po -o 'jsonpath={.items[0].metadata.name}' -l "app=a b" | cat > x"""
    assert parse(text).shown == text


def test_only_names_in_braces_are_placeholders() -> None:
    line = parse("kubectl get po {pod} -o jsonpath={.status.podIP} -n {ns} > {file}.yaml")
    assert line.placeholders == ("pod", "ns", "file")


@given(values)
def test_a_value_stays_one_word_and_a_shell_would_read_the_same(value: str) -> None:
    line = parse("echo a{name}b | cat 'x {name}' > {name}").fill(lambda _: value)
    assert line.argvs == (("echo", f"a{value}b"), ("cat", f"x {value}"))
    assert shlex.split(line.shown) == [
        "echo", f"a{value}b", "|", "cat", f"x {value}", ">", value,
    ]  # fmt: skip


@given(st.lists(values, min_size=1))
def test_quoted_words_come_back(words: list[str]) -> None:
    assert parse(shlex.join(words)).argvs == (tuple(words),)


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        line = parse(text)
    except ScenarioError:
        return
    # What was accepted means to a shell's splitter what it means to us.
    words = [word for argv in line.argvs for word in argv]
    assert [w for w in shlex.split(line.shown) if w not in ("|", ">")] == [
        w for w in [*words, *([line.into.meaning] if line.into else [])] if w not in ("|", ">")
    ]


@pytest.mark.parametrize(
    "text",
    [
        "", "|", "a |", "| a", "a > ", "a > b c", "a > b > c", "a > b | c", "a && b", "a; b", "a &",
        "echo $HOME", 'echo "$HOME"', "echo `id`", "ls *", "ls ~", "# no", "a 'b", "a\\",
        "cat < b", "echo {a,b}", "echo {1..3}", "(a)",
    ],
)  # fmt: skip
def test_what_needs_a_shell_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError):
        parse(text)
