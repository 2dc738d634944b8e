"""A key without a value is what the API server makes of it, in CLI and webhook alike."""

import json
from pathlib import Path
from typing import Any

import pytest

from lab.mesh.errors import DocumentErrors
from lab.mesh.injector import files, uninject
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.webhook import review as admission
from lab.mesh.workloads import WORKLOADS
from tests.unit.mesh.injector.pods import admit, inject, review
from tests.unit.mesh.manifest import null_cases
from tests.unit.mesh.manifest.null_cases import ABSENT, BASE, REFUSED, changed, parsed

TABLE = json.loads((Path(__file__).parent / "data" / "nulls.json").read_text())
READ: dict[str, Any] = TABLE["read"]
"""From the path of a null, made from the API's own types, to how the API server reads it."""
_TEXTS = ("labels", "annotations", "nodeSelector")


def settled(value: Any, name: str = "") -> Any:
    """An output as an API server reads what we pass on as it was written."""
    if isinstance(value, dict):
        texts = name in _TEXTS
        return {
            key: "" if inner is None else settled(inner, key)
            for key, inner in value.items()
            if inner is not None or texts
        }
    if isinstance(value, list):
        return ["" if inner is None else settled(inner) for inner in value]
    return value


def by_cli(pod: dict[str, Any]) -> Any:
    try:
        outcome = files.inject_files([("f", json.dumps(pod).encode())], Settings())
    except DocumentErrors as refused:
        return [error.problem for error in refused.errors]
    return settled(json.loads("".join(outcome.text()))), outcome.notes


def by_webhook(pod: dict[str, Any]) -> Any:
    answer = admission.answer(review(pod), Settings())
    if answer.verdict == "refused":
        return answer.why
    return settled(admit(pod)), answer.review["response"].get("warnings")


@pytest.mark.parametrize("path", [path for path, read in READ.items() if read != REFUSED])
def test_a_null_is_read_as_the_api_server_reads_it(path: str) -> None:
    """What comes out for the null is what comes out for what the API server makes of it."""
    without, read = changed(parsed(path), None), changed(parsed(path), READ[path])
    assert by_cli(without) == by_cli(read)
    assert by_webhook(without) == by_webhook(read)


@pytest.mark.parametrize("path", [path for path, read in READ.items() if read == REFUSED])
def test_a_null_that_the_api_server_refuses_is_no_crash(path: str) -> None:
    without = changed(parsed(path), None)
    assert by_cli(without)
    assert by_webhook(without)


def test_the_table_has_every_field_that_the_injector_reads() -> None:
    assert len(READ) > 290
    assert {"", "0", ABSENT, REFUSED} == set(READ.values())
    app = "spec|containers|0|"
    assert READ[app + "livenessProbe|timeoutSeconds"] == ABSENT
    assert READ[app + "livenessProbe|httpGet|httpHeaders|0|value"] == ABSENT
    assert READ["metadata|labels|app"] == ""


def test_all_nulls_at_once_leave_a_probe_that_the_agent_asks() -> None:
    made = by_webhook(BASE)[0]
    assert made["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] == 15020
    bare = changed(("spec", "containers", 0, "livenessProbe", "timeoutSeconds"), None)
    made = by_webhook(bare)[0]
    assert made["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] == 15020


def test_a_pods_own_resources_stay_as_they_were_written() -> None:
    for written in ({"limits": {"memory": None}}, {"limits": None, "requests": {"cpu": "1"}}):
        made = inject({"spec": {"containers": [{"name": "app"}], "resources": written}})
        assert made["spec"]["resources"] == written


@pytest.mark.parametrize("kind", [kind for kind, one in WORKLOADS.items() if one.template])
@pytest.mark.parametrize("group", ["labels", "annotations"])
def test_a_null_on_a_workload_is_no_mistake_and_stays(kind: str, group: str) -> None:
    workload = WORKLOADS[kind]
    template: Any = {
        "metadata": {"creationTimestamp": None, group: {"team": None}},
        "spec": {"containers": [{"name": "app"}], "priority": None},
    }
    value = template
    for key in reversed(workload.template):
        value = {key: value}
    value |= {"metadata": {"name": "web", group: {"team": None}}}
    data = {"apiVersion": workload.api_version, "kind": kind, **value}
    outcome = files.inject_files([("f", json.dumps(data).encode())], Settings())
    assert outcome.injected == 1
    made = json.loads("".join(outcome.text()))
    assert made["metadata"][group] == {"team": None}
    pod = workload.pod_in(made)
    assert pod["metadata"]["creationTimestamp"] is None
    assert pod["metadata"][group]["team"] is None
    assert pod["spec"]["priority"] is None
    again = files.inject_files([("f", json.dumps(made).encode())], Settings())
    assert json.loads("".join(again.text())) == made


def test_a_null_where_an_injection_left_its_status_is_no_injection() -> None:
    pod = changed(("metadata", "annotations", "sidecar.istio.io/status"), None)
    once = inject(pod)
    assert inject(once) == once
    data = json.dumps(pod).encode()
    outcome = files.uninject_files([("f", data)])
    assert outcome.files[0][0].value["metadata"]["annotations"].keys() == (
        BASE["metadata"]["annotations"].keys()
    )
    assert uninject.was_injected(once)


def test_paths_are_texts_and_back() -> None:
    assert parsed(null_cases.shown(("spec", "containers", 0, "a/b"))) == (
        "spec", "containers", 0, "a/b",
    )  # fmt: skip
