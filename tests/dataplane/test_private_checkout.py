"""These tests in a checkout that only its owner may enter: a private home, umask 077, odd letters.

The owner is neither root nor a user of the tests, so that whatever runs as another user, or as root
without the right to enter every folder, finds nothing there.
"""

import os
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataplane.everyones import ROOT

pytestmark = pytest.mark.dataplane

OWNER = 4711
MADE_HERE = (
    ".git",
    ".nox",
    ".lab",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "*_cache",
    "__pycache__",
)
"""What a clone does not have, or what is of no use to a copy of one."""
FILES = ("tests/dataplane/test_paths.py", "tests/dataplane/test_init_program.py")
LONG = "not flag_set and not killed and not part_of_the_rules"
"""Left out: they run one program, as root, again and again."""


@pytest.fixture
def checkout(tools: None) -> Iterator[Path]:
    """A copy of this checkout with an environment of its own, in a folder of mode 0700."""
    before = os.umask(0o077)
    home = Path(tempfile.mkdtemp(prefix="private-"))
    try:
        made = home / "a clone, Größe 1"
        shutil.copytree(
            ROOT, made, ignore=shutil.ignore_patterns(*MADE_HERE), copy_function=shutil.copyfile
        )
        environment = made / ".nox" / "env"
        venv.create(environment, symlinks=True)
        (found,) = environment.glob("lib/python*/site-packages")
        here = Path(pytest.__file__).parents[1]
        (found / "packages.pth").write_text(f"{here}\n", "utf-8")
        for path in (home, *home.rglob("*")):
            os.chown(path, OWNER, OWNER, follow_symlinks=False)
        yield made
    finally:
        os.umask(before)
        shutil.rmtree(home)


def test_every_test_that_runs_as_somebody_else_reaches_its_code(checkout: Path) -> None:
    assert checkout.parent.stat().st_mode & 0o777 == 0o700
    assert (checkout / "lab" / "mesh" / "contract.py").stat().st_mode & 0o777 == 0o600
    argv = [str(checkout / ".nox/env/bin/python"), "-m", "pytest", "-q", "-m", "dataplane"]
    done = subprocess.run(
        [*argv, *FILES, "-k", LONG, "-p", "no:cacheprovider"],
        cwd=checkout,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert _imported(checkout) == checkout / "lab" / "__init__.py"
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def _imported(checkout: Path) -> Path:
    argv = [str(checkout / ".nox/env/bin/python"), "-c", "import lab; print(lab.__file__)"]
    done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
