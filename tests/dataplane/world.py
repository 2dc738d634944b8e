"""A pod and a client, each a real network namespace, joined by a veth pair."""

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from tests.dataplane import everyones
from tests.dataplane.everyones import as_user

TOOLS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "iptables-nft-save": "iptables",
    "iptables-legacy-save": "iptables",
}
POD, CLIENT = "10.210.0.2", "10.210.0.1"
POD6, CLIENT6 = "fd00:210::2", "fd00:210::1"
INJECTED = (
    *("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT"),
    *("-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020"),
)


def iptables() -> tuple[str, ...]:
    """The words that start istio-iptables, whoever starts it; see `everyones.environment`."""
    return (everyones.python(), "-m", "lab.mesh.redirection")


@dataclass(frozen=True)
class Namespace:
    """A network namespace by its name."""

    name: str

    def run(
        self, *argv: str, check: bool = True, stdin: str = "", env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; with `check` a failure fails the test with its output.

        Python finds `lab.mesh` there, whoever it runs as.
        """
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, *argv],
            capture_output=True,
            text=True,
            input=stdin,
            cwd="/",
            env={**everyones.environment(), **(env or {})},
            timeout=60,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{argv} exited {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def python(self, code: str, *args: str, uid: int = 0) -> str:
        """Run Python inside as a user; what it printed."""
        return self.run(*as_user(uid), everyones.python(), "-c", code, *args).stdout.strip()

    def program(
        self,
        *flags: str,
        check: bool = True,
        before: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run istio-iptables inside, with the injected arguments unless flags are given."""
        return self.run(*before, *iptables(), *(flags or INJECTED), check=check, env=env)

    def saved(self, table: str = "nat", kind: str = "nft", family: str = "ip") -> list[str]:
        """The `-A` lines that the kernel holds."""
        text = self.run(f"{family}tables-{kind}-save", "-t", table).stdout
        return [line for line in text.splitlines() if line.startswith("-A")]


@dataclass(frozen=True)
class World:
    """The pod, and a client on the other end of its only cable."""

    pod: Namespace
    client: Namespace


def build(world: World) -> None:
    """Make both namespaces and the cable between them."""
    pod, client = world.pod.name, world.client.name
    for name in (pod, client):
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
    peer = ("peer", "name", "eth0", "netns", client)
    _ip("-n", pod, "link", "add", "eth0", "type", "veth", *peer)
    for name, v4, v6 in ((pod, POD, POD6), (client, CLIENT, CLIENT6)):
        _ip("-n", name, "addr", "add", f"{v4}/24", "dev", "eth0")
        _ip("-n", name, "addr", "add", f"{v6}/64", "dev", "eth0", "nodad")
        _ip("-n", name, "link", "set", "eth0", "up")
    _ip("-n", pod, "route", "add", "default", "via", CLIENT)
    _ip("-n", pod, "-6", "route", "add", "default", "via", CLIENT6)


def remove(side: Namespace) -> None:
    """End what runs in a namespace, and remove it."""
    listed = subprocess.run(
        ["ip", "netns", "pids", side.name], capture_output=True, text=True, check=False
    )
    for pid in listed.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "delete", side.name], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"ip {' '.join(words)}: {done.stderr.strip()}")
