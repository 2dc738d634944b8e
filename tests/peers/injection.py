"""kube-inject, ours and real Istio's, on every manifest of the corpus: compared by meaning."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from lab.cluster.images.istio_programs import IstioBinaries
from lab.mesh import workloads
from lab.mesh.errors import DocumentErrors
from lab.mesh.injector import files
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import documents, yaml_reader
from lab.progress import Progress
from tests.peers.cases import Case, corpus
from tests.peers.injection_accepted import ROWS
from tests.peers.injection_rows import Row
from tests.peers.istioctl import Answer, Injector, pieces
from tests.peers.meaning import ABSENT, Difference, differences, is_injected, of_object
from tests.peers.result import Accepted, Result

WHAT: Final = "manifests"
_NAMED: Final = re.compile(r"for annotation '([^']+)'")


def compare(binaries: IstioBinaries, progress: Progress) -> Result:
    """Inject the corpus twice, and explain what differs."""
    cases = corpus()
    found: list[Difference] = []
    with tempfile.TemporaryDirectory() as folder, progress.task("kube-inject, both") as task:
        task.update("configuring istioctl")
        peer = Injector(binaries.istioctl, Path(folder))
        for done, (case, theirs) in enumerate(
            zip(cases, peer.inject_all(cases), strict=True), start=1
        ):
            found += judge(case, theirs)
            task.update(case.name, done=done, total=len(cases))
    return explain(len(cases), found, ROWS)


def explain(compared: int, found: Sequence[Difference], rows: Sequence[Row]) -> Result:
    """Each difference goes to the first row that accepts it; a row without any is a fault."""
    counts = dict.fromkeys((row.name for row in rows), 0)
    unexplained = []
    for difference in found:
        row = next((row for row in rows if row.accepts(difference)), None)
        if row:
            counts[row.name] += 1
        else:
            unexplained.append(str(difference))
    unexplained += (
        f"the table of accepted differences: nothing is {name!r} any more"
        for name, count in counts.items()
        if not count
    )
    accepted = tuple(Accepted(row.name, row.reason, counts[row.name]) for row in rows)
    return Result(WHAT, compared, accepted, tuple(unexplained))


def judge(case: Case, theirs: Answer) -> Iterator[Difference]:
    """What differs for one manifest."""
    try:
        outcome = files.inject_files([(case.name, case.text)], Settings())
    except DocumentErrors as refused:
        yield from _both_refused(case, refused.message, theirs)
        return
    yield from _kept(case, outcome)
    ours = [document.value for document in outcome.files[0] if document.value is not None]
    if theirs.refusal is not None:
        yield Difference(case.name, "refused", ABSENT, theirs.refusal, ours[0] if ours else {})
        return
    read = [yaml_reader.read(piece).value for piece in pieces(theirs.output)]
    peers = [value for value in read if value is not None]
    given = [one.value for one in documents.read(case.text, case.name) if one.value is not None]
    if len(ours) != len(peers):
        yield Difference(case.name, "documents", len(ours), len(peers), {})
    # What is written counts, not what was meant to be written.
    written = documents.read("".join(outcome.text()).encode(), case.name)
    mine = [document.value for document in written if document.value is not None]
    for before, one, other in zip(given, mine, peers, strict=False):
        for path, here, there in compared(of_object(one), of_object(other)):
            yield Difference(case.name, path, here, there, before)


def compared(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """As `differences`; of a pod that only one of both injected, only that is told."""
    mine, peers = is_injected(ours), is_injected(theirs)
    if mine != peers:
        yield "injected", mine, peers
        return
    yield from differences(ours, theirs)


def _both_refused(case: Case, said: str, theirs: Answer) -> Iterator[Difference]:
    given = _first_object(theirs.output)
    if theirs.refusal is None:
        yield Difference(case.name, "refused", said, ABSENT, given)
        return
    for name in _NAMED.findall(theirs.refusal):
        if name not in said:
            yield Difference(case.name, "refused for", said, name, given)


def _first_object(text: str) -> dict[str, Any]:
    found = [yaml_reader.read(piece).value for piece in pieces(text)]
    return next((value for value in found if isinstance(value, dict)), {})


def _kept(case: Case, outcome: files.Outcome) -> Iterator[Difference]:
    """A document without a pod comes out byte for byte."""
    before = documents.read(case.text, case.name)
    for old, new in zip(before, outcome.files[0], strict=True):
        changed = old.text != new.text
        if changed and (new.value is None or new.value.get("kind") not in workloads.API_VERSIONS):
            yield Difference(case.name, "bytes", new.text, old.text, old.value or {})
