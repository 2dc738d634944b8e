"""The last lines of a run of nox: which session failed, in which test, and where its log is."""

from pathlib import Path

import pytest

from lab.session.summary import Session, closing, failures, not_run, plain

PYTEST = """\
FAILED in some captured output of a test
=================== short test summary info ===================
SKIPPED [78] tests/dataplane/conftest.py:31: they make network namespaces, which needs root
SKIPPED [1] tests/unit/x.py: Skipped: no such kernel
FAILED tests/unit/x.py::test_y[a b] - AssertionError: 1 == 2
ERROR tests/unit/z.py::test_w - RuntimeError
1 failed, 1 error in 0.1s
session: `pytest -q` exited 1
"""
CHAPTERS = """\
FAILED        2.2   a new pod takes over  4.3 s

FAILED 2.2 a new pod takes over
  expected READY to be 2/2

8 chapters, 48 steps: 1 passed, 1 failed, 46 not reached
session: `lab e2e --up` exited 1
"""
NAMED = [
    "tests/unit/x.py::test_y[a b] - AssertionError: 1 == 2",
    "tests/unit/z.py::test_w - RuntimeError",
]


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (PYTEST, NAMED),
        (CHAPTERS, ["2.2 a new pod takes over"]),
        (
            "error: there is no lab\nhint: lab up\nsession: `lab e2e` exited 3\n",
            ["there is no lab"],
        ),
        ("a.py:1: error: x\nsession: `mypy` exited 1\n", ["`mypy` exited 1"]),
        ("", []),
    ],
)
def test_what_failed_is_found_in_the_log(log: str, found: list[str]) -> None:
    assert failures(log) == found


def test_tests_not_run_are_counted_by_reason() -> None:
    reasons = [(78, "they make network namespaces, which needs root"), (1, "no such kernel")]
    assert not_run(PYTEST) == reasons


def test_colours_and_moves_of_a_terminal_are_no_part_of_a_name() -> None:
    assert plain("\x1b[31mFAILED\x1b[0m x\x1b[2K\r\n\x1b]0;title\x07") == "FAILED x\n"


def test_each_failure_is_one_line_with_session_test_and_log(tmp_path: Path) -> None:
    logs = {"lint": "", "unit": PYTEST, "e2e": CHAPTERS}
    sessions = []
    for name, text in logs.items():
        file = tmp_path / f"{name}.log"
        file.write_text(text)
        sessions.append(Session(name, str(file), good=name == "lint"))
    assert closing(sessions) == [
        "ok       lint",
        "NOT RUN  unit: 78 tests, because they make network namespaces, which needs root",
        "NOT RUN  unit: 1 test, because no such kernel",
        f"FAILED   unit: {NAMED[0]}  (log: {tmp_path}/unit.log)",
        f"FAILED   unit: {NAMED[1]}  (log: {tmp_path}/unit.log)",
        f"FAILED   e2e: 2.2 a new pod takes over  (log: {tmp_path}/e2e.log)",
    ]


@pytest.mark.parametrize(
    ("last", "idle"), [("79 skipped", True), ("3 passed, 79 skipped", False), ("1 passed", False)]
)
def test_a_session_none_of_whose_tests_ran_is_not_ok(tmp_path: Path, last: str, idle: bool) -> None:
    log = tmp_path / "data-plane.log"
    log.write_text(f"SKIPPED [79] tests/x.py:3: no root\n===== {last} in 0.10s =====\n")
    told = closing([Session("data-plane", str(log), good=True), Session("lint", "", good=True)])
    assert told == [
        "ok       lint" if idle else "ok       data-plane, lint",
        "NOT RUN  data-plane: 79 tests, because no root",
    ]


def test_a_session_that_did_all_it_should_needs_no_closing_line(tmp_path: Path) -> None:
    good = Session("unit", str(tmp_path / "no.log"), good=True)
    assert closing([good]) == []
    assert closing([good, good]) == ["ok       unit, unit"]


def test_of_very_many_failures_the_first_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    log = tmp_path / "unit.log"
    log.write_text("".join(f"FAILED tests/x.py::test_{n}\n" for n in range(30)))
    lines = closing([Session("unit", str(log), good=False)])
    assert len(lines) == 21
    assert lines[-1] == f"FAILED   unit: 10 more  (log: {log})"
