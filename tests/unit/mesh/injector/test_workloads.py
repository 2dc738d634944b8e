"""One table of the kinds that hold pods: every part that opens a workload reads it."""

import json
from typing import Any

import click
import pytest

from lab.explain import targets
from lab.kube_inject import cli
from lab.mesh import workloads
from lab.mesh.injector import files
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.workloads import WORKLOADS, Workload
from tests.fuzz import seeds, texts

POD: dict[str, Any] = {"spec": {"containers": [{"name": "app"}]}}


def object_of(workload: Workload) -> dict[str, Any]:
    value = POD
    for key in reversed(workload.template):
        value = {key: value}
    return {"apiVersion": workload.api_version, "kind": workload.kind, **value}


@pytest.fixture
def robot(monkeypatch: pytest.MonkeyPatch) -> Workload:
    """A kind that nobody knew, added as one line of the table."""
    made = Workload("Robot", "apps/v1", "rob", template=("spec", "body", "template"))
    monkeypatch.setitem(WORKLOADS, "Robot", made)
    monkeypatch.setitem(workloads.API_VERSIONS, "Robot", made.api_version)
    return made


@pytest.mark.parametrize("kind", WORKLOADS)
def test_every_kind_of_the_table_is_injected_where_the_table_says(kind: str) -> None:
    workload = WORKLOADS[kind]
    data = json.dumps(object_of(workload)).encode()
    outcome = files.inject_files([("f.json", data)], Settings())
    made = workload.pod_in(json.loads("".join(outcome.text())))
    assert [one["name"] for one in made["spec"]["containers"]] == ["app", "istio-proxy"]


def test_a_further_kind_is_one_line_of_the_table(robot: Workload) -> None:
    data = json.dumps(object_of(robot)).encode()
    assert files.inject_files([("f.json", data)], Settings()).injected == 1
    assert [one.pod for one in targets.read(data, "f.json", "", "default").subjects] == [POD]
    assert texts._template(object_of(robot)) == POD
    assert len(list(seeds._within(object_of(robot)))) == 1
    assert "Robot" in workloads.in_words()
    foreign = {**object_of(robot), "apiVersion": "example.com/v1"}
    assert files.inject_files([("f", json.dumps(foreign).encode())], Settings()).injected == 0
    misspelt = {**object_of(robot), "apiVersion": "robots/v1"}
    with pytest.raises(Exception, match="there is no Robot in 'robots/v1'"):
        files.inject_files([("f", json.dumps(misspelt).encode())], Settings())


def test_the_help_names_every_kind() -> None:
    told = " ".join(cli.kube_inject.get_help(click.Context(cli.kube_inject)).split())
    assert f"{workloads.in_words()} are injected" in told


@pytest.mark.parametrize("kind", WORKLOADS)
def test_explain_takes_each_kind_by_every_name_that_kubectl_takes(kind: str) -> None:
    workload = WORKLOADS[kind]
    for alias in workload.aliases:
        assert targets.target(f"{alias}/web", "") == targets.Target(kind, "web")
    assert workload.api in ("/api/v1", "/apis/apps/v1", "/apis/batch/v1")
