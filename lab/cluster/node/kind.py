"""Configures and creates the kind cluster of one lab, and reads from its node's container.

The node's network is created here, with labels, before kind would create one. By its labels the
lab can tell its own clusters from others of the same name, and two labs share no network.
"""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.docker import client as engine
from lab.cluster.docker.client import docker
from lab.cluster.docker.daemons import Daemon
from lab.cluster.state import write_atomically
from lab.errors import BuildError, ClusterError, CommandError, HostError
from lab.long_command import stream
from lab.paths import LabPaths

HOME_LABEL = "sidecar-lab.home"
"""Label of the node's network; its value is the lab's folder, which tells checkouts apart."""
ADMIN_CONFIG = "/etc/kubernetes/super-admin.conf"
"""The kubeconfig in the node. Not admin.conf: kubeadm gives that one its rights only at the end."""
_API_PORT = "6443/tcp"


@dataclass(frozen=True)
class ClusterPlan:
    """The inputs of the cluster's configuration."""

    name: str
    node_image: str
    default_cni: bool
    cgroup_v1: bool
    kubernetes_minor: str


def node_name(name: str) -> str:
    """Returns the name of the container that kind creates for the only node of cluster `name`."""
    return f"{name}-control-plane"


def network_name(name: str) -> str:
    """Returns the name of the lab's Docker network."""
    return f"sidecar-lab-{name}" if name != "sidecar-lab" else name


def config(plan: ClusterPlan) -> str:
    """Returns kind's configuration (YAML; JSON is YAML) for a single fast node.

    The comments give the reason for each setting; docs/decisions.md has the measurements.
    """
    cluster = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": plan.name,
        "networking": {
            "disableDefaultCNI": not plan.default_cni,
            "podSubnet": "10.244.0.0/16",
            "ipFamily": "ipv4",
        },
        "nodes": [{"role": "control-plane", "image": plan.node_image}],
        "kubeadmConfigPatches": [_kubeadm(plan), _kubelet(plan)],
    }
    return json.dumps(cluster, indent=1)


def _kubeadm(plan: ClusterPlan) -> str:
    # unsafe-no-fsync: the page cache keeps the data even when the node's container is stopped or
    # killed. Only a power cut could lose data, and then `up` creates the cluster again.
    etcd = {"unsafe-no-fsync": "true"}
    # One of each: electing a leader costs four seconds at first and a lease's fifteen after the
    # node was stopped. The default rate (20 requests a second) makes the controller manager's
    # start take five seconds.
    alone = {"leader-elect": "false", "kube-api-qps": "300", "kube-api-burst": "600"}
    minor = tuple(int(part) for part in plan.kubernetes_minor.split("."))
    as_list = minor >= (1, 36)  # from here on, kind writes kubeadm v1beta4: arguments are lists

    def arguments(values: dict[str, str]) -> dict[str, object]:
        rows = [{"name": name, "value": value} for name, value in values.items()]
        return {"extraArgs": rows if as_list else values}

    patch: dict[str, object] = {
        "kind": "ClusterConfiguration",
        "etcd": {"local": arguments(etcd)},
        # A list replaces kind's own, so its one argument is repeated.
        "controllerManager": arguments({"enable-hostpath-provisioner": "true", **alone}),
        "scheduler": arguments(alone),
    }
    return json.dumps(patch)


def _kubelet(plan: ClusterPlan) -> str:
    patch: dict[str, object] = {
        "kind": "KubeletConfiguration",
        # A lab creates its pods in batches; the default limits (5 a second) delay them.
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "serializeImagePulls": False,
        # How long a changed Secret or ConfigMap takes to reach a pod that mounts it.
        "syncFrequency": "10s",
    }
    if plan.cgroup_v1:
        patch["failCgroupV1"] = False  # kubelets from 1.35 on refuse cgroup v1 otherwise
    return json.dumps(patch)


def ensure_network(name: str, home: Path) -> None:
    """Create the lab's own network, with labels, if it is missing.

    Raises HostError when Docker has no free address range.
    """
    network = network_name(name)
    if network in engine.names("network", f"name=^{network}$"):
        return
    try:
        docker(
            "network",
            "create",
            "--driver=bridge",
            "--label",
            f"{engine.LABEL}={name}",
            "--label",
            f"{HOME_LABEL}={home}",
            network,
        )
    except CommandError as error:
        if "non-overlapping" in error.message or "fully subnetted" in error.message:
            raise HostError(
                "Docker has no free address range for another network",
                hint="`docker network prune` removes unused networks; or set "
                "default-address-pools in Docker's settings (a VPN may hold the rest)",
            ) from error
        raise


def owner(name: str) -> str | None:
    """Returns the folder of the lab that the node of this name belongs to.

    Returns None if there is no such node, and "" if the node is on no lab's network (it is
    somebody else's cluster).
    """
    node = node_name(name)
    answer = docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", node, check=False)
    if not answer.ok:
        return None
    for network in json.loads(answer.stdout) or {}:
        form = '{{index .Labels "%s"}}' % HOME_LABEL  # noqa: UP031 - braces are Go's template
        label = docker("network", "inspect", "-f", form, network, check=False)
        if label.ok and label.stdout.strip():
            return label.stdout.strip()
    return ""


def create(
    kind: Path,
    plan: ClusterPlan,
    paths: LabPaths,
    log: Path,
    on_line: Callable[[str], None],
) -> None:
    """Create the cluster with the program `kind`; `on_line` gets each line that it prints.

    The kubeconfig is written to the lab's folder; the user's own is neither read nor written.
    Raises ClusterError, which names the log; a node that was created is kept.
    """
    file = paths.root / "kind.yaml"
    write_atomically(file, config(plan))
    argv: list[str | Path] = [
        kind,
        "create",
        "cluster",
        "--config",
        file,
        "--kubeconfig",
        paths.kubeconfig,
    ]
    argv += ["--wait", "0s", "--retain", "-v", "1"]
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        stream(
            argv,
            what="kind create cluster",
            logfile=log,
            on_line=on_line,
            env=environment(plan.name),
        )
    except BuildError as error:
        journal = collect_node_log(plan.name, log.with_name("node.log"))
        raise ClusterError(
            f"kind could not make the cluster: {cause(log.read_text(errors='replace'))}",
            hint=f"kind's log is {log}, the node's {journal}",
        ) from error


_REASON = re.compile(
    r"(docker: )?Error response from daemon: .*|\[ERROR .*|error execution phase .*"
)
"""The part of a line of docker's or kubeadm's output that names why a command of kind failed."""
_COMMAND = re.compile(r'command "(\S+ \S+) [^"]*" failed')


def cause(log: str) -> str:
    """Returns why kind failed, from its whole log, without the trace of kind's own calls.

    At most five lines: kind's own error, and what docker and kubeadm printed as reasons.
    """
    rows = log.rpartition("\n$ ")[2].splitlines()
    last = max(
        (number for number, row in enumerate(rows) if row.startswith("ERROR: ")), default=None
    )
    if last is None:
        return rows[-1].strip()[:400] if rows else "it printed nothing"
    error = rows[last].removeprefix("ERROR: ").removeprefix("failed to create cluster: ")
    reasons = [match[0] for row in rows[last + 1 :] if (match := _REASON.search(row))]
    return "\n".join(row[:400] for row in [_COMMAND.sub(r"`\1 …` failed", error), *reasons[:4]])


def environment(name: str) -> dict[str, str]:
    """Returns kind's environment: our network, Docker as provider, not the user's kubeconfig."""
    return {
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": network_name(name),
        "KIND_EXPERIMENTAL_PROVIDER": "docker",
        "KUBECONFIG": os.devnull,
    }


def collect_node_log(name: str, file: Path) -> Path:
    """Write the node's last container output and its journal to `file`; returns `file`."""
    node = node_name(name)
    parts = []
    for words in (
        ["logs", "--tail", "200", node],
        ["exec", node, "journalctl", "--no-pager", "-n", "400"],
    ):
        answer = docker(*words, timeout=30, check=False)
        parts.append(f"$ docker {' '.join(words)}\n{answer.stdout}{answer.stderr}\n")
    file.write_text("\n".join(parts))
    return file


def early_kubeconfig(name: str) -> str | None:
    """Returns the cluster's kubeconfig as soon as kubeadm has written it, with the host's address.

    Returns None while the file or the node's published port does not exist yet.
    """
    node = node_name(name)
    wait = (
        f"for i in 1 2 3 4 5 6; do [ -s {ADMIN_CONFIG} ] && exec cat {ADMIN_CONFIG}; sleep .2; done"
    )
    text = docker("exec", node, "sh", "-c", wait, check=False)
    address = published_address(node)
    if not text.ok or not text.stdout.strip() or address is None:
        return None
    lines = [
        line[: line.index("server:")] + f"server: https://{address}"
        if line.lstrip().startswith("server:")
        else line
        for line in text.stdout.splitlines()
    ]
    return "\n".join(lines) + "\n"


def published_address(node: str) -> str | None:
    """Returns the `host:port` at which this host reaches a node's API server; None without one."""
    answer = docker("port", node, _API_PORT, check=False)
    rows = answer.stdout.split()
    return rows[0] if answer.ok and rows else None


def cgroup_v1(daemon: Daemon) -> bool:
    """Whether the daemon's machine runs cgroup v1."""
    return daemon.cgroup_version == "1"
