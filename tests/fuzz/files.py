"""A mutated file of manifests given to `lab kube-inject`, and what is wrong with what it did."""

import contextlib
import gc
import io
import json
import re
from pathlib import Path
from typing import Any, Final

from lab.kube_inject.cli import kube_inject
from lab.mesh.errors import SidecarLabError
from lab.mesh.manifest import documents
from lab.mesh.manifest.documents import Document
from lab.mesh.workloads import API_VERSIONS, WORKLOADS
from tests.fuzz import refusals
from tests.fuzz.apiserver import Judge
from tests.fuzz.reviews import Verdict, brought

NAME: Final = "case.yaml"
_PLACE: Final = re.compile(rf"\S*{re.escape(NAME)}(:\d+)?(, document \d+)?(, field [^\n]+?)?: .")
_VOLATILE: Final = ("uid", "creationTimestamp", "managedFields", "name", "generation")


def judge(data: bytes, folder: Path, judge_of_texts: Judge | None) -> Verdict:
    """Run the command in this process and look at its output or its refusal."""
    source, target = folder / NAME, folder / "out.yaml"
    source.write_bytes(data)
    target.unlink(missing_ok=True)
    if refusal := _run(source, target):
        if target.exists():
            return Verdict("refused", "refused, and yet it wrote output")
        return _refused(refusal, data, judge_of_texts)
    result = target.read_bytes()
    source.write_bytes(result)
    if refusal := _run(source, target):
        return Verdict("written", f"its own output is refused: {refusal[:400]}")
    if (twice := target.read_bytes()) != result:
        at = next(
            (n for n, pair in enumerate(zip(result, twice, strict=False)) if len(set(pair)) > 1), 0
        )
        return Verdict("written", f"injected again it changes: {result[at - 60 : at + 60]!r}")
    before, after = documents.read(data, NAME), documents.read(result, NAME)
    if len(before) != len(after):
        return Verdict("written", f"{len(before)} documents became {len(after)}")
    changed = 0
    for one, other in zip(before, after, strict=True):
        if one.text == other.text:
            continue
        changed += 1
        if one.value is None or one.value["kind"] not in API_VERSIONS:
            return Verdict("written", f"document {one.number} is no workload, and was changed")
    if not changed:
        return Verdict("passed", "" if result == data else "nothing to inject, and not as it was")
    if judge_of_texts is None:
        return Verdict("injected")
    return _asked(before, after, judge_of_texts)


def refused(data: bytes, folder: Path) -> str:
    """What the command refuses a manifest with, "" when it writes its output."""
    source = folder / NAME
    source.write_bytes(data)
    return _run(source, folder / "out.yaml")


def _run(source: Path, target: Path) -> str:
    """What the command refuses with, "" when it wrote its output."""
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            kube_inject.main(["-f", str(source), "-o", str(target)], standalone_mode=False)
        except SidecarLabError as error:
            return error.message
        finally:
            gc.enable()  # the command ends with its process, this one goes on
    return ""


def _refused(message: str, data: bytes, judge: Judge | None) -> Verdict:
    told = message.split("\n")
    if len(told) > 1 and "mistakes" in told[0]:
        told = told[1:]
    place = _PLACE.match(told[0].strip())
    if not place or not any(place.groups()):
        return Verdict("refused", f"names no line, document or field: {message[:300]}")
    if judge is None or (kind := _lone_kind(data)) is None:
        return Verdict("refused")
    if refusals.refusal_of(message):
        return Verdict("refused, on purpose more strictly than an API server")
    # As kubectl asks: unknown and doubled fields are mistakes.
    said = judge.dry_run_text(kind, data, is_json=data.lstrip().startswith(b"{"), strict=True)
    if not isinstance(said, str):
        return Verdict("refused", f"the API server takes it: {message[:300]}")
    return Verdict("refused, the API server too")


def _lone_kind(data: bytes) -> str | None:
    """The kind that a text of one document plainly names."""
    if re.search(rb"(?m)^(---|\.\.\.)", data[1:]):
        return None
    found = re.findall(rb"(?m)^kind: (\w+)\r?$", data)
    kind = found[0].decode() if len(found) == 1 else ""
    return kind if kind in WORKLOADS else None


def _asked(before: list[Document], after: list[Document], judge: Judge) -> Verdict:
    """The API server's own reading of the texts, plain and injected, of each lone workload."""
    outcome = "injected, the API server takes neither"
    for one, other in zip(before, after, strict=True):
        if one.text == other.text or one.value["kind"] not in WORKLOADS:
            continue
        kind = one.value["kind"]
        plain = judge.dry_run_text(kind, one.text.encode(), is_json=one.is_json)
        if isinstance(plain, str):
            continue
        ours = judge.dry_run_text(kind, json.dumps(one.value).encode(), is_json=True)
        if isinstance(ours, str) or _steady(ours) != _steady(plain):
            return Verdict("injected", f"read otherwise than the API server does: {ours!s:.300}")
        made = judge.dry_run_text(kind, other.text.encode(), is_json=other.is_json)
        if isinstance(made, str):
            if brought(WORKLOADS[kind].pod_in(ours), made):
                return Verdict("what an annotation brought is refused by the API server")
            return Verdict("injected", f"the API server takes it plain, but injected: {made[:400]}")
        outcome = "injected, the API server takes it"
    return Verdict(outcome)


def _steady(made: dict[str, Any]) -> dict[str, Any]:
    """An object without what differs between two creations."""
    metadata = {k: v for k, v in made["metadata"].items() if k not in _VOLATILE}
    labels = ("controller-uid", "batch.kubernetes.io/controller-uid")
    text = json.dumps({**made, "metadata": metadata}, sort_keys=True)
    for label in labels:
        text = re.sub(rf'"{label}": "[^"]*"', "", text)
    volumes = re.sub(r"kube-api-access-\w+", "kube-api-access", text)
    return {"text": volumes}
