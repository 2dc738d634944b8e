"""What a node sets in this machine's kernel is put back, and nothing that others set."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cluster.host_changes import kernel_settings
from lab.cluster.host_changes.kernel_settings import SET_BY_A_NODE

names = st.sampled_from(sorted(SET_BY_A_NODE))
values = st.sampled_from(["0", "1", "2", "10", "1000000"])


@given(st.dictionaries(names, values), st.dictionaries(names, values))
def test_only_what_still_has_the_nodes_value_is_put_back(
    before: dict[str, str], now: dict[str, str]
) -> None:
    again = kernel_settings.to_set(before, now)
    for name, value in again.items():
        assert now[name] == SET_BY_A_NODE[name]
        assert value == before[name] != now[name]
    for name in set(before) - set(again):
        assert before[name] == SET_BY_A_NODE[name] or now.get(name) != SET_BY_A_NODE[name]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDECAR_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kernel_settings, "_ROOT", tmp_path / "sys")
    (tmp_path / "sys" / "kernel").mkdir(parents=True)
    (tmp_path / "sys" / "vm").mkdir()
    (tmp_path / "sys" / "kernel" / "panic").write_text("1\n")
    (tmp_path / "sys" / "vm" / "overcommit_memory").write_text("0\n")
    return tmp_path / "sys"


def test_the_first_note_counts_and_the_last_lab_puts_back(kernel: Path) -> None:
    kernel_settings.note()
    (kernel / "kernel" / "panic").write_text("10\n")
    kernel_settings.note()  # a second lab
    (kernel / "vm" / "overcommit_memory").write_text("2\n")  # somebody else
    assert kernel_settings.undo() == []
    assert (kernel / "kernel" / "panic").read_text() == "1"
    assert (kernel / "vm" / "overcommit_memory").read_text() == "2\n"
    (kernel / "kernel" / "panic").write_text("10\n")
    assert kernel_settings.undo() == []  # no note, nothing to put back
    assert (kernel / "kernel" / "panic").read_text() == "10\n"


def test_who_may_not_set_it_is_told_the_command(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_settings.note()
    (kernel / "kernel" / "panic").write_text("10\n")

    def refuse(path: Path, text: str) -> int:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    (said,) = kernel_settings.undo()
    assert "sudo sysctl kernel.panic=1" in said
