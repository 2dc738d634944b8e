"""An installation without the extra says so, whichever command is called."""

import subprocess
import sys

import pytest

WITHOUT = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'psutil', 'filelock', 'httpx', 'rich'}:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Lacking())
sys.argv = ['lab', *sys.argv[1:]]
from lab.cli import main
main()
"""


@pytest.mark.parametrize("command", ["up", "down", "status", "doctor", "walk"])
def test_a_command_without_its_packages_ends_with_an_error_and_the_way_to_install(
    command: str,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "error: this command needs the Python package" in done.stderr
    assert "hint: pip install 'sidecar-lab[lab]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_kube_inject_needs_none_of_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, "kube-inject", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
