"""The plugin as it is used: pytest in a process of its own, on a chapter of local commands."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lab.scenario.run.pytest_plugin import numbers

LITTLE = Path(__file__).parents[1] / "little"
SECOND = '''"""A chapter whose second step fails."""

from lab.scenario import Chapter, Seen, World, expect

chapter = Chapter(2, "Broken", namespace="little-broken", prose=__doc__)


@chapter.step("true")
def first(world: World, seen: Seen) -> None:
    """Holds."""


@chapter.step("true")
def second(world: World, seen: Seen) -> None:
    """Does not."""
    expect(2, "two").equal(3)


@chapter.step("true")
def third(world: World, seen: Seen) -> None:
    """Is not reached."""
'''


def lab_pytest(where: Path, *more: str) -> subprocess.CompletedProcess[str]:
    arguments = ["-p", "lab.scenario.run.pytest_plugin", "-p", "no:cacheprovider", "--tb=no", "-rN"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments, "-c", os.devnull, *more],
        cwd=where,
        env={**os.environ, "SIDECAR_LAB_HOME": str(where / ".lab"), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def scenarios(where: Path) -> list[str]:
    (where / "ch1_files.py").write_text((LITTLE / "ch1_files.py").read_text())
    (where / "ch2_broken.py").write_text(SECOND)
    return [str(where / "ch1_files.py"), str(where / "ch2_broken.py")]


@pytest.mark.parametrize("workers", [[], ["-n", "2", "--dist", "loadfile"]])
def test_one_line_a_step_counts_reports_and_pytests_closing_line(
    tmp_path: Path, workers: list[str]
) -> None:
    done = lab_pytest(tmp_path, "--no-cluster", *workers, *scenarios(tmp_path))
    assert done.returncode == 1, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for start in (
        "ok     1.1   the file has two lines  (proves 1)",
        "ok     1.2   a pipeline ends in a file  (proves 2, 3)",
        "ok     2.1   first",
        "FAILED 2.2   second",
        "not reached 2.3   third",
        "2 chapters, 5 steps: 3 passed, 1 failed, 1 not reached",
        "    expected:     3",
    ):
        assert [line for line in lines if line.startswith(start)], done.stdout
    assert "2 failed, 3 passed" in lines[-1]
    records = tmp_path / ".lab" / "sidecar-lab" / "records"
    root = ElementTree.parse(records / "junit.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("5", "1", "1")
    assert "Not every step holds" in (records / "report.html").read_text()


def test_breaks_are_counted(tmp_path: Path) -> None:
    done = lab_pytest(tmp_path, "--no-cluster", "--breaks", scenarios(tmp_path)[0])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 of 5 breaks turned their step red" in done.stdout
    assert "6 of 6 expectations seen red" in done.stdout


def test_a_step_selected_alone_brings_what_it_stands_on(tmp_path: Path) -> None:
    done = lab_pytest(tmp_path, "--no-cluster", *scenarios(tmp_path), "-k", "1.2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok     1.1 " in done.stdout
    run = json.loads((tmp_path / ".lab/sidecar-lab/records/run.json").read_text())
    assert [step["id"] for step in run["chapters"][0]["steps"]] == ["1.1", "1.2"]


def test_chapters_can_be_chosen(tmp_path: Path) -> None:
    done = lab_pytest(tmp_path, "--no-cluster", "--chapters=1", *scenarios(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 chapters, 2 steps: 2 passed" in done.stdout


@pytest.mark.parametrize("workers", [[], ["-n", "2", "--dist", "loadfile"]])
def test_without_a_lab_one_error_says_so_and_the_reports_are_made(
    tmp_path: Path, workers: list[str]
) -> None:
    done = lab_pytest(tmp_path, *workers, *scenarios(tmp_path))
    assert done.returncode == 1
    told = done.stdout + done.stderr
    assert "there is no lab" in told
    assert "lab up" in told
    records = tmp_path / ".lab" / "sidecar-lab" / "records"
    assert ElementTree.parse(records / "junit.xml").getroot().get("errors") == "1"
    assert "there is no lab" in (records / "report.html").read_text()


def test_a_chapter_that_cannot_be_read_is_named_on_the_terminal_and_in_the_reports(
    tmp_path: Path,
) -> None:
    files = scenarios(tmp_path)
    (tmp_path / "ch2_broken.py").write_text(SECOND.replace('"""Holds."""', "pass"))
    done = lab_pytest(tmp_path, "--no-cluster", *files)
    assert done.returncode == 2, done.stdout + done.stderr
    records = tmp_path / ".lab" / "sidecar-lab" / "records"
    for text in (done.stdout, (records / "report.html").read_text()):
        assert "not every chapter can be read" in text
        assert "step 2.1 (first) has no docstring" in text


def test_numbers_and_ranges_of_chapters() -> None:
    assert numbers("1,3-5") == {1, 3, 4, 5}
    assert numbers("") == frozenset()
    with pytest.raises(pytest.UsageError):
        numbers("x")
