"""The default run draws the same values whatever is loaded; a search repeats with its seed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

from tests.unit.drawing import EXAMPLES, PACKAGE

ROOT = PACKAGE.parent
PROBE = """
from pathlib import Path
from hypothesis import given, strategies as st
seen = []
@given(st.text(), st.integers(), st.floats(), st.lists(st.sampled_from(["a", "b"])))
def test_draws(text, number, real, many):
    seen.append(repr((text, number, repr(real), many)))
def test_tells():
    Path(__file__).with_suffix(".seen").write_text("\\n".join(seen))
"""
SEARCH = ("--hypothesis-profile=search", "--hypothesis-seed=7")


def drawn(folder: Path, *options: str, loaded: str = "") -> list[str]:
    """What a property draws in a pytest of its own, with more modules loaded."""
    folder.mkdir()
    probe = folder / "test_probe.py"
    probe.write_text(f"{loaded}\n{PROBE}")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    environment = {**os.environ, EXAMPLES: "1000"}
    done = subprocess.run(
        [*argv, "--confcutdir", str(ROOT), "-p", "tests.unit.conftest", *options, str(probe)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return probe.with_suffix(".seen").read_text().splitlines()


LOADED = "import lab.mesh.injector.inject, lab.explain.verdict"


def test_the_default_run_draws_the_same_whatever_is_loaded(tmp_path: Path) -> None:
    one = drawn(tmp_path / "one")
    assert one == drawn(tmp_path / "other", loaded=LOADED)
    assert len(one) >= 100


def test_a_search_repeats_with_its_seed_whatever_is_loaded_and_differs_with_another(
    tmp_path: Path,
) -> None:
    one = drawn(tmp_path / "one", *SEARCH)
    assert one == drawn(tmp_path / "again", *SEARCH, loaded=LOADED)
    assert len(one) >= 1000
    assert one != drawn(tmp_path / "other", SEARCH[0], "--hypothesis-seed=8")
    package = "".join(file.read_text() for file in PACKAGE.rglob("*.py"))
    words = [text for text in (ast.literal_eval(line)[0] for line in one) if len(text) > 5]
    assert any(f'"{word}"' in package for word in words), "no constant of the package was drawn"
