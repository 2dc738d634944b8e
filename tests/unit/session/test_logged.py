"""A session's command runs as it would alone: same output, same terminal, same exit code."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def words(log: Path, code: str, extent: str = "fresh") -> list[str]:
    return [sys.executable, "-m", "lab.session", str(log), extent, sys.executable, "-c", code]


def test_output_and_exit_code_are_the_commands_and_the_log_has_both(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "x.log"
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"
    done = subprocess.run(words(log, code), cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\nerr\n", "")
    kept = log.read_text().splitlines()
    assert kept[:2] == ["out", "err"]
    assert kept[2].endswith("exited 3")
    subprocess.run(words(log, "print(5)", extent="more"), cwd=ROOT, check=True)
    assert log.read_text().splitlines()[3:] == ["5"]
    subprocess.run(words(log, "print(6)"), cwd=ROOT, check=True)
    assert log.read_text() == "6\n"


def test_a_command_that_a_signal_ended_is_told_so(tmp_path: Path) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run(words(tmp_path / "x", code), cwd=ROOT, check=False)
    assert done.returncode == 128 + signal.SIGKILL
    assert "was ended by SIGKILL" in (tmp_path / "x").read_text()


def test_on_a_terminal_the_command_has_one_of_the_same_size(tmp_path: Path) -> None:
    read, write = os.openpty()
    code = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns)"
    environment = {**os.environ, "COLUMNS": "93"}
    done = subprocess.run(
        words(tmp_path / "x", code), cwd=ROOT, stdout=write, env=environment, check=False
    )
    os.close(write)
    assert done.returncode == 0
    assert os.read(read, 1000) == b"True 93\r\n"
    os.close(read)


def test_a_full_output_ends_neither_the_command_nor_the_log(tmp_path: Path) -> None:
    code = "for n in range(5): print(n, flush=True)"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            words(tmp_path / "x", code), cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "x").read_text().split() == list("01234")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_as_it_likes_when_it_is_interrupted(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = (
        "import signal, sys, time\n"
        "def end(*_): print('put back', flush=True); sys.exit(7)\n"
        "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen(
        words(tmp_path / "x", code), cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"up\n"
        if number == signal.SIGINT:
            os.killpg(run.pid, number)  # as a terminal does it
        else:
            run.send_signal(number)
        assert run.stdout.read() == b"put back\n"
        assert run.wait(30) == 7
