"""`lab down --all` beside what others have on this machine: theirs stays, all of ours goes.

Each test is a small machine: network, mount and process namespaces of its own, so that the daemon
in it sees neither this machine's daemon nor its rules. Root, and Docker's programs, are needed.
"""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
BEFORE = (
    "iptables -A INPUT -s 172.17.0.0/16 -j ACCEPT",
    "iptables -A INPUT -p tcp -m comment --comment DOCKER --dport 22 -j ACCEPT",
    "iptables -A INPUT -i docker0 -p udp -j DROP",
    "iptables -N MY-DOCKER",
    "iptables -A MY-DOCKER -d 172.17.0.0/16 -j RETURN",
    "iptables -A FORWARD -j MY-DOCKER",
    "iptables -A FORWARD -s 10.9.0.0/16 -j DROP",
    "iptables -t nat -A POSTROUTING -s 172.17.0.0/16 -d 10.0.0.0/8 -j MASQUERADE",
    "iptables -t mangle -A OUTPUT -m comment --comment DOCKER-USER -j MARK --set-mark 7",
    "ip6tables -A INPUT -m comment --comment docker0 -j ACCEPT",
)
LATER = (
    "iptables -A DOCKER-USER -s 192.0.2.0/24 -j DROP",
    "iptables -I INPUT -i docker0 -p tcp --dport 53 -j ACCEPT",
    "iptables -A INPUT -j DOCKER-USER",
    "iptables -A FORWARD -o docker0 -j DOCKER",
    "iptables -t nat -A DOCKER -p tcp --dport 81 -j RETURN",
)
START = "from lab.cluster.docker import daemon; assert daemon.start()"
CUT_OFF = """
import os, signal
from lab.cluster.docker import daemon
from lab.cluster.host_changes import notes
note = notes.settle
def settle(file):
    found = notes.read(file)
    if found is not None and found.before is not None and daemon.runs():
        os.kill(os.getpid(), signal.SIGKILL)
    note(file)
notes.settle = settle
daemon.start()
"""
INSIDE = """
import json, os, subprocess, sys
from pathlib import Path
plan = json.loads(sys.argv[1])
def sh(command, check=True):
    return subprocess.run(command, shell=True, check=check, capture_output=True, text=True)
def rules():
    return [line for program in ("iptables", "ip6tables")
            for line in sh(program + "-save").stdout.splitlines()
            if line.startswith(("-A", ":", "*"))]
sh("mount -t tmpfs none /run && mkdir -p /run/lock && ip link set lo up")
for one in plan["before"]:
    sh(one)
was = {"rules": rules(), "links": sorted(os.listdir("/sys/class/net")),
       "forward": Path("/proc/sys/net/ipv4/ip_forward").read_text()}
begun = subprocess.run([sys.executable, "-c", plan["start"]], capture_output=True, text=True)
for one in plan["later"]:
    sh(one)
running = rules()
down = subprocess.run([sys.executable, "-m", "lab", "down", "--all", *plan["words"]],
                      capture_output=True, text=True, timeout=120)
now = {"rules": rules(), "links": sorted(os.listdir("/sys/class/net")),
       "forward": Path("/proc/sys/net/ipv4/ip_forward").read_text()}
print(json.dumps({"was": was, "running": running, "now": now, "begun": begun.returncode,
                  "said": begun.stderr[-2000:], "code": down.returncode,
                  "down": down.stdout + down.stderr, "run": sorted(os.listdir("/run"))}))
"""


@dataclass
class Told:
    """What the small machine had before, while the daemon ran, and after `down --all`."""

    was: dict[str, list[str]]
    running: list[str]
    now: dict[str, list[str]]
    begun: int
    said: str
    code: int
    down: str
    run: list[str]


def machine(cache: Path, start: str = START, later: tuple[str, ...] = (), *words: str) -> Told:
    plan = {"before": BEFORE, "later": later, "start": start, "words": words}
    argv = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc"]
    done = subprocess.run(
        [*argv, sys.executable, "-c", textwrap.dedent(INSIDE), json.dumps(plan)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=ROOT,
        env={
            **os.environ,
            "SIDECAR_LAB_CACHE": str(cache),
            "SIDECAR_LAB_HOME": str(cache / "labs"),
        },
    )
    assert done.returncode == 0, done.stderr
    told = Told(**json.loads(done.stdout))
    print(
        "\n--- before\n",
        "\n".join(told.was["rules"]),
        "\n--- after\n",
        "\n".join(told.now["rules"]),
    )
    print(told.down)
    return told


def only_rules(rows: list[str]) -> list[str]:
    return [row for row in rows if row.startswith("-A")]


def test_ten_foreign_rules_are_all_there_after_down_all_and_nothing_of_dockers_is(
    tmp_path: Path,
) -> None:
    told = machine(tmp_path)
    assert told.begun == 0, told.said
    assert any("DOCKER-USER" in row for row in told.running)
    assert told.code == 0, told.down
    assert "left over: 0" in told.down
    assert len(BEFORE) == 10
    assert only_rules(told.now["rules"]) == only_rules(told.was["rules"])
    assert {row for row in told.now["rules"] if row[0] == ":" and "DOCKER" in row} == {
        ":MY-DOCKER - [0:0]"
    }
    assert told.now["links"] == told.was["links"]
    assert told.now["forward"] == told.was["forward"]
    assert set(told.run) <= {"lock", "mount", "xtables.lock"}


def test_rules_that_others_put_into_dockers_chains_stay_and_so_do_those_chains(
    tmp_path: Path,
) -> None:
    told = machine(tmp_path, START, LATER)
    assert told.code == 0, told.down
    left = only_rules(told.now["rules"])
    for row in only_rules(told.was["rules"]):
        assert row in left
    new = [row for row in left if row not in told.was["rules"]]
    assert sorted(new) == sorted(
        [
            "-A DOCKER-USER -s 192.0.2.0/24 -j DROP",
            "-A INPUT -i docker0 -p tcp -m tcp --dport 53 -j ACCEPT",
            "-A INPUT -j DOCKER-USER",
            "-A FORWARD -o docker0 -j DOCKER",
            "-A DOCKER -p tcp -m tcp --dport 81 -j RETURN",
        ]
    )


def test_a_start_that_was_killed_before_it_was_noted_is_undone_all_the_same(tmp_path: Path) -> None:
    told = machine(tmp_path, CUT_OFF)
    assert told.begun == -9, told.said
    assert told.code == 0, told.down
    assert only_rules(told.now["rules"]) == only_rules(told.was["rules"])
    assert told.now["links"] == told.was["links"]
    assert told.now["forward"] == told.was["forward"]


def test_a_network_of_somebodys_keeps_the_daemon_and_yes_removes_it_without_a_trace(
    tmp_path: Path,
) -> None:
    network = "docker network create theirs"
    kept = machine(tmp_path / "kept", START, (network,))
    assert kept.code == 1
    assert "that belong to no lab: theirs" in kept.down
    gone = machine(tmp_path / "gone", START, (network,), "--yes")
    assert gone.code == 0, gone.down
    assert only_rules(gone.now["rules"]) == only_rules(gone.was["rules"])
    assert gone.now["links"] == gone.was["links"]
