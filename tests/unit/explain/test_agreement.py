"""`lab explain --offline` says what `lab kube-inject` does: injected, plain or refused."""

import gc
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from lab.explain.cli import explain
from lab.explain.situation import proxy_of
from lab.kube_inject.run import KubeInjectRequest, run
from lab.mesh.errors import DocumentError, DocumentErrors
from lab.mesh.injector import files
from lab.mesh.manifest import documents
from tests.unit.explain.drawn import manifest
from tests.unit.explain.sample import pod_of

COUNT: Final = 1000
REASONS: Final = 40
"""Different refusals among the generated manifests at least."""
SAYS: Final = {
    "cannot tell": "injected",  # the injector says yes; whether it is asked is not known offline
    "would be injected": "injected",
    "injected": "injected",
    "would not be injected": "plain",
    "cannot be created": "refused",
}


@pytest.fixture(autouse=True)
def _collecting() -> Iterator[None]:
    yield
    gc.enable()  # kube-inject ends with its process, this one goes on


def injected(file: Path) -> list[str] | DocumentErrors:
    """What kube-inject makes of each pod of a file, in order; or why it refuses the file."""
    output = file.with_suffix(".out")
    try:
        run(KubeInjectRequest((str(file),), str(output)))
    except DocumentErrors as refused:
        assert not output.exists()
        return refused
    read = documents.read(output.read_bytes(), "out")
    output.unlink()
    held = [one for document in read for one in files.survey(document)[0]]
    return ["injected" if proxy_of(one.template) else "plain" for one in held]


def explained(file: Path) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(explain, [str(file), "--offline", "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout)["explanations"]


def disagreement(file: Path) -> tuple[str, tuple[DocumentError, ...], str]:
    """The verdict on a file, why it is refused, and how the two differ ("" if they agree)."""
    made, (code, told) = injected(file), explained(file)
    said = [SAYS[one["verdict"]] for one in told if one["cause"] != "not-a-pod"]
    if isinstance(made, DocumentErrors):
        if "refused" not in said or code != 1:
            return "refused", made.errors, f"refused for {made.message}, explained as {said} {code}"
        words = "\n".join(one["sentence"] for each in told for one in (each, *each["also"]))
        silent = [one.problem for one in made.errors[:1] if one.problem not in words]
        return "refused", made.errors, f"not told: {silent}" if silent else ""
    verdict = "injected" if "injected" in made else "plain"
    return verdict, (), "" if said == made else f"{made}, explained as {said}"


def reason(error: DocumentError) -> str:
    """What refusals of one kind have in common."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "#", error.problem)[:80]


@pytest.mark.parametrize(
    ("annotations", "spec"),
    [
        ({"traffic.sidecar.istio.io/excludeOutboundIPRanges": "169.254.169.254"}, {}),
        ({"sidecar.istio.io/logLevel": "loud"}, {}),
        ({"inject.istio.io/templates": "gateway"}, {}),
        ({"sidecar.istio.io/proxyCPU": "2", "sidecar.istio.io/proxyCPULimit": "1"}, {}),
        ({"sidecar.istio.io/userVolume": "[1]"}, {}),
        ({}, {"os": {"name": "windows"}}),
    ],
    ids=["range", "log level", "template", "limit below request", "volumes", "Windows"],
)
@pytest.mark.parametrize("kind", ["Pod", "CronJob"])
def test_what_kube_inject_refuses_is_a_no_in_the_headline(
    annotations: dict[str, str], spec: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    pod = pod_of(annotations=annotations, spec=spec)
    pod["metadata"]["name"] = "web"
    whole = {"apiVersion": "v1", "kind": "Pod", **pod}
    if kind == "CronJob":
        job = {"spec": {"template": pod}}
        whole = {"apiVersion": "batch/v1", "kind": kind, "spec": {"jobTemplate": job}}
    file = tmp_path / "app.json"
    file.write_text(json.dumps(whole))
    assert isinstance(injected(file), DocumentErrors)
    code, (told,) = explained(file)
    assert (code, told["verdict"]) == (1, "cannot be created")
    (deciding,) = (one for one in told["lines"] if one["decides"])
    assert (deciding["key"], deciding["answer"]) == ("annotations", "no")


def test_explain_and_kube_inject_agree_on_a_thousand_generated_manifests(tmp_path: Path) -> None:
    file = tmp_path / "drawn.yaml"
    wrong, verdicts, reasons = {}, Counter[str](), Counter[str]()
    for number in range(COUNT):
        file.write_bytes(manifest(number))
        verdict, errors, differ = disagreement(file)
        verdicts[verdict] += 1
        reasons.update(map(reason, errors))
        if differ:
            wrong[number] = differ
    assert not wrong
    figures = f"{dict(verdicts)}, {len(reasons)} reasons"
    print(figures)
    assert verdicts["refused"] >= COUNT / 3, figures
    assert min(verdicts["injected"], verdicts["plain"]) >= COUNT / 20, figures
    assert len(reasons) >= REASONS, figures
