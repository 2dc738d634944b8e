"""ProxyConfig and downward API files read with the standard library alone."""

import json
import string
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.agent import proxy_config
from lab.mesh.errors import BootstrapError

PLAIN = st.booleans() | st.integers(-(10**9), 10**9) | st.text(string.printable, max_size=12)
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "concurrency": st.integers(0, 99),
        "serviceCluster": st.text(string.printable, max_size=12),
        "drainDuration": st.just("5s"),
        "proxyMetadata": st.dictionaries(
            st.text(string.ascii_letters + "_", min_size=1, max_size=8), PLAIN, max_size=3
        ),
    },
)


@given(FIELDS)
def test_json_is_read_as_it_is(fields: dict[str, Any]) -> None:
    assert proxy_config.parse(json.dumps(fields), "here") == fields


@given(FIELDS, st.integers(0, 3))
def test_what_is_read_of_yaml_is_what_yaml_means(fields: dict[str, Any], indent: int) -> None:
    """Whatever a YAML writer makes of it: the same meaning, or a refusal; never another one."""
    text = yaml.safe_dump(fields, indent=indent + 2, width=1000, default_flow_style=False)
    try:
        found = proxy_config.parse(text, "here")
    except BootstrapError:
        return
    assert found == fields


RAW = st.text(
    string.ascii_letters + string.digits + " .:-_#'\"\\\\{}[]&*!|>%@`?,~=<+\t", max_size=10
)
ODD = st.sampled_from(
    [
        "yes",
        "No",
        "null",
        "~",
        "0x1F",
        "010",
        "1_000",
        "1e3",
        "1.5e+3",
        "1:30",
        ".inf",
        "-.NaN",
        "2026-01-01",
        "True",
        "FALSE",
        "<<",
        "=",
        "- a",
        "a: b",
        "a:",
        "'it''s'",
        "10s",
        "1.2.3.4:5",
    ]
)


@given(RAW | ODD)
def test_a_value_means_what_yaml_says_or_is_refused(raw: str) -> None:
    text = f"proxyMetadata:\n  A: {raw}\n"
    try:
        found = proxy_config.parse(text, "here")
    except BootstrapError:
        return
    try:
        meant = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return  # laxer than YAML is no other meaning
    assert found == meant or (meant == {"proxyMetadata": {"A": None}} and "A" in str(found))


def test_a_usual_annotation_is_read() -> None:
    text = """
    # made by hand
    concurrency: 4   # threads
    discoveryAddress: "discovery.mesh:15012"
    proxyMetadata:
      ISTIO_META_A: 'x # y'
      B: true
    holdApplicationUntilProxyStarts: true
    tracing: {}
    """
    assert proxy_config.parse(text, "here") == {
        "concurrency": 4,
        "discoveryAddress": "discovery.mesh:15012",
        "proxyMetadata": {"ISTIO_META_A": "x # y", "B": True},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("concurrency 4", "line 1: cannot read"),
        ("a: 1", "field 'a' is not part"),
        ("concurrency: x", "field 'concurrency' must be a int"),
        ("concurrency: true", "field 'concurrency' must be a int"),
        ("concurrency: 1\nconcurrency: 2", "line 2: field 'concurrency' is given twice"),
        ("serviceCluster: *x", "line 1: cannot read"),
        ("proxyMetadata:\n    A: 1\n  B: 2", "line 3: cannot read"),
        ('{"proxyMetadata": {"A": [1]}}', "proxyMetadata.A must be a plain value"),
        ("{concurrency: 4}", "not JSON"),
    ],
)
def test_what_cannot_be_read_is_refused_where_it_stands(text: str, said: str) -> None:
    with pytest.raises(BootstrapError) as refused:
        proxy_config.parse(text, "here")
    assert refused.value.message.startswith("here")
    assert said in refused.value.message


def go_quoted(text: str) -> str:
    """As Go's strconv.Quote: what kubelet writes."""
    short = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\a": "\\a"}
    short |= {"\b": "\\b", "\f": "\\f", "\v": "\\v"}
    out = []
    for c in text:
        if c in short:
            out.append(short[c])
        elif c.isprintable():
            out.append(c)
        elif ord(c) < 0x80:
            out.append(f"\\x{ord(c):02x}")
        else:
            out.append(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}")
    return '"' + "".join(out) + '"'


KEYS = st.text(string.ascii_letters + "./-", min_size=1)


@given(st.dictionaries(KEYS, st.text(st.characters(exclude_categories=["Cs"]))))
def test_downward_api_files_are_read_back(pairs: dict[str, str]) -> None:
    text = "\n".join(f"{key}={go_quoted(value)}" for key, value in pairs.items())
    assert proxy_config.downward_pairs(text, "labels") == pairs


@given(st.text())
def test_any_file_gives_pairs_or_a_refusal_with_its_line(text: str) -> None:
    try:
        proxy_config.downward_pairs(text, "labels")
    except BootstrapError as refused:
        said = refused.message
    else:
        return
    assert said.startswith("labels, line ")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("1m30s", 90), ("500ms", 0.5), ("1.5h", 5400), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert proxy_config.seconds(text, "x") == seconds


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 s", "5x"])
def test_no_duration(text: str) -> None:
    with pytest.raises(BootstrapError, match="x: expected a duration"):
        proxy_config.seconds(text, "x")


@pytest.mark.parametrize(("text", "pair"), [("a.b:1", ("a.b", 1)), ("[::1]:65535", ("::1", 65535))])
def test_host_and_port(text: str, pair: tuple[str, int]) -> None:
    assert proxy_config.host_port(text, "x") == pair


@pytest.mark.parametrize("text", ["", "a", ":1", "a:", "a:0", "a:65536", "::1:5", "a b:1", "a:1x"])
def test_no_host_and_port(text: str) -> None:
    with pytest.raises(BootstrapError, match="expected host:port"):
        proxy_config.host_port(text, "x")
