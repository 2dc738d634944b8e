import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.records.model import (
    ChapterRecord,
    RecordError,
    RunRecord,
    StepRecord,
    from_json,
    to_json,
)
from lab.records.store import load_chapters, load_run, save_chapter, save_run


@given(st.builds(RunRecord))
def test_any_run_survives_json(run: RunRecord) -> None:
    # As text: a number that is not one (which hypothesis makes) does not equal itself.
    assert to_json(from_json(RunRecord, to_json(run))) == to_json(run)


def test_a_full_run_survives_json(sample: ModuleType) -> None:
    assert from_json(RunRecord, to_json(sample.RUN)) == sample.RUN


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_any_other_json_is_refused_not_misread(data: object) -> None:
    with pytest.raises(RecordError):
        from_json(StepRecord, json.dumps(data))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seconds": "1"}, "StepRecord.seconds"),
        ({"proves": [True]}, r"StepRecord\.proves\[0\]"),
        ({"outcome": "skipped"}, "StepRecord.outcome"),
        ({"surprise": 1}, "surprise"),
        ({"commands": [{}]}, r"StepRecord\.commands\[0\]"),
    ],
)
def test_a_damaged_record_says_where(
    sample: ModuleType, change: dict[str, object], named: str
) -> None:
    data = json.loads(to_json(sample.PASSED)) | change
    with pytest.raises(RecordError, match=named):
        from_json(StepRecord, json.dumps(data))


def test_what_was_not_reached_counts_against_the_run(sample: ModuleType) -> None:
    run: RunRecord = sample.RUN
    assert (run.count("passed"), run.count("failed"), run.count("not reached")) == (1, 1, 1)
    assert not run.passed
    assert run.break_counts == (1, 1)


def test_a_run_in_which_nothing_ran_did_not_pass(sample: ModuleType) -> None:
    assert not replace(sample.RUN, chapters=()).passed


def test_chapters_are_kept_per_run(sample: ModuleType, tmp_path: Path) -> None:
    one, two, _ = sample.RUN.chapters
    save_chapter(tmp_path, replace(two, run="other"))
    save_chapter(tmp_path, one)
    (tmp_path / "chapters" / "99.json").write_text("{}")
    assert [c.number for c in load_chapters(tmp_path)] == [1, 2]
    assert load_chapters(tmp_path, "abc") == (one,)
    assert from_json(ChapterRecord, to_json(one)) == one


def test_a_run_is_read_back(sample: ModuleType, tmp_path: Path) -> None:
    save_run(tmp_path, sample.RUN)
    assert load_run(tmp_path) == sample.RUN
