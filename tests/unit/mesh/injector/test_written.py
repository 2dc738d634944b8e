"""What a message says of a scalar is how it stands in the file, never how it is read."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.errors import DocumentError, DocumentErrors
from lab.mesh.injector.files import inject_files
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import documents, yaml_reader
from tests.unit.mesh.manifest.test_as_kubectl import SCALARS

HEAD = "apiVersion: v1\nkind: Pod\n"
APP = "spec:\n  containers:\n  - name: app\n"
PROBE = f"{HEAD}{APP}    livenessProbe:\n      httpGet:\n        port: 1\n        httpHeaders:\n"
CRON = """\
apiVersion: batch/v1
kind: CronJob
spec:
  jobTemplate:
    spec:
      template:
        metadata: {labels: {a: HOLE}}
        spec: {containers: [{name: app}]}
"""
LIST = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {labels: {a: HOLE}}
  spec: {containers: [{name: app}]}
"""
TEXTS = {
    "label": f"{HEAD}metadata:\n  labels:\n    version: HOLE\n{APP}",
    "annotation": f"{HEAD}metadata:\n  annotations: {{a/b: HOLE}}\n{APP}",
    "name": f"{HEAD}metadata:\n  name: HOLE\n{APP}",
    "container's name": f"{HEAD}{APP}".replace("app", "HOLE"),
    "variable's name": f"{HEAD}{APP}    env:\n    - {{name: HOLE}}\n",
    "port's name": f"{HEAD}{APP}    ports:\n    - name: HOLE\n      containerPort: 1\n",
    "image": f"{HEAD}{APP}    image: HOLE\n",
    "header": f"{PROBE}        - name: HOLE\n",
    "volume's name": f"{HEAD}spec:\n  volumes:\n  - name: HOLE\n  containers:\n  - name: a\n",
    "kind": "apiVersion: v1\nkind: HOLE\n",
    "in a list": LIST,
    "CronJob": CRON,
}
"""Places of a text, with a hole for it."""
PLAIN = re.compile(r"[^\[\]{},\s:][^\[\]{},\s]*")
"""A word that stands as it is between braces, too: kubectl's parser refuses `{a: :b}`."""
bare = st.sampled_from(sorted(text for text in SCALARS if PLAIN.fullmatch(text)))


def filled(place: str, word: str) -> str:
    return TEXTS[place].replace("HOLE", word)


def refusal(text: str) -> DocumentError | None:
    try:
        inject_files([("f", text.encode())], Settings())
    except DocumentErrors as refused:
        return refused.errors[0]
    return None


@given(st.sampled_from(sorted(TEXTS)), bare)
def test_a_scalar_that_is_no_text_is_shown_as_it_is_written(place: str, word: str) -> None:
    """And the hint mends it: quoted as the hint says, the place holds that very text."""
    told = refusal(filled(place, word))
    value = SCALARS[word][0]
    if value is None or isinstance(json.loads(value), str):
        assert told is None or "JSON cannot hold" in told.problem
        return
    if json.loads(value) is None and told is None:
        return  # what has no name to be missing
    assert told is not None
    assert "missing" not in told.problem
    if told.hint:
        assert told.hint == f'quote it: "{word}"'
        mended = filled(place, f'"{word}"')
        assert refusal(mended) is None
        assert documents.read(mended.encode(), "f")
    if word not in ("true", "false"):
        assert f"`{word}`" in told.problem or told.problem.endswith(f"the number {word}")


@pytest.mark.parametrize(
    ("place", "word", "problem", "hint"),
    [
        ("label", "1.10", "must be text, and is the number 1.10", 'quote it: "1.10"'),
        ("annotation", "0123", "must be text, and is the number 0123", 'quote it: "0123"'),
        ("label", "NO", "must be text, and `NO` is read as false", 'quote it: "NO"'),
        ("label", "true", "must be text, and is true or false", 'quote it: "true"'),
        ("variable's name", "N", "must be text, and `N` is read as false", 'quote it: "N"'),
        ("container's name", "off", "must be text, and `off` is read as false", 'quote it: "off"'),
        ("volume's name", "0", "must be text, and is the number 0", 'quote it: "0"'),
        ("header", "~", "must be text, and `~` is read as nothing", 'quote it: "~"'),
        ("kind", "on", "kind must be text, and `on` is read as true", 'quote it: "on"'),
        ("variable's name", '""', "is missing", ""),
        ("variable's name", "", "is missing", ""),
    ],
)
def test_the_words_of_a_refusal(place: str, word: str, problem: str, hint: str) -> None:
    told = refusal(filled(place, word))
    assert told is not None
    assert (told.problem, told.hint) == (problem, hint)


def test_json_is_shown_as_it_is_written_too() -> None:
    pod = '{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"v":1.10}},"spec":{}}'
    told = refusal(pod)
    assert told is not None
    assert (told.problem, told.hint) == ("must be text, and is the number 1.10", 'quote it: "1.10"')


@pytest.mark.parametrize("port", ["8080.0", "8.08e3", "0x1F90", "8_080", "017620"])
def test_a_number_without_a_fraction_is_a_port_however_it_is_written(port: str) -> None:
    text = HEAD + (
        f"spec:\n  containers:\n  - name: a\n    ports:\n    - containerPort: {port}\n"
        f"    livenessProbe: {{tcpSocket: {{port: {port}}}}}\n"
    )
    made = "".join(inject_files([("f", text.encode())], Settings()).text())
    spec = yaml_reader.read(made).value["spec"]
    app, proxy = spec["containers"]
    assert app["ports"] == [{"containerPort": 8080}]
    env = {one["name"]: one.get("value") for one in proxy["env"]}
    assert json.loads(env["ISTIO_META_POD_PORTS"]) == [{"containerPort": 8080, "protocol": "TCP"}]
    probers = json.loads(env["ISTIO_KUBE_APP_PROBERS"])
    assert probers["/app-health/a/livez"] == {"tcpSocket": {"port": 8080}}


@pytest.mark.parametrize("word", ["12e4567", "8e99999", "1e309"])
def test_a_number_out_of_range_is_text(word: str) -> None:
    text = (
        HEAD + f"spec:\n  containers:\n  - name: a\n    env:\n    - {{name: SHA, value: {word}}}\n"
    )
    made = "".join(inject_files([("f", text.encode())], Settings()).text())
    assert yaml_reader.read(made).value["spec"]["containers"][0]["env"] == [
        {"name": "SHA", "value": word}
    ]
    assert f'value: "{word}"' in made  # so that no other reader takes it for infinity


def test_a_quoted_number_is_no_port() -> None:
    text = HEAD + 'spec:\n  containers:\n  - name: a\n    ports:\n    - containerPort: "80"\n'
    told = refusal(text)
    assert told is not None
    assert told.problem == "must be a whole number, and is text"
    assert told.hint == "remove the quotes: 80"
