"""The check that every lock of a host can be installed on every host that we name."""

import platform
import sysconfig

import pytest

from lab.cluster.images.ensure import go_names, host_go
from tests.locks import __main__ as check
from tests.locks import targets
from tests.locks.targets import Pinned

LINES = """\
one==1.0 \\
    --hash=sha256:{a}
two==2.0 ; platform_machine == 'x86_64' and sys_platform == 'darwin' \\
    --hash=sha256:{b} \\
    --hash=sha256:{c}
""".format(a="a" * 64, b="b" * 64, c="c" * 64)


def test_pins_are_read_with_marker_and_hashes() -> None:
    one, two = targets.parse(LINES)
    assert one == Pinned("one", "1.0", "", frozenset(["a" * 64]))
    assert (two.name, len(two.hashes)) == ("two", 2)
    assert [host.name for host in targets.HOSTS if host.applies(two, (3, 12))] == ["macOS x86_64"]


def test_a_pin_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 pins"):
        targets.parse(LINES.replace("one==1.0", "one[extra]==1.0"))


@pytest.mark.parametrize(
    ("wheel", "hosts"),
    [
        ("x-1-py3-none-any.whl", 20),
        ("x-1-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", 4),
        ("x-1-cp312-cp312-win_amd64.whl", 1),
        ("x-1-cp311-cp311-macosx_11_0_universal2.whl", 2),
        ("x-1-cp312-abi3-macosx_11_0_arm64.whl", 3),
        ("x-1-cp311-cp311-manylinux_2_39_x86_64.whl", 0),
        ("x-1-cp314-cp314t-manylinux_2_17_x86_64.whl", 0),
        ("x-1-cp311-cp311-musllinux_1_2_x86_64.whl", 0),
    ],
)
def test_what_a_wheel_is_good_for(wheel: str, hosts: int) -> None:
    taken = [host.takes(wheel, one) for host in targets.HOSTS for one in targets.PYTHONS]
    assert sum(taken) == hosts
    pin = Pinned("x", "1", "", frozenset(["d" * 64]))
    assert len(targets.lacking([pin], {"d" * 64: wheel})) == 20 - hosts


def test_a_wheel_whose_hash_the_lock_lacks_is_no_wheel() -> None:
    pin = Pinned("x", "1", "", frozenset(["d" * 64]))
    assert len(targets.lacking([pin], {"e" * 64: "x-1-py3-none-any.whl"})) == 20


def test_two_versions_for_one_host_are_named() -> None:
    pins = [Pinned("x", str(one), "", frozenset(["d" * 64])) for one in (1, 2)]
    said = targets.lacking(pins, {"d" * 64: "x-1-py3-none-any.whl"})
    assert len([one for one in said if "twice" in one]) == 20


def test_every_lock_of_a_host_has_a_wheel_on_every_host() -> None:
    names = check.read_names(check.NAMES.read_text())
    for lock in check.FOR_HOSTS:
        pins = targets.parse((check.LOCKS / f"{lock}.txt").read_text())
        assert pins
        assert targets.lacking(pins, names) == []


def test_go_is_told_the_machine_and_never_how_python_was_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "macosx-10.9-universal2")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert host_go()[1] == "arm64"
    assert go_names("darwin", "x86_64") == ("darwin", "amd64")
    assert go_names("win32", "AMD64") == ("windows", "amd64")
    assert go_names("win32", "ARM64") == ("windows", "arm64")
    assert go_names("linux", "aarch64") == ("linux", "arm64")
    assert go_names("linux", "riscv64") == ("linux", "riscv64")
