"""Files in and out: bytes kept, meaning kept, every mistake told with its place."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from lab.mesh.errors import DocumentErrors
from lab.mesh.injector.files import inject_files
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import documents, yaml_reader, yaml_writer
from lab.mesh.manifest.reading import Reading

MANIFESTS = Path(__file__).parents[4] / "manifests"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: a}  # a comment\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: c\n"


def run(text: str | bytes, file: str = "f.yaml") -> str:
    data = text.encode() if isinstance(text, str) else text
    return "".join(inject_files([(file, data)], Settings()).text())


def mistakes(text: str | bytes) -> list[tuple[int | None, str]]:
    with pytest.raises(DocumentErrors) as caught:
        run(text)
    return [(error.place.line, error.problem) for error in caught.value.errors]


def test_the_walkthroughs_printed_yaml_gets_an_error_for_each_of_its_three_mistakes() -> None:
    printed = (MANIFESTS / "jiuxi-deployment-as-printed.yaml").read_bytes()
    with pytest.raises(DocumentErrors) as caught:
        inject_files([("printed.yaml", printed)], Settings())
    told = caught.value.message
    assert [error.place.line for error in caught.value.errors] == [1, 16, 19]
    assert "printed.yaml:1" in told
    assert "apps/v1" in told
    assert "printed.yaml:16, document 1: no colon after 'spec'" in told
    assert "printed.yaml:19, document 1: no blank after the colon of 'image'" in told


@pytest.mark.parametrize(
    "text",
    [
        SERVICE,
        f"---\n{SERVICE}---\n{SERVICE}",
        f"--- # first\n{SERVICE}...\n---\n\n# only a comment\n---\n{SERVICE}---",
        SERVICE.replace("\n", "\r\n"),
        "\ufeff" + SERVICE,
        SERVICE.rstrip("\n"),
        f"%YAML 1.1\n---\n{SERVICE}",
        f"\n\n{SERVICE}\n\n",
        "",
        "# nothing\n",
        "---\n---\n",
        '{"apiVersion": "v1",\n "kind": "Secret"}\n {"apiVersion":"v1","kind":"X"}\n\n',
        "apiVersion: example.com/v1\nkind: Deployment\nspec: any\n",
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret}  # kept\n",
    ],
)
def test_what_holds_no_pod_comes_out_byte_for_byte(text: str) -> None:
    assert run(text) == text


def test_untouched_neighbours_of_an_injected_document_keep_their_bytes() -> None:
    text = f"{SERVICE}---\n{POD}---\n{SERVICE}"
    out = run(text)
    assert out.startswith(SERVICE + "---\n")
    assert out.endswith("---\n" + SERVICE)
    assert "istio-proxy" in out


def test_an_injected_document_keeps_separator_head_comment_line_ends_and_key_order() -> None:
    out = run(("--- # one\n# licence\n" + POD + "...\n").replace("\n", "\r\n"))
    assert out.startswith("--- # one\r\n# licence\r\napiVersion: v1\r\nkind: Pod\r\n")
    assert out.endswith("...\r\n")
    assert out.count("\n") == out.count("\r\n")


def test_json_stays_json() -> None:
    text = '{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"c"}]}}'
    out = run(text, "p.json")
    assert out.startswith('{\n  "apiVersion": "v1",')
    assert len(documents.read(out.encode(), "p.json")) == 1


def test_files_are_joined_with_a_separator_where_none_stands() -> None:
    sources = [
        ("a", SERVICE.rstrip().encode()),
        ("b", SERVICE.encode()),
        ("c", b"---\n" + SERVICE.encode()),
    ]
    out = "".join(inject_files(sources, Settings()).text())
    assert out == f"{SERVICE.rstrip()}\n---\n{SERVICE}---\n{SERVICE}"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (b"\xff\xfea\0", 1, "UTF-16"),
        (b"a: 1\nb: \xe9\n", 2, "not UTF-8: byte 0xe9"),
        ("kind: Pod\n", 1, "apiVersion is missing"),
        ("apiVersion: v1\n", 1, "kind is missing"),
        ("apiVersion: v1\nkind: 3\n", 2, "kind must be text"),
        ("- 1\n", 1, "not a Kubernetes object, but a list"),
        ("just words\n", 1, "not a Kubernetes object, but text"),
        (SERVICE + "kind: Secret\n", 4, "key 'kind' is given twice"),
        ("apiVersion: v1\nkind: Pod\nspec: {\n", 4, "not YAML"),
        ("apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a\n", 4, "a tab in the indentation"),
        ("apiVersion: v1\nkind: {{ .Values.kind }}\n", 2, "a template"),
        ("apiVersion: v1\nkind: A\nx: *nowhere\n", 3, "alias *nowhere has no anchor"),
        ("apiVersion: v1\nkind: A\nx: !mine 1\n", 3, "tag !mine means nothing"),
        ("apiVersion: v1\nkind: A\nx: [a\u0000]\n", 1, "not YAML"),
        ("apiVersion: extensions/v1beta1\nkind: Deployment\n", 1, "there is no Deployment in"),
        (POD.replace("  - name: c", "  - name: 7"), 7, "must be text, and is the number 7"),
        (POD.replace("  - name: c", "  - image: c"), 7, "is missing"),
        (POD.replace("  - name: c", "  - nginx"), 7, "must be a mapping, and is text"),
        (POD + "  hostNetwork: 'true'\n", 8, "must be true or false, and is text"),
        (POD.replace("spec:", "  labels: {a: 1}\nspec:"), 5, "must be text, and is the number 1"),
        ('{"apiVersion":"v1","kind":"A","kind":"B"}', 1, "key 'kind' is given twice"),
        (
            POD.replace("spec:", "  annotations:\n    sidecar.istio.io/proxyCPU: lots\nspec:"),
            6,
            "annotation sidecar.istio.io/proxyCPU: must be a quantity of Kubernetes",
        ),
    ],
)
def test_a_mistake_is_refused_with_its_line(text: str | bytes, line: int, says: str) -> None:
    told = mistakes(text)
    assert told[0][0] == line
    assert says in told[0][1]


def test_lines_are_those_of_the_file_and_documents_are_counted() -> None:
    with pytest.raises(DocumentErrors) as caught:
        run(f"# head\n---\n{SERVICE}---\napiVersion: v1\nkind: Pod\nspec: []\n")
    place = caught.value.errors[0].place
    assert (place.document, place.line, place.field) == (2, 9, "spec")


def test_mistakes_of_all_files_and_documents_are_told_at_once() -> None:
    bad = b"kind: A\n---\napiVersion: v1\n"
    with pytest.raises(DocumentErrors) as caught:
        inject_files([("a", bad), ("b", bad)], Settings())
    assert [(e.place.file, e.place.document) for e in caught.value.errors] == [
        ("a", 1), ("a", 2), ("b", 1), ("b", 2),
    ]  # fmt: skip


def test_thousands_of_mistakes_are_found_in_one_more_reading_and_told_in_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = []
    real = yaml_reader.read

    def counted(text: str, *, with_lines: bool = False) -> Reading:
        reads.append(with_lines)
        return real(text, with_lines=with_lines)

    monkeypatch.setattr(yaml_reader, "read", counted)
    labels = "".join(f"    k{n}: {n}\n" for n in range(3000))
    with pytest.raises(DocumentErrors) as caught:
        run(POD.replace("  name: p\n", f"  name: p\n  labels:\n{labels}"))
    assert len(caught.value.errors) == 3000
    assert caught.value.errors[-1].place.line == 3005
    assert reads.count(True) == 1
    told = caught.value.message.splitlines()
    assert (told[0], told[-1]) == ("3000 mistakes, nothing was written:", "  and 2900 more")


def test_words_in_a_block_of_text_are_no_mistakes() -> None:
    text = "apiVersion: v1\nkind: A\nx: |\n    spec\n      a:b\n    image:nginx\nspec\n  a: 1\n"
    assert mistakes(text) == [(7, "no colon after 'spec'")]


def test_an_alias_bomb_is_refused_quickly() -> None:
    lines = ["apiVersion: v1", "kind: A", "l0: &l0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"l{n}: &l{n} [{','.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert "aliases expand to more than" in mistakes("\n".join(lines))[0][1]


def test_nesting_without_end_is_refused() -> None:
    assert "nested deeper" in mistakes("apiVersion: v1\nkind: A\nx: " + "[" * 50_000)[0][1]


def test_anchors_and_merges_are_read_as_kubectl_does() -> None:
    reading = yaml_reader.read("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\n")
    assert reading.value == {"a": {"x": 1, "true": 2}, "b": {"x": 3, "true": 2}}


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("y", True), ("Off", False), ("1e3", 1000), ("0644", 420), ("0o17", 15), ("1_000", 1000),
        ("22:22", "22:22"), ("2020-01-01", "2020-01-01"), ("=", "="), ("~", None), ("08", 8),
        ("0x1F", 31), ("-.5", -0.5), ("1.2.3", "1.2.3"),
        ("18446744073709551616", 18446744073709552000),
    ],
)  # fmt: skip
def test_bare_words_mean_what_they_mean_to_kubectl(written: str, means: Any) -> None:
    value = yaml_reader.read(f"a: {written}").value["a"]
    assert (value, type(value)) == (means, type(means))


words = st.sampled_from(
    ["y", "on", "1e3", "0o7", "22:22", "-", "*", "a: b", "a #b", "|", "~", "---"]
)
texts = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), words)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), texts,
                    st.floats(allow_nan=False, allow_infinity=False))  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
)


@given(values)
@example("\n")
@example("\x08\n")
@example({"a": " \n b\n\n", "": "x\n\n", "b": "a\r\nb", "c": "\ufeff", "d": "a\n b\n"})
@example([["a", ["b"], {}], [], {"x": [{"y": "|\n"}]}])
def test_what_is_written_is_read_back_as_the_same_data(value: Any) -> None:
    reading = yaml_reader.read(yaml_writer.write(value))
    assert not reading.problems
    assert _same(reading.value, value)


@given(st.dictionaries(texts, st.one_of(texts, st.integers(0, 99)), min_size=1))
def test_another_reader_of_yaml_agrees_about_what_is_written(value: dict[str, Any]) -> None:
    assert yaml.safe_load(yaml_writer.write({"data": value})) == {"data": value}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(other, float):  # 1.0 comes back as the 1 that JSON has
        return float(one) == other
    return type(one) is type(other) and bool(one == other)


pieces = st.sampled_from([
    "---", "--- # c", "...", "%YAML 1.1", SERVICE, POD, "\ufeff", "# comment", "", " ", "{", "}",
    "[", "a: &x 1", "b: *x", "spec", "image:nginx", "\t- x", "key: |", "  text", "'", '"', "? a",
    ": b",
    "<<: *x", "!!int x", '{"apiVersion": "v1", "kind": "A"}', '{"a": "\\ud800"}', "{{ x }}",
    "-x: 1",
])  # fmt: skip


@given(st.lists(st.tuples(pieces, st.sampled_from(["\n", "\r\n", ""]))), st.binary(max_size=3))
def test_any_text_is_either_taken_or_refused_with_a_place(
    parts: list[tuple[str, str]], noise: bytes
) -> None:
    data = "".join(text + end for text, end in parts).encode() + noise
    try:
        read = documents.read(data, "any")
    except DocumentErrors as refused:
        if all(error.place.file == "any" for error in refused.errors):
            return
        raise
    assert "".join(document.text for document in read).encode() == data


@pytest.mark.parametrize("levels", [190, 250, 900])
def test_json_nested_too_deep_is_refused_as_yaml_is(levels: int) -> None:
    text = '{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "x": '
    text += "[" * levels + "]" * levels + "}"
    if levels < 200:
        assert documents.read(text.encode(), "f")
        return
    with pytest.raises(DocumentErrors, match="nested deeper than 200 levels"):
        documents.read(text.encode(), "f")
