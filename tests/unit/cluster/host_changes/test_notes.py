"""What a daemon changes on this machine is noted before and after, and undone by the note alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.cluster.host_changes import network_rules, notes
from lab.cluster.host_changes.notes import DaemonNote, MachineState
from lab.command import Completed
from tests.unit.cluster.host_changes.test_network_rules import DOCKERS, parsed

BEFORE = MachineState(
    parsed([], program="iptables-nft"), ("eth0", "lo"), {"net.ipv4.ip_forward": "0"}, ()
)
AFTER = MachineState(
    network_rules.parse({"iptables-nft": DOCKERS}),
    ("docker0", "eth0", "lo"),
    {"net.ipv4.ip_forward": "1"},
    ("/etc/docker/key.json", "/etc/docker"),
)
Look = Callable[[MachineState], None]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    monkeypatch.setattr(notes, "_path", lambda name: tmp_path / name)

    def look(now: MachineState) -> None:
        monkeypatch.setattr(notes, "look", lambda: now)

    return look


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    commands: list[str] = []

    def run(argv: list[str], **_: object) -> Completed:
        commands.append(" ".join(argv))
        return Completed(tuple(argv), 0, "", "", 0)

    monkeypatch.setattr(notes, "run", run)
    monkeypatch.setattr(notes, "_remove", lambda path: commands.append(f"remove {path}"))
    return commands


def started(file: Path, world: Look) -> None:
    world(BEFORE)
    notes.before_start(file)
    world(AFTER)
    notes.settle(file)


def test_a_note_reads_back_as_it_was_written(tmp_path: Path, world: Look) -> None:
    file = tmp_path / "note.json"
    world(BEFORE)
    notes.before_start(file)
    assert notes.read(file) == DaemonNote(others=BEFORE.links, before=BEFORE)
    world(AFTER)
    notes.settle(file)
    noted = notes.read(file)
    assert noted is not None
    assert noted == notes.completed(DaemonNote(others=BEFORE.links, before=BEFORE), AFTER)
    assert (noted.links, noted.sysctls) == (("docker0",), {"net.ipv4.ip_forward": "0"})


def test_all_that_was_made_is_undone(tmp_path: Path, world: Look, done: list[str]) -> None:
    file = tmp_path / "note.json"
    (tmp_path / "net.ipv4.ip_forward").write_text("1")
    started(file, world)
    assert notes.undo(file) == []
    assert "ip link delete docker0" in done
    assert "iptables-nft -w -t nat -X DOCKER" in done
    assert done[-2:] == ["remove /etc/docker/key.json", "remove /etc/docker"]
    assert (tmp_path / "net.ipv4.ip_forward").read_text() == "0"
    assert not file.exists()


def test_forwarding_stays_for_an_interface_that_came_since(
    tmp_path: Path, world: Look, done: list[str]
) -> None:
    file = tmp_path / "note.json"
    (tmp_path / "net.ipv4.ip_forward").write_text("1")
    started(file, world)
    world(replace(AFTER, links=(*AFTER.links, "virbr0")))
    assert notes.undo(file) == [
        "net.ipv4.ip_forward stays as it is: virbr0 appeared since and may need it"
    ]
    assert (tmp_path / "net.ipv4.ip_forward").read_text() == "1"


def test_a_start_that_was_cut_off_is_noted_by_the_next_command(
    tmp_path: Path, world: Look, done: list[str]
) -> None:
    file = tmp_path / "note.json"
    world(BEFORE)
    notes.before_start(file)
    world(AFTER)  # killed here: nothing was noted
    notes.before_start(file)
    noted = notes.read(file)
    assert noted is not None
    assert noted.links == ("docker0",)
    assert noted.before == AFTER
    assert notes.undo(file) == []
    assert sum(" -D " in one for one in done) == DOCKERS.count("\n-A ")


def test_what_was_there_before_is_nobodys_to_undo(
    tmp_path: Path, world: Look, done: list[str]
) -> None:
    file = tmp_path / "note.json"
    world(AFTER)
    notes.before_start(file)
    notes.settle(file)
    assert notes.undo(file) == []
    assert done == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"rules": 1}'])
def test_without_a_sound_note_nothing_is_touched(
    text: str, tmp_path: Path, world: Look, done: list[str]
) -> None:
    file = tmp_path / "note.json"
    file.write_text(text)
    world(AFTER)
    assert "earlier version" in notes.undo(file)[0]
    assert done == []
