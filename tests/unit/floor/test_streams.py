"""What befalls a program's streams or ends it by a signal is one line, and an exit code."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LITTLE = Path(__file__).parents[1] / "scenario" / "little" / "ch1_files.py"
LAB = [sys.executable, "-m", "lab"]
STEPS = [
    *(
        sys.executable,
        "-m",
        "lab.scenario",
        "-p",
        "lab.scenario.run.pytest_plugin",
        "-p",
        "no:cacheprovider",
    ),
    *("--tb=no", "-rN", "-c", os.devnull, "--no-cluster", str(LITTLE)),
]
COMMANDS = {
    "status": [*LAB, "status"],
    "status for programs": [*LAB, "status", "--json"],
    "walk": [*LAB, "walk", "--list"],
    "help": [*LAB, "--help"],
    "down": [*LAB, "down", "--help"],
    "version": [*LAB, "--version"],
    "explain": [*LAB, "explain", "pod.json", "--offline"],
    "kube-inject": [*LAB, "kube-inject", "-f", "pod.json"],
    "kube-inject through click": [*LAB, "kube-inject", "--filename=pod.json"],
    "chapters": STEPS,
    "chapters side by side": [*STEPS, "-n", "2", "--dist", "loadfile"],
}
POD = """{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
"spec": {"containers": [{"name": "a", "image": "i"}]}}"""

every = pytest.mark.parametrize("argv", COMMANDS.values(), ids=list(COMMANDS))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pod.json").write_text(POD)
    monkeypatch.setenv("SIDECAR_LAB_HOME", str(tmp_path / ".lab"))
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@every
def test_a_full_disk_behind_standard_output_is_one_line(argv: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    first, *more = done.stderr.splitlines()
    assert first == "error: standard output cannot be written: No space left on device"
    assert [line.partition(":")[0] for line in more] == ["hint"]


@every
def test_a_closed_standard_output_is_one_line_and_no_other_file_takes_its_place(
    argv: list[str],
) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *argv], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 1
    first, *more = done.stderr.splitlines()
    assert first == "error: standard output cannot be written: it is closed"
    assert [line.partition(":")[0] for line in more] == ["hint"]


@every
def test_a_reader_that_went_away_ends_it_as_it_ends_other_tools(argv: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(argv, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 141
    assert done.stderr == ""


def test_closed_input_and_errors_keep_nothing_from_being_said() -> None:
    words = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *LAB, "kube-inject", "-f", "pod.json"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "istio-proxy" in done.stdout


WAITS = """
import sys, time
from lab import cli, start
import click
@click.command()
def up():
    print("begun", flush=True)
    time.sleep(60)
cli.lab.add_command(up)
cli.LazyGroup.get_command = lambda self, context, name: up
sys.argv = ["lab", "up"]
start.main()
"""


def _as_in_a_terminal() -> None:
    # A test run in the background, or under nohup, ignores these, and would hand that down.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def waiting(*before: str) -> "subprocess.Popen[str]":
    argv = [*before, sys.executable, "-c", WAITS]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True, preexec_fn=_as_in_a_terminal
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_interrupt_ends_a_command_in_good_order(number: signal.Signals) -> None:
    with waiting() as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.strip().splitlines()[0] == "error: interrupted"
    assert "continues where this one stopped" in said


def test_nohup_keeps_a_command_alive() -> None:
    with waiting("nohup") as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        assert process.wait(30) == 130


def test_a_fault_that_nobody_foresaw_is_one_line_and_a_file() -> None:
    code = WAITS.replace('print("begun", flush=True)', 'raise RuntimeError("odd\\nvery odd")')
    argv = [sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first == "error: internal error of the lab: RuntimeError: odd"
    file = Path(second.removeprefix("hint: the complete traceback is in "))
    assert "Traceback" in file.read_text()
