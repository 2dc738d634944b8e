"""Judgement over plain facts: what stops `up`, what only slows it, what mends it."""

from dataclasses import replace

import pytest

from lab.cluster import doctor
from lab.cluster.docker import provision
from lab.cluster.docker.daemons import Address
from lab.cluster.machine import Host
from lab.cluster.machine_findings import Finding
from tests.unit.cluster.hosts import BARE, DAEMON, MACHINE, SOUND


def finding(host: Host, name: str) -> Finding:
    return next(one for one in doctor.judge(host) if one.name == name)


def test_a_sound_machine_has_nothing_to_mend() -> None:
    assert {one.verdict for one in doctor.judge(SOUND)} == {"ok"}


def test_a_bare_debian_as_root_is_no_failure_because_up_installs_docker() -> None:
    assert "fail" not in {one.verdict for one in doctor.judge(BARE)}
    assert "install docker.io" in finding(BARE, "lab up").seen


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "in_fix"),
    [
        ({"disk_free": 1 << 30}, "disk", "fail", "cache prune"),
        ({"disk_free": 10 << 30}, "disk", "warn", "cache prune"),
        ({"memory": 1 << 30}, "memory", "fail", "Docker Desktop"),
        ({"inotify_instances": 128}, "inotify instances", "warn", "sysctl"),
        ({"netfilter": "No chain"}, "netfilter", "fail", "modprobe"),
        ({"kubectl": ""}, "kubectl", "fail", "pip install"),
        ({"free_pool": "could not find"}, "address pool", "fail", "network prune"),
        ({"lacking": frozenset({"CAP_SYS_RESOURCE"})}, "capabilities", "warn", "lab up"),
        ({"proxies": {"HTTPS_PROXY": "http://p:1"}}, "proxy", "warn", "NO_PROXY"),
        ({"daemon": replace(DAEMON, storage_driver="vfs")}, "storage driver", "warn", "ext4"),
    ],
)
def test_each_trouble_is_named_with_its_fix(
    changes: dict[str, object], name: str, verdict: str, in_fix: str
) -> None:
    seen = finding(replace(SOUND, **changes), name)  # type: ignore[arg-type]
    assert seen.verdict == verdict
    assert in_fix in seen.fix


def test_a_missing_capability_is_harmless_to_a_docker_that_any_lab_started() -> None:
    lacking = replace(SOUND, lacking=frozenset({"CAP_SYS_RESOURCE"}))
    someones = replace(lacking, daemon=replace(DAEMON, runtime="sidecar-lab"))
    assert finding(someones, "capabilities").verdict == "ok"
    ours_beside = replace(lacking, daemon_is_ours=True)
    assert finding(ours_beside, "capabilities").verdict == "warn"


def test_who_is_not_root_is_not_told_to_start_a_docker() -> None:
    lacking = replace(SOUND, lacking=frozenset({"CAP_SYS_RESOURCE"}))
    for root, begin in ((True, "stop that Docker"), (False, "as root: stop that Docker")):
        mine = replace(lacking, machine=replace(MACHINE, root=root))
        assert finding(mine, "capabilities").fix.startswith(begin)


def test_docker_desktop_and_wsl_get_their_own_netfilter_fix() -> None:
    broken = replace(SOUND, netfilter="no such module")
    desktop = replace(broken, daemon=replace(DAEMON, kind="Docker Desktop"))
    wsl = replace(broken, machine=replace(MACHINE, wsl=True))
    assert "Docker Desktop" in finding(desktop, "netfilter").fix
    assert "wsl --update" in finding(wsl, "netfilter").fix


def test_up_says_where_it_would_stop() -> None:
    assert "disk" in finding(replace(SOUND, disk_free=0), "lab up").seen


@pytest.mark.parametrize(
    ("changes", "action", "words"),
    [
        ({"unreachable": ""}, "nothing", ""),
        ({"unreachable": "dial: permission denied"}, "instruct", "usermod"),
        ({"address": Address("DOCKER_HOST", "tcp://a:1")}, "instruct", "DOCKER_HOST"),
        ({"system": "Darwin"}, "instruct", "Docker Desktop"),
        ({"system": "Windows"}, "instruct", "WSL"),
        ({"dockerd": True}, "start", ""),
        ({"dockerd": True, "systemd": True}, "instruct", "systemctl start docker"),
        ({"dockerd": True, "root": False}, "instruct", "sudo"),
        ({}, "install", ""),
        ({"root": False}, "instruct", "sudo apt-get install docker.io"),
        ({"distribution": frozenset({"fedora"}), "apt": False}, "instruct", "systemctl enable"),
    ],
)
def test_what_is_done_about_a_docker_that_does_not_answer(
    changes: dict[str, object], action: str, words: str
) -> None:
    bare = replace(MACHINE, client=False, dockerd=False, unreachable="no answer")
    plan = provision.plan(replace(bare, **changes))  # type: ignore[arg-type]
    assert plan.action == action
    assert words in plan.sentence + plan.instruction
