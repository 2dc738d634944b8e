"""The runtime drops exactly what the bounding set lacks, and touches nothing else."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cluster.docker import capability_shim as shim

names = st.sampled_from([*shim.NAMES, "CAP_FROM_THE_FUTURE"])
kinds = st.sampled_from(["bounding", "effective", "permitted", "inheritable", "ambient"])
capabilities = st.dictionaries(kinds, st.lists(names, max_size=45))
bounding = st.frozensets(st.sampled_from(shim.NAMES))
VERBS = ("create", "run", "exec")


def document(verb: str, asked: dict[str, list[str]]) -> dict[str, object]:
    process: dict[str, object] = {"args": ["sh"], "cwd": "/", "capabilities": asked}
    return process if verb == "exec" else {"ociVersion": "1.0", "process": process, "root": {}}


def inside(verb: str, changed: object) -> dict[str, object]:
    assert isinstance(changed, dict)
    process = changed if verb == "exec" else changed["process"]
    assert isinstance(process, dict)
    return process


@given(st.sampled_from(VERBS), capabilities, bounding)
def test_only_what_is_lacking_goes_and_the_order_stays(
    verb: str, asked: dict[str, list[str]], has: frozenset[str]
) -> None:
    changed = shim.edited(document(verb, asked), verb, has)
    kept = inside(verb, changed)["capabilities"]
    assert isinstance(kept, dict)
    for kind, wanted in asked.items():
        lacking = set(shim.NAMES) - has
        assert kept[kind] == [name for name in wanted if name not in lacking]


@given(st.sampled_from(VERBS), capabilities)
def test_a_whole_machine_changes_nothing(verb: str, asked: dict[str, list[str]]) -> None:
    before = document(verb, asked)
    assert shim.edited(before, verb, frozenset(shim.NAMES)) is before


@given(st.sampled_from(VERBS), capabilities, bounding)
def test_everything_else_of_the_file_stays(
    verb: str, asked: dict[str, list[str]], has: frozenset[str]
) -> None:
    before = document(verb, asked)
    after = json.loads(json.dumps(shim.edited(before, verb, has)))
    inside(verb, after)["capabilities"] = asked
    assert after == before


@given(st.integers(0, 2**41 - 1))
def test_the_bounding_set_is_read_bit_by_bit(bits: int) -> None:
    has = shim.bounding_set(f"Name:\tx\nCapEff:\t0\nCapBnd:\t{bits:016x}\n")
    assert has == {name for bit, name in enumerate(shim.NAMES) if bits & (1 << bit)}


def test_a_status_without_the_line_is_refused() -> None:
    with pytest.raises(ValueError, match="CapBnd"):
        shim.bounding_set("Name:\tx\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("create --bundle /b --pid-file p id", ("create", "/b/config.json")),
        (
            "--root /r --log /l --log-format json create --bundle=/b id",
            ("create", "/b/config.json"),
        ),
        ("run -b /b id", ("run", "/b/config.json")),
        ("run id", ("run", "/here/config.json")),
        ("--root run --log create exec --process /p.json id", ("exec", "/p.json")),
        ("exec -p p.json -d id", ("exec", "/here/p.json")),
        ("exec id sh create", None),
        ("delete --force run", None),
        ("--version", None),
        ("", None),
    ],
)
def test_the_file_to_edit_is_found_in_any_command_line(
    words: str, expected: tuple[str, str] | None
) -> None:
    found = shim.file_to_edit(words.split(), "/here")
    assert (found and (found[0], str(found[1]))) == expected


@pytest.mark.parametrize("verb", ["create", "exec"])
def test_run_as_docker_runs_it(tmp_path: Path, verb: str) -> None:
    """As one file, by a bare interpreter; the real runtime gets every word unchanged."""
    has = shim.bounding_set(Path("/proc/self/status").read_text())
    asked = {"bounding": list(shim.NAMES)}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(document(verb, asked)))
    runc = tmp_path / "runc"
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    runc.chmod(runc.stat().st_mode | stat.S_IXUSR)
    words = ["--root", "/r", verb]
    words += ["--bundle", str(tmp_path)] if verb == "create" else ["--process", str(file)]
    words += ["id"]
    done = subprocess.run(
        [sys.executable, "-I", "-S", shim.__file__, str(runc), *words],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.split() == words
    kept = inside(verb, json.loads(file.read_text()))["capabilities"]
    assert kept == {"bounding": [name for name in shim.NAMES if name in has]}
