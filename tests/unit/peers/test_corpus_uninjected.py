"""Out is as in, for every manifest of the corpus: an injection can be undone by meaning."""

import json

import pytest

from lab.mesh import contract
from lab.mesh.errors import DocumentErrors
from lab.mesh.injector import files
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import documents
from tests.peers.cases import Case, corpus
from tests.peers.meaning import differences, of_object

CASES = [case for case in corpus() if contract.STATUS_ANNOTATION.encode() not in case.text]
"""Of what another injector left behind, the original is not known."""


def refused(case: Case) -> bool:
    """Whether there is nothing to undo; the comparison with Istio judges refusals."""
    try:
        files.inject_files([(case.name, case.text)], Settings())
    except DocumentErrors:
        return True
    return False


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    "case", [one for one in CASES if not refused(one)], ids=lambda case: case.name
)
def test_what_was_injected_comes_back(case: Case, native: bool) -> None:
    settings = Settings(native_sidecar=native)
    injected = files.inject_files([(case.name, case.text)], settings)
    text = "".join(injected.text()).encode()
    again = files.inject_files([(case.name, text)], settings)
    assert "".join(again.text()).encode() == text
    out = files.uninject_files([(case.name, text)])
    assert out.injected == injected.injected
    before = [one.value for one in documents.read(case.text, case.name) if one.value is not None]
    after = [one.value for one in out.files[0] if one.value is not None]
    assert len(before) == len(after)
    for given, back in zip(before, after, strict=True):
        found = list(differences(of_object(given), of_object(back)))
        assert not found, json.dumps(back)[:2000]
