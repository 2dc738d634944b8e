"""The exit code that a command names is the program's."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status", "--name", "nobody-made-this"], 3),
        (["explain", "-", "--offline"], 1),
        (["explain", "nothing", "--offline"], 2),
        (["no-such-command"], 2),
        (["--version"], 0),
    ],
)
def test_it_reaches_the_shell(words: list[str], code: int, tmp_path: Path) -> None:
    manifest = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}'
    done = subprocess.run(
        [sys.executable, "-m", "lab", *words],
        input=manifest,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
