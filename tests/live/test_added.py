"""What annotations add to pods, judged by the lab's API server, in both directions."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from lab.mesh.errors import SidecarLabError
from lab.mesh.injector.checks import added_checks, pod_checks, program_checks
from lab.mesh.injector.inject import inject
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.pod_settings import Owner, Settings
from lab.mesh.manifest import pod_types
from lab.paths import lab_paths
from tests.fuzz import apiserver
from tests.live.chosen import NAME
from tests.unit.mesh.injector import additions

pytestmark = pytest.mark.live
EXAMPLES: Final = 1500
DELIBERATE: Final = (
    "is no field that Kubernetes knows",  # kubectl refuses it, and a webhook's patch loses it
    "choose another name",  # the pod's volume would be lost
    "a container mounts the pod's volume",
    "is for Windows",
    "istio-init could not use its settings",
    "emptyDir.mode must",  # a field behind a gate, which the API server drops
)


@pytest.fixture(scope="module")
def judge() -> Iterator[apiserver.Judge]:
    kubeconfig = lab_paths(NAME).kubeconfig
    with apiserver.namespace(kubeconfig):
        asked = apiserver.Judge(kubeconfig)
        yield asked
        asked.api.close()


def injected(pod: dict[str, Any]) -> dict[str, Any] | SidecarLabError:
    """The pod with its sidecar, or the refusal."""
    try:
        return dict(inject(pod, "default", Owner("web", "Pod"), Settings()).template)
    except SidecarLabError as refusal:
        return refusal


def unchecked(pod: dict[str, Any], patch: pytest.MonkeyPatch) -> dict[str, Any] | None:
    """The pod as it would be without our checks; None where none can be made."""
    with patch.context() as without:
        for name in (annotations.USER_VOLUME, annotations.USER_VOLUME_MOUNT):
            without.delitem(annotations.RULES, name)
        without.setattr(added_checks, "check_container", lambda *_: None)
        without.setattr(pod_checks, "check_volumes", lambda *_: None)
        without.setattr(program_checks, "check_init", lambda *_: None)
        without.setattr(pod_types, "faults", lambda *_: ())
        try:
            made = injected(pod)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
    return None if isinstance(made, SidecarLabError) else made


def test_what_is_injected_the_api_server_takes_and_what_is_refused_it_refuses(
    judge: apiserver.Judge, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = dict.fromkeys(("taken", "refused by both", "deliberate", "no pod to ask about"), 0)
    wrong = []
    for number in range(EXAMPLES):
        pod = additions.pod(number)
        made = injected(pod)
        if not isinstance(made, SidecarLabError):
            counts["taken"] += 1
            if (said := judge.dry_run(made)) and not judge.dry_run(pod):
                wrong.append(f"pod {number} is injected, and the API server says: {said}")
            continue
        without = unchecked(pod, monkeypatch)
        if without is None:
            counts["no pod to ask about"] += 1
        elif judge.dry_run(without):
            counts["refused by both"] += 1
        elif any(words in made.message for words in DELIBERATE):
            counts["deliberate"] += 1
        else:
            wrong.append(f"pod {number}, which the API server takes, is refused: {made.message}")
    with capsys.disabled():
        told = ", ".join(f"{count} {what}" for what, count in counts.items())
        print(f"\nadded, judged by the API server: {EXAMPLES} pods: {told}, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
    assert counts["taken"] >= 100
    assert 3 * counts["refused by both"] >= EXAMPLES


def test_the_table_of_types_is_the_api_servers_own(judge: apiserver.Judge) -> None:
    described = judge.api.request("GET", "/openapi/v3/api/v1")["components"]["schemas"]
    core = "io.k8s.api.core.v1."
    for name, fields in pod_types.types().items():
        schema = described[core + name]
        needed = schema.get("required", ())
        wanted = {
            field: _kind(inner, core) + ("!" if field in needed else "")
            for field, inner in schema["properties"].items()
        }
        assert fields == wanted, name


def _kind(schema: dict[str, Any], core: str) -> str:
    schema = {**schema, **schema.get("allOf", [{}])[0]}
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    if name.startswith(core):
        return name.removeprefix(core)
    if name:
        return {"Quantity": "quantity", "IntOrString": "either"}.get(
            name.rpartition(".")[2], "object"
        )
    if schema["type"] == "array":
        return "[" + _kind(schema["items"], core)
    if schema["type"] == "object":
        return "{" + _kind(schema["additionalProperties"], core)
    return {"string": "text", "boolean": "bool", "integer": "int"}[schema["type"]]
