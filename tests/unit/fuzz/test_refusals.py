"""The table of deliberate refusals: each row is met by its sample, and by no other row's."""

from pathlib import Path

import pytest

from tests.fuzz import files, refusals
from tests.fuzz.refusals import REFUSALS, Refusal


@pytest.mark.parametrize("row", REFUSALS, ids=lambda one: one.name)
def test_each_sample_is_refused_in_the_words_of_its_row(row: Refusal, tmp_path: Path) -> None:
    for sample in row.samples:
        said = files.refused(sample.encode(), tmp_path)
        assert refusals.refusal_of(said) is row, said


def test_what_the_table_does_not_hold_is_no_deliberate_refusal(tmp_path: Path) -> None:
    said = files.refused(refusals.POD.encode(), tmp_path)
    assert said
    assert refusals.refusal_of(said) is None
    assert files.refused(refusals.APP.encode(), tmp_path) == ""


class Taking:
    """An API server that takes whatever it is given."""

    def dry_run_text(self, kind: str, body: bytes, *, is_json: bool, strict: bool) -> object:
        return {}


class Refusing:
    """An API server that refuses everything, as in a reason that has outlived itself."""

    def dry_run_text(self, kind: str, body: bytes, *, is_json: bool, strict: bool) -> object:
        return "422 no"


def test_a_reason_that_is_no_longer_true_is_told(tmp_path: Path) -> None:
    def said(data: bytes) -> str:
        return files.refused(data, tmp_path)

    def told(judge: object, kubectl: str) -> list[str]:
        return list(refusals.untrue(said, judge, lambda manifest: kubectl))  # type: ignore[arg-type]

    assert told(Taking(), "no") == ["too many annotations: a larger one is taken"]
    by_kubectl = [
        one.name for one in REFUSALS if one.truth == "refused by kubectl" for _ in one.samples
    ]
    taken = [f"{name}: kubectl takes it" for name in by_kubectl]
    assert [one for one in told(Taking(), "") if "kubectl" in one] == taken
    samples = sum(len(one.samples) for one in REFUSALS)
    assert len(told(Refusing(), "no")) == samples - len(by_kubectl)
    assert all("injected" in one for one in refusals.untrue(lambda _: "", Taking(), str))  # type: ignore[arg-type]
