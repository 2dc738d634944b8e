"""Texts are read as kubectl reads them: scalars, documents of a stream, byte order marks."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.errors import DocumentErrors
from lab.mesh.injector.files import inject_files
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import documents, yaml_reader, yaml_writer
from tests.unit.mesh.manifest import kubectl

TABLE = json.loads((Path(__file__).parent / "data" / "scalars.json").read_text())
SCALARS: dict[str, tuple[str | None, str | None]] = {
    **{text: (json.dumps(text), text) for text in TABLE["texts"]},
    **{text: tuple(means) for text, means in TABLE["others"].items()},
}
"""From a bare word to the JSON that Kubernetes makes of it, and to the key; None: refused."""
HEAD = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n"
BOM = "\ufeff"


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def test_every_scalar_has_the_type_and_value_that_kubernetes_reads() -> None:
    wrong = {}
    for text, (value, _) in SCALARS.items():
        read = yaml_reader.read(f"a: {text}\n")
        if bool(read.problems) != (value is None):
            wrong[text] = str(read.problems)
        elif value is not None and not same(read.value["a"], json.loads(value)):
            wrong[text] = f"{read.value['a']!r}, not {value}"
    assert not wrong
    assert len(SCALARS) > 5000


def test_every_key_is_spelt_as_kubernetes_spells_it() -> None:
    wrong = {}
    for text, (_, key) in SCALARS.items():
        read = yaml_reader.read(f"{text}: a\n")
        if bool(read.problems) != (key is None) or (key is not None and read.value != {key: "a"}):
            wrong[text] = f"{read.value}, not {key}; {read.problems}"
    assert not wrong


def test_the_table_of_scalars_is_what_kubectl_says() -> None:
    values = {text: value for text, (value, _) in SCALARS.items() if value is not None}
    keys = {text: key for text, (_, key) in SCALARS.items() if key is not None}
    told, _ = kubectl.read(
        HEAD + "values:\n" + "".join(f"- {text}\n" for text in values)
        + "keys:\n" + "".join(f"- {text}: a\n" for text in keys)
    )  # fmt: skip
    wrong = {
        text: said
        for (text, value), said in zip(values.items(), told[0]["values"], strict=True)
        if not same(said, wanted := json.loads(value))
        and not (isinstance(wanted, int) and float(said) == float(wanted))  # kubectl has 64 bits
    }
    assert not wrong
    assert [list(one) for one in told[0]["keys"]] == [[key] for key in keys.values()]
    for text in SCALARS.keys() - values.keys():
        assert "unsupported value" in kubectl.read(f"{HEAD}value: {text}\n")[1]
    assert len(SCALARS.keys() - values.keys()) == 11  # the infinities and what is no number


scalars = st.sampled_from(sorted(SCALARS))


@given(scalars, st.sampled_from(["bare", "env", "label"]))
def test_no_output_holds_a_number_that_is_none(text: str, where: str) -> None:
    value = {"bare": f"  extra: {text}\n", "env": f'    env: [{{name: A, value: "{text}"}}]\n'}
    data = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: app\n" + value.get(where, "")
    if where == "bare" and SCALARS[text][0] is None:
        with pytest.raises(DocumentErrors, match="a number that JSON cannot hold"):
            inject_files([("f", data.encode())], Settings())
        return
    made = "".join(inject_files([("f", data.encode())], Settings()).text())
    again = yaml_reader.read(made).value["spec"]
    if where == "bare":
        assert same(again["extra"], json.loads(SCALARS[text][0] or ""))
    elif where == "env":
        assert again["containers"][0]["env"] == [{"name": "A", "value": text}]


@given(scalars)
def test_a_text_that_looks_like_anything_is_written_so_that_it_stays_text(text: str) -> None:
    assert yaml_reader.read(yaml_writer.write({text: text})).value == {text: text}


class Stream(NamedTuple):
    """A text of several documents; `stricter`: why we refuse what kubectl takes in part."""

    text: str
    stricter: str = ""
    taken: str = ""


def config(name: str, end: str = "\n") -> str:
    lines = ("apiVersion: v1", "kind: ConfigMap", "metadata:", f"  name: {name}", "")
    return end.join(lines)


def value(name: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})


A, B, C = map(config, "abc")
J, K, L = map(value, "abc")
DROPS = "kubectl reads one document here, and drops"
STREAMS = {
    "a mark at the start": Stream(BOM + A),
    "two at the start": Stream(BOM * 2 + A),
    "three at the start": Stream(BOM * 3 + A),
    "three at the start of a lone line": Stream(BOM * 3 + K),
    "before the first separator": Stream(f"{BOM}---\n{A}"),
    "two before the first separator": Stream(f"{BOM}{BOM}---\n{A}"),
    "after the first separator": Stream(f"---\n{BOM}{A}"),
    "in the middle": Stream(f"{A}---\n{BOM}{B}"),
    "in the middle, CRLF": Stream(f"{config('a', chr(13) + chr(10))}---\r\n{BOM}{B}"),
    "in the middle, twice": Stream(f"{A}---\n{BOM}{B}---\n{BOM}{C}"),
    "in the middle, after a separator with a comment": Stream(f"{A}--- # x\n{BOM}{B}"),
    "two in the middle": Stream(f"{A}---\n{BOM}{BOM}{B}"),
    "two in the middle before a lone line": Stream(f"{A}---\n{BOM}{BOM}{K}"),
    "three in the middle": Stream(f"{A}---\n{BOM}{BOM}{BOM}{B}"),
    "at a separator": Stream(f"{A}{BOM}---\n{B}"),
    "behind a separator": Stream(f"{A}---{BOM}\n{B}"),
    "after an empty document": Stream(f"{A}---\n---\n{BOM}{B}"),
    "before an empty document": Stream(f"{A}---\n{BOM}---\n{B}"),
    "after a comment": Stream(f"{A}---\n# x\n{BOM}{B}"),
    "before a comment": Stream(f"{A}---\n{BOM}# x\n{B}"),
    "after an empty line": Stream(f"{A}---\n\n{BOM}{B}"),
    "after a blank": Stream(f"{A}---\n {BOM}{B}"),
    "alone": Stream(BOM),
    "alone in the middle": Stream(f"{A}---\n{BOM}"),
    "at the end": Stream(A + BOM),
    "at a line's start": Stream(A.replace("kind", BOM + "kind")),
    "in a value": Stream(A.replace("name: a", f"name: {BOM}a{BOM}b")),
    "JSON": Stream(BOM + J),
    "JSON, two marks": Stream(BOM * 2 + J),
    "between two JSON values": Stream(f"{J}\n{BOM}{K}"),
    "between two JSON values, CRLF": Stream(f"{J}\r\n{BOM}{K}\r\n"),
    "between two JSON values, a line": Stream(f"{J}{BOM}{K}"),
    "between two JSON values, an empty line": Stream(f"{J}\n\n{BOM}{K}"),
    "between two JSON values, two marks": Stream(f"{J}\n{BOM}{BOM}{K}"),
    "before a third JSON value": Stream(f"{J}\n{K}\n{BOM}{L}"),
    "before the second and third JSON value": Stream(f"{J}\n{BOM}{K}\n{BOM}{L}", stricter=DROPS),
    "JSON, a mark, JSON, a separator, JSON": Stream(f"{J}\n{BOM}{K}\n---\n{BOM}{L}"),
    "after JSON": Stream(f"{J}\n{BOM}"),
    "after two JSON values": Stream(f"{J}{K}\n{BOM}"),
    "JSON, separator, mark, YAML": Stream(f"{J}\n---\n{BOM}{B}"),
    "JSON, separator, mark, JSON": Stream(f"{J}\n---\n{BOM}{K}"),
    "YAML, separator, mark, JSON": Stream(f"{A}---\n{BOM}{K}"),
    "JSON, JSON": Stream(f"{J} {K}"),
    "JSON, separator, JSON": Stream(f"{J}\n---\n{K}"),
    "JSON, YAML": Stream(f"{J}\n{B}"),
    "JSON, YAML, separator, JSON": Stream(f"{J}\n{B}---\n{K}"),
    "JSON, YAML in its line": Stream(f"{J} {B}"),
    "JSON, JSON, separator, JSON": Stream(f"{J}\n{K}\n---\n{L}"),
    "JSON, JSON, YAML": Stream(f"{J}\n{K}\n{C}"),
    "JSON, junk": Stream(f"{J}\njunk\n"),
    "JSON, a brace": Stream(f"{J}\n}}"),
    "YAML, separator, JSON, JSON": Stream(f"{A}---\n{K}\n{L}", stricter=DROPS),
    "one flow mapping after another": Stream(f"{A}---\n{{a: b}}\n{{c: d}}\n"),
    "an indented first line": Stream(" " + A),
    "an end marker": Stream(f"{A}...\n---\n{B}"),
    "a document after an end marker": Stream(f"{A}...\n{B}", stricter=DROPS),
    "junk after an end marker": Stream(f"{A}... junk\n", stricter=DROPS),
    "lines that end with CR": Stream(f"{A}---\n{B}".replace("\n", "\r"), stricter=DROPS),
    "a separator after U+2028": Stream(f"{A}# x\u2028---\n{B}", stricter=DROPS),
    "a separator and a tab": Stream(f"---\t\n{A}"),
    "four dashes": Stream(f"----\n{A}"),
    "a word behind a separator": Stream(f"---x\n{A}"),
    "content behind a separator": Stream(f"--- {J}", taken="invalid Yaml document separator"),
    "a directive": Stream(f"%YAML 1.1\n---\n{A}", taken="<document start>"),
    "a directive in the middle": Stream(f"{A}---\n%YAML 1.1\n---\n{B}"),
    "empty documents": Stream(f"---\n---\n{A}---\n# x\n---\n~\n---\n"),
    "no number": Stream('{"apiVersion": "v1", "kind": "X", "metadata": {}, "x": NaN}'),
    "a number beyond all": Stream('{"apiVersion": "v1", "kind": "X", "metadata": {}, "x": 1e999}'),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_cut_and_read_as_kubectl_does_it(name: str) -> None:
    """Where we refuse what kubectl takes, or take what it refuses, its reason is in the table."""
    stream = STREAMS[name]
    theirs, said = kubectl.read(stream.text)
    ours, refusal = ours_of(stream.text)
    if stream.stricter:  # and it is true: something of the text is lost
        assert not said
        assert stream.stricter in refusal
        assert len(theirs) < stream.text.count("ConfigMap") + stream.text.count("junk")
    elif stream.taken:
        assert stream.taken in said
        assert not refusal
    else:
        assert bool(said) == bool(refusal), said or refusal
        assert refusal or ours == theirs


def ours_of(text: str) -> tuple[list[Any], str]:
    try:
        return [one.value for one in documents.read(text.encode(), "f") if one.value], ""
    except DocumentErrors as refused:
        return [], refused.message


@pytest.mark.parametrize("name", [name for name, one in STREAMS.items() if not one.stricter])
def test_what_comes_out_of_a_stream_is_read_by_kubectl_as_what_went_in(name: str) -> None:
    """Each ConfigMap becomes a pod that is injected, so that every document is written anew."""
    text = STREAMS[name].text.replace("ConfigMap", "Pod")
    text = re.sub(r"(  name: \S+)(\r?\n)", r"\1\2spec:\2  containers:\2  - name: app\2", text)
    spec = r'\1, "spec": {"containers": [{"name": "app"}]}}'
    text = re.sub(r'("metadata": {"name": "\w"})}', spec, text)
    if ours_of(text)[1] or STREAMS[name].taken:
        return
    outcome = inject_files([("f", text.encode())], Settings())
    assert outcome.injected == text.count("containers")
    made = "".join(outcome.text())
    theirs, said = kubectl.read(made)
    assert (theirs, said) == (ours_of(made)[0], "")
    assert "".join(inject_files([("f", made.encode())], Settings()).text()) == made
