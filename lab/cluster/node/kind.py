"""Creates the kind cluster of one lab; reads logs, kubeconfig and port of the cluster's node.

Each lab has a Docker network of its own, which this module creates before kind starts; otherwise
kind would put all clusters into one network. The network's labels tell which lab a cluster belongs
to, so that the lab does not touch another cluster of the same name.
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
"""The label of the node's network; its value is the path of the lab's folder.
Labs of the same name in two checkouts have different folders.
"""
ADMIN_CONFIG = "/etc/kubernetes/super-admin.conf"
"""The path, in the node, of the kubeconfig that the lab reads.
The lab does not wait for admin.conf: kubeadm gives the user of that file its rights only shortly
before kubeadm ends.
"""
_API_PORT = "6443/tcp"


@dataclass(frozen=True)
class ClusterPlan:
    """Holds the values from which `config` makes kind's configuration of the cluster."""

    name: str
    node_image: str
    default_cni: bool
    cgroup_v1: bool
    kubernetes_minor: str


def node_name(name: str) -> str:
    """Returns the name of the container that kind creates as the node of the cluster `name`."""
    return f"{name}-control-plane"


def network_name(name: str) -> str:
    """Returns the name of the Docker network of the lab `name`."""
    return f"sidecar-lab-{name}" if name != "sidecar-lab" else name


def config(plan: ClusterPlan) -> str:
    """Returns kind's configuration of a cluster with one node that starts fast.

    The text is JSON, which is valid YAML. The reason for each setting is in a comment in the code,
    the measurements are in docs/decisions.md.
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
    # There is only one of each, so no leader must be elected: the election costs four seconds at
    # the first start, and after a stop of the node the fifteen seconds until the old lease expires.
    # With the default rate (20 requests a second), the controller manager needs five seconds to
    # start.
    alone = {"leader-elect": "false", "kube-api-qps": "300", "kube-api-burst": "600"}
    minor = tuple(int(part) for part in plan.kubernetes_minor.split("."))
    as_list = minor >= (1, 36)  # from here on, kind writes kubeadm v1beta4: arguments are lists

    def arguments(values: dict[str, str]) -> dict[str, object]:
        rows = [{"name": name, "value": value} for name, value in values.items()]
        return {"extraArgs": rows if as_list else values}

    patch: dict[str, object] = {
        "kind": "ClusterConfiguration",
        "etcd": {"local": arguments(etcd)},
        # This list replaces kind's own list, so the one argument of kind's list is repeated here.
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
    """Create the Docker network of the lab `name`, with the labels of the lab, if it is missing.

    `home` is the lab's folder. Raises HostError when Docker has no free address range.
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
                "Docker has no free range of IP addresses for another network",
                hint="`docker network prune` removes unused networks; or add ranges to "
                "default-address-pools in Docker's settings (a VPN can occupy Docker's ranges)",
            ) from error
        raise


def owner(name: str) -> str | None:
    """Returns the folder of the lab that created the cluster `name`.

    Returns None if there is no such cluster. Returns "" if no lab created the cluster, which is so
    when the cluster's node is in no lab's network.
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
    """Create the cluster with the program `kind`; `on_line` is called with each line of its output.

    The kubeconfig is written into the lab's folder; the user's own kubeconfig is neither read nor
    written. Raises ClusterError, which names the logs. After a failure, the node's container is
    kept if there is one.
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
            f"kind could not create the cluster: {cause(log.read_text(errors='replace'))}",
            hint=f"kind's log is {log}; the node's log is {journal}",
        ) from error


_REASON = re.compile(
    r"(docker: )?Error response from daemon: .*|\[ERROR .*|error execution phase .*"
)
"""Matches the part of a line from docker or kubeadm that tells why a command of kind failed."""
_COMMAND = re.compile(r'command "(\S+ \S+) [^"]*" failed')


def cause(log: str) -> str:
    """Finds in the text of kind's log why kind failed; leaves out the trace of kind's own calls.

    Returns at most five lines: kind's error message, and the reasons that docker and kubeadm
    printed. If the log holds no error message, returns its last line or "it printed nothing".
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
    """Returns the environment variables for kind.

    The variables make kind use the network of the lab `name` and use Docker, and they keep kind
    away from the user's kubeconfig.
    """
    return {
        "KIND_EXPERIMENTAL_DOCKER_NETWORK": network_name(name),
        "KIND_EXPERIMENTAL_PROVIDER": "docker",
        "KUBECONFIG": os.devnull,
    }


def collect_node_log(name: str, file: Path) -> Path:
    """Write the last lines of the node's output and of its journal to `file`; return `file`."""
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
    """Returns the text of the cluster's kubeconfig as soon as kubeadm has written it in the node.

    The text has the address at which this host reaches the API server. The function waits about a
    second for the file. Returns None if the node, the file or the published port does not exist.
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
    """Returns the `host:port` at which this host reaches the API server in a node.

    Returns None if the node does not exist or publishes no such port.
    """
    answer = docker("port", node, _API_PORT, check=False)
    rows = answer.stdout.split()
    return rows[0] if answer.ok and rows else None


def cgroup_v1(daemon: Daemon) -> bool:
    """Whether the machine on which the Docker daemon runs uses cgroup v1."""
    return daemon.cgroup_version == "1"
