"""Machines as plain facts, for tests of what is judged over them."""

from dataclasses import replace
from pathlib import Path

from lab.cluster.docker import provision
from lab.cluster.docker.daemons import Address, Daemon, Here
from lab.cluster.machine import Host

MACHINE = provision.Machine(
    system="Linux",
    distribution=frozenset({"debian"}),
    root=True,
    systemd=False,
    apt=True,
    client=True,
    dockerd=True,
    address=Address(),
    unreachable="",
)
DAEMON = Daemon(
    kind="Docker Engine",
    version="28.0",
    api="1.48",
    product="",
    name="here",
    kernel="6.1",
    storage_driver="overlay2",
    cgroup_driver="systemd",
    cgroup_version="2",
    operating_system="Debian GNU/Linux 12",
    architecture="x86_64",
    data_root="/var/lib/docker",
    cpus=4,
    memory=16 << 30,
    rootless=False,
    limits=True,
    http_proxy="",
    runtime="runc",
)
SOUND = Host(
    machine=MACHINE,
    daemon=DAEMON,
    here=Here("Linux", "here", "6.1"),
    cache=Path("/home/u/.cache/sidecar-lab"),
    daemon_is_ours=False,
    client="Docker version 28.0",
    socket_denied=False,
    cgroup="2",
    lacking=frozenset(),
    disk_path="/var/lib/docker",
    disk_free=100 << 30,
    memory=16 << 30,
    inotify_watches=524288,
    inotify_instances=1024,
    netfilter="",
    netfilter_where="a network namespace of its own",
    registry="",
    go="go version go1.26 linux/amd64",
    kubectl="/usr/bin/kubectl",
    proxies={},
    free_pool="",
    labs=(),
)
BARE = replace(
    SOUND,
    daemon=None,
    client="",
    free_pool="?",
    machine=replace(MACHINE, client=False, dockerd=False, unreachable="there is no docker client"),
)
