import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import click
import pytest
from click.testing import CliRunner

import lab
from lab import cli
from lab.errors import HostError, ScenarioError
from lab.scenario import cli as scenario_cli


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDECAR_LAB_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(("asked", "wanted"), [([], "sidecar-lab"), (["--mesh", "istio"], "istio")])
def test_a_lab_that_cannot_be_brought_up_still_leaves_reports(
    home: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], wanted: str
) -> None:
    meshes = []

    @click.command()
    @click.option("--name")
    @click.option("--mesh")
    def up(name: str, mesh: str) -> None:
        meshes.append(mesh)
        raise HostError("no Docker here", hint="install it")

    module = ModuleType("lab_that_fails")
    module.up = up  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lab_that_fails", module)
    monkeypatch.setitem(cli.COMMANDS, "up", ("lab_that_fails", "up", "Fails."))
    done = CliRunner().invoke(scenario_cli.e2e, ["--up", *asked])
    assert isinstance(done.exception, HostError)
    assert meshes == [wanted]
    records = home / "sidecar-lab" / "records"
    assert ElementTree.parse(records / "junit.xml").getroot().get("errors") == "1"
    assert "no Docker here" in (records / "report.html").read_text()


def test_the_list_needs_no_lab() -> None:
    done = CliRunner().invoke(scenario_cli.walk, ["--list"])
    assert done.exit_code == 0, done.output
    assert "1. Plain nginx" in done.output


def test_a_walk_to_a_step_that_does_not_exist_is_refused() -> None:
    done = CliRunner().invoke(scenario_cli.walk, ["--to", "99.9"])
    assert isinstance(done.exception, ScenarioError)


def test_a_report_without_records_says_how_to_make_them() -> None:
    done = CliRunner().invoke(scenario_cli.report, [])
    assert isinstance(done.exception, ScenarioError)
    assert "lab e2e" in done.exception.hint


def test_a_page_that_is_not_there_is_not_current(tmp_path: Path) -> None:
    done = CliRunner().invoke(scenario_cli.docs, ["--check", "--page", str(tmp_path / "no.md")])
    assert isinstance(done.exception, ScenarioError)


def test_pytest_that_is_not_installed_is_named_with_the_command_that_installs_it(
    tmp_path: Path,
) -> None:
    text = 'raise ModuleNotFoundError("No module named \'pytest\'", name="pytest")\n'
    (tmp_path / "pytest.py").write_text(text)
    path = os.pathsep.join((str(tmp_path), str(Path(lab.__file__).parents[1])))
    done = subprocess.run(
        [sys.executable, "-m", "lab.scenario"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: this command needs the Python package 'pytest'"
    assert "hint: pip install" in done.stderr
