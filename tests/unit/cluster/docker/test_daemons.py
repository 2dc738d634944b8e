"""What answers to the docker command, told by recorded answers, and whether the lab runs there."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.cluster import doctor
from lab.cluster.docker import daemons, provision
from lab.cluster.docker.daemons import Address, Daemon
from lab.errors import HostError
from tests.unit.cluster.hosts import BARE, MACHINE, SOUND

DATA = Path(__file__).parent / "recorded"
HERE = daemons.Here("Linux", "vm", "6.18.44-fc-v669")
"""Where all but Docker Desktop's was recorded."""
MAC = daemons.Here("Darwin", "laptop", "23.1.0")
VISIBLE, HIDDEN = Path("/home/u/cache"), Path("/home/u/.cache/sidecar-lab")
Edit = Callable[[dict[str, Any]], None]


def recorded(name: str, edit: Edit | None = None) -> Daemon:
    told = json.loads((DATA / f"{name}.json").read_text())
    if edit:
        edit(told["info"])
    return daemons.parse(told["info"], told["version"])


def cgroup_v2(info: dict[str, Any]) -> None:
    info.update(CgroupVersion="2", CgroupDriver="systemd")


def delegated(info: dict[str, Any]) -> None:
    cgroup_v2(info)
    info.update(MemoryLimit=True, PidsLimit=True, CPUShares=True)


def windows(info: dict[str, Any]) -> None:
    info["OSType"] = "windows"


def from_snap(info: dict[str, Any]) -> None:
    info["DockerRootDir"] = "/var/snap/docker/common/var-lib-docker"


FAR = Address("DOCKER_HOST", "ssh://someone@builder")
OTHER_VM = replace(HERE, name="laptop", kernel="6.1.0")
CASES = {
    "Docker Engine": (recorded("engine"), Address(), HERE, "ok", "Docker Engine on this", ""),
    "Docker Desktop": (recorded("desktop"), Address(), MAC, "ok", "Docker Desktop 4.21.1", ""),
    "Docker Desktop's context": (
        recorded("desktop"), Address("the current Docker context", "unix:///Users/u/.docker/run/d"),
        MAC, "ok", "virtual machine", "",
    ),
    "Podman's socket": (
        recorded("podman"), Address("DOCKER_HOST", "unix:///run/podman/podman.sock"), HERE,
        "fail", "Podman 4.3.1 answers in Docker's place", "`unset DOCKER_HOST`; install Docker",
    ),
    "podman-docker": (
        recorded("podman-docker"), Address(), HERE, "fail", "Podman 4.3.1 answers", "Docker Engine",
    ),
    "rootless, cgroup v1": (
        recorded("rootless"), Address(), HERE, "fail", "rootless Docker under cgroup v1", "unified",
    ),
    "rootless, nothing delegated": (
        recorded("rootless", cgroup_v2), Address(), HERE, "fail", "may not limit", "Delegate=",
    ),
    "rootless, delegated": (
        recorded("rootless", delegated), Address(), HERE, "warn", "rootless Docker", "modprobe",
    ),
    "over ssh": (
        recorded("engine"), FAR, HERE, "fail", "another machine (ssh://someone@builder)",
        "`unset DOCKER_HOST`",
    ),
    "a context over tcp": (
        recorded("engine"), Address("DOCKER_CONTEXT", "tcp://10.0.0.7:2376"), HERE,
        "fail", "another machine (tcp://10.0.0.7:2376)", "`unset DOCKER_CONTEXT`",
    ),
    "the current context, over ssh": (
        recorded("engine"), Address("the current Docker context", "ssh://b"), HERE,
        "fail", "another machine", "`docker context use default`",
    ),
    "a socket that leads to another machine": (
        recorded("engine"), Address(), OTHER_VM, "fail", "another machine (vm, Linux 6.18",
        "`docker context use default`",
    ),
    "tcp on this machine": (
        recorded("engine"), Address("DOCKER_HOST", "tcp://127.0.0.1:2375"), HERE, "ok", "this", "",
    ),
    "Windows containers": (
        recorded("desktop", windows), Address(), MAC, "fail", "Windows containers", "Linux",
    ),
    "snap": (
        recorded("engine", from_snap), Address(), HERE, "fail", "snap", "SIDECAR_LAB_CACHE",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_doctor_tells_which_it_is_and_whether_the_lab_can_run_there(
    case: tuple[Daemon, Address, daemons.Here, str, str, str],
) -> None:
    daemon, where, here, verdict, said, mends = case
    machine = replace(MACHINE, address=where)
    host = replace(SOUND, daemon=daemon, machine=machine, here=here, cache=HIDDEN)
    found = next(one for one in doctor.judge(host) if one.name == "docker product")
    assert found.verdict == verdict
    assert said in found.seen
    assert mends in found.fix
    assert bool(found.fix) == (verdict != "ok")


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_up_refuses_just_where_doctor_says_that_it_cannot_run(
    case: tuple[Daemon, Address, daemons.Here, str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, where, here, verdict, said, _ = case
    monkeypatch.setattr(daemons, "daemon", lambda: daemon)
    monkeypatch.setattr(daemons, "address", lambda: where)
    monkeypatch.setattr(daemons, "here", lambda: here)
    monkeypatch.setattr(provision, "cache_root", lambda: HIDDEN)
    if verdict == "fail":
        with pytest.raises(HostError) as refused:
            provision.refuse_where_it_cannot_run()
        assert said in refused.value.message
        assert refused.value.hint
    else:
        provision.refuse_where_it_cannot_run()


def test_a_cache_that_is_not_hidden_will_do_for_snap() -> None:
    daemon = recorded("engine", from_snap)
    assert daemons.judge(daemon, Address(), HERE, VISIBLE).verdict == "ok"


@pytest.mark.parametrize("name", ["colima", "lima-rancher-desktop", "orbstack"])
def test_virtual_machines_whose_ports_are_here_are_no_other_machine(name: str) -> None:
    daemon = replace(recorded("engine"), name=name)
    assert daemons.judge(daemon, Address(), OTHER_VM, VISIBLE).verdict == "ok"


@pytest.mark.parametrize(
    ("host", "elsewhere"),
    [
        ("", False), ("unix:///var/run/docker.sock", False), ("npipe:////./pipe/docker", False),
        ("tcp://localhost:2375", False), ("tcp://[::1]:2375", False), ("tcp://127.9.9.9:1", False),
        ("tcp://[2001:db8::1]:2376", True), ("ssh://localhost", True), ("https://d.example", True),
        ("tcp://d.example:2376", True), ("nonsense", False),
    ],
)  # fmt: skip
def test_another_machine_is_told_by_the_address(host: str, elsewhere: bool) -> None:
    assert Address("DOCKER_HOST", host).elsewhere == elsewhere


@given(st.sampled_from(sorted(DATA.glob("*.json"))), st.data())
def test_whatever_a_daemon_leaves_out_it_is_read(file: Path, data: st.DataObject) -> None:
    told = json.loads(file.read_text())
    for part in ("info", "version"):
        for key in data.draw(st.sets(st.sampled_from(sorted(told[part]) or [""]))):
            told[part].pop(key, None)
    read = daemons.parse(told["info"], told["version"])
    assert daemons.judge(read, Address(), HERE, HIDDEN).finding


CONTEXT = (
    '[{"Name": "far", "Metadata": {}, "Endpoints": {"docker": '
    '{"Host": "ssh://someone@builder", "SkipTLSVerify": false}}}]'
)
DEFAULT = CONTEXT.replace("far", "default").replace("ssh://someone@builder", "unix:///v/d.sock")
LOST = 'context "nosuch": context not found: open /c/meta.json: no such file or directory'


@pytest.mark.parametrize(
    ("named", "stdout", "stderr", "wanted"),
    [
        ("", DEFAULT, "", Address()),
        ("", CONTEXT, "", Address("the current Docker context", "ssh://someone@builder")),
        ("far", CONTEXT, "", Address("DOCKER_CONTEXT", "ssh://someone@builder")),
        ("nosuch", "[]\n", LOST, Address("DOCKER_CONTEXT", lost="nosuch")),
        ("", "[]\n", LOST, Address("the current Docker context", lost="nosuch")),
        ("", "", "docker: 'context' is not a docker command", Address()),
    ],
)
def test_contexts_are_read_from_what_the_client_says(
    named: str, stdout: str, stderr: str, wanted: Address
) -> None:
    assert daemons.read_context(named, stdout, stderr) == wanted


@pytest.mark.parametrize(
    ("address", "said", "mends"),
    [
        (Address("DOCKER_CONTEXT", lost="nosuch"), "DOCKER_CONTEXT is 'nosuch', and there is no "
         "Docker context of that name", "`unset DOCKER_CONTEXT`"),
        (Address("the current Docker context", lost="x"), "no Docker context", "use default`"),
        (Address("DOCKER_HOST", "nonsense"), "not the address of a daemon", "unix:///path"),
        (Address("DOCKER_HOST", "foo://x"), "not the address of a daemon", "`unset DOCKER_HOST`"),
        (Address("DOCKER_HOST", "unix:///nosuch.sock"), "that socket does not exist", "`unset D"),
        (Address("DOCKER_HOST", "tcp://a:1"), "nothing answers there", "start that daemon"),
        (Address("DOCKER_CONTEXT", "ssh://a"), "DOCKER_CONTEXT means ssh://a", "`unset DOCKER_C"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dockerd", [True, False])
def test_a_daemon_that_the_user_named_is_never_replaced_by_one_of_ours(
    address: Address, said: str, mends: str, dockerd: bool
) -> None:
    machine = replace(BARE.machine, address=address, dockerd=dockerd, client=True)
    plan = provision.plan(machine)
    assert plan.action == "instruct"
    assert said in plan.sentence
    assert mends in plan.instruction
    host = replace(BARE, machine=machine, client="Docker version 28.0")
    found = next(one for one in doctor.judge(host) if one.name == "docker daemon")
    assert (found.verdict, found.seen, found.fix) == ("fail", plan.sentence, plan.instruction)
