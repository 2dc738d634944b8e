"""What is private is so at every moment, whatever the umask and whatever was left there before."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import state
from lab.cluster.control_plane import certificates
from lab.paths import LabPaths


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def modes_seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """The modes that each file has from its first byte to its rename."""
    seen: dict[str, set[int]] = {}
    fdopen, chmod = os.fdopen, Path.chmod

    def opened(made: int, *more: object, **named: object) -> object:
        name = Path(f"/proc/self/fd/{made}").readlink()
        seen.setdefault(name.name, set()).add(stat.S_IMODE(os.fstat(made).st_mode))
        return fdopen(made, *more, **named)  # type: ignore[call-overload]

    def changed(path: Path, mode: int, **named: bool) -> None:
        seen.setdefault(path.name, set()).add(mode)
        chmod(path, mode, **named)

    monkeypatch.setattr(os, "fdopen", opened)
    monkeypatch.setattr(Path, "chmod", changed)
    return seen


def test_a_key_is_its_owners_alone_from_its_first_byte(
    tmp_path: Path, modes_seen: dict[str, set[int]]
) -> None:
    certificates.ensure(tmp_path)
    assert modes_seen["ca.key.new"] == {0o600}
    assert modes_seen["tls.key.new"] == {0o600}
    keys = sorted(one.name for one in tmp_path.rglob("*.key"))
    assert keys == ["ca.key", "tls.key"]
    assert {mode(one) for one in tmp_path.rglob("*.key")} == {0o600}


def test_an_open_file_or_a_link_left_in_the_place_is_not_written_to(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    left = tmp_path / "key.new"
    for make in (lambda: left.write_text("old"), lambda: left.symlink_to(victim)):
        make()
        state.write_atomically(tmp_path / "key", "secret")
        assert (tmp_path / "key").read_text() == "secret"
        assert not (tmp_path / "key").is_symlink()
        assert mode(tmp_path / "key") == 0o600
        assert victim.read_text() == "theirs"


def test_the_folder_of_a_lab_is_its_owners_alone(tmp_path: Path) -> None:
    paths = LabPaths("x", tmp_path / "labs" / "x")
    paths.make()
    assert mode(paths.root) == 0o700
    paths.root.chmod(0o755)  # as it was made before
    paths.make()
    assert mode(paths.root) == 0o700
