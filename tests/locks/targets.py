"""The hosts that the locks are for, and what each of them can install."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from packaging import tags
from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

PYTHONS: Final = ((3, 11), (3, 12), (3, 13), (3, 14))
GLIBC: Final = 28
"""Of the oldest Linux distributions that have a Python 3.11 of their own (2.28)."""
MACOS: Final = (13, 0)
_PINNED = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.*?))? \\\n((?:    --hash=sha256:[0-9a-f]+(?: \\)?\n)+)",
    re.MULTILINE,
)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pinned:
    """One line of a lock: a version, where it is for (a marker, "" everywhere), its files."""

    name: str
    version: str
    marker: str
    hashes: frozenset[str]


@dataclass(frozen=True)
class Host:
    """One kind of machine: how markers see it, and the platform tags that it takes, best first."""

    name: str
    system: str
    machine: str
    platforms: tuple[str, ...]

    def applies(self, pinned: Pinned, python: tuple[int, int]) -> bool:
        """Whether the pin is for this host with that Python."""
        if not pinned.marker:
            return True
        version = f"{python[0]}.{python[1]}"
        windows = self.system == "win32"
        names = {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}
        return Marker(pinned.marker).evaluate(
            {
                "python_version": version,
                "python_full_version": f"{version}.1",
                "sys_platform": self.system,
                "platform_system": names[self.system],
                "platform_machine": self.machine,
                "os_name": "nt" if windows else "posix",
                "platform_python_implementation": "CPython",
                "implementation_name": "cpython",
            }
        )

    def takes(self, wheel: str, python: tuple[int, int]) -> bool:
        """Whether pip or uv would install a wheel of this file name here."""
        return not _taken(self.platforms, python).isdisjoint(parse_wheel_filename(wheel)[3])


@cache
def _taken(platforms: tuple[str, ...], python: tuple[int, int]) -> frozenset[tags.Tag]:
    own = f"cp{python[0]}{python[1]}"
    exact = tags.cpython_tags(python, [own], platforms)
    return frozenset((*exact, *tags.compatible_tags(python, own, platforms)))


def _linux(machine: str) -> Host:
    newer = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 4, -1)]
    older = [f"{one}_{machine}" for one in ("manylinux2014", "manylinux2010", "manylinux1")]
    return Host(f"Linux {machine}", "linux", machine, (*newer, *older, f"linux_{machine}"))


def _macos(machine: str) -> Host:
    return Host(f"macOS {machine}", "darwin", machine, tuple(tags.mac_platforms(MACOS, machine)))


HOSTS: Final = (
    _linux("x86_64"),
    _linux("aarch64"),
    _macos("x86_64"),
    _macos("arm64"),
    Host("Windows", "win32", "AMD64", ("win_amd64",)),
)


def parse(lock: str) -> list[Pinned]:
    """The pins of a lock file's text. Raises ValueError for a pin that it cannot read."""
    found = [
        Pinned(name, version, marker, frozenset(_HASH.findall(hashes)))
        for name, version, marker, hashes in _PINNED.findall(lock)
    ]
    if len(found) != lock.count("=="):
        lost = lock.count("==") - len(found) - sum(one.marker.count("==") for one in found)
        if lost:
            raise ValueError(f"{lost} pins are written in a way that cannot be read")
    return found


def lacking(pins: Sequence[Pinned], wheels: Mapping[str, str]) -> list[str]:
    """One sentence for each pin, host and Python with no wheel. `wheels`: sha256 → file name."""
    said = []
    for host in HOSTS:
        for python in PYTHONS:
            there: dict[str, str] = {}
            for pin in pins:
                if not host.applies(pin, python):
                    continue
                where = f"{host.name}, Python {python[0]}.{python[1]}"
                if pin.name in there:
                    said.append(f"{pin.name} is pinned twice for {where}")
                there[pin.name] = pin.version
                names = [wheels[one] for one in pin.hashes if one in wheels]
                if not any(host.takes(name, python) for name in names):
                    said.append(f"{pin.name} {pin.version} has no wheel for {where}")
    return said


def wanted(name: str) -> bool:
    """Whether any of the hosts takes a wheel of this name."""
    return any(host.takes(name, python) for host in HOSTS for python in PYTHONS)
