"""Reads one pod: its API object, its network, its processes and its Envoy."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lab.errors import ObservationError
from lab.observe import api_objects, network
from lab.observe.cluster_reads import ClusterReads
from lab.observe.envoy import Envoy
from lab.observe.parsers import parse_iptables_save
from lab.observe.readings import (
    Connect,
    HttpAnswer,
    Interface,
    Listener,
    Process,
    Ran,
    Route,
    Table,
    shown_user,
)

ADMIN = "http://127.0.0.1:15000"


class Pod:
    """Reads one pod, identified by its uid. Every call reads the current state.

    Each method raises ObservationError when the pod does not exist any more, when another pod now
    has the same name, or when the reading fails. The observer reads network and processes from
    outside the pod, so the pod's images need no tools and its containers need no privileges.
    """

    def __init__(self, cluster: ClusterReads, namespace: str, name: str, uid: str) -> None:
        self._cluster = cluster
        self.namespace = namespace
        self.name = name
        self.uid = uid

    def __repr__(self) -> str:
        return f"Pod({self.namespace}/{self.name})"

    # --- from the API ----------------------------------------------------------------------
    def object(self) -> dict[str, Any]:
        """Return the pod's API object as decoded JSON."""
        current = self._cluster.get(f"/api/v1/namespaces/{self.namespace}/pods/{self.name}")
        if current["metadata"]["uid"] != self.uid:
            raise ObservationError(
                f"pod {self.namespace}/{self.name} was replaced by another pod of the same name"
            )
        return current

    def exists(self) -> bool:
        """Whether the pod with this uid still exists. A pod that is terminating still exists."""
        return self._cluster.has_pod(self.namespace, self.name, self.uid)

    @property
    def ready(self) -> str:
        """The READY column of kubectl, for instance "1/1"."""
        return api_objects.ready_text(self.object())

    @property
    def is_ready(self) -> bool:
        """Whether the pod has the condition Ready and is not being deleted."""
        return api_objects.is_ready(self.object())

    @property
    def status(self) -> str:
        """The STATUS column of kubectl, for instance "Running" or "Init:0/1"."""
        return api_objects.status_text(self.object())

    @property
    def template_hash(self) -> str | None:
        """The value of the label pod-template-hash; None for a pod without this label."""
        return self.labels.get("pod-template-hash")

    @property
    def labels(self) -> Mapping[str, str]:
        """The pod's labels."""
        labels: Mapping[str, str] = self.object()["metadata"].get("labels") or {}
        return labels

    @property
    def annotations(self) -> Mapping[str, str]:
        """The pod's annotations."""
        annotations: Mapping[str, str] = self.object()["metadata"].get("annotations") or {}
        return annotations

    @property
    def ip(self) -> str:
        """The pod's IP address; "" when it has none yet."""
        return str(self.object().get("status", {}).get("podIP", ""))

    @property
    def node(self) -> str:
        """The name of the node that runs the pod; "" before the pod is scheduled."""
        return str(self.object()["spec"].get("nodeName", ""))

    def containers(self) -> tuple[api_objects.Container, ...]:
        """Return the app containers in the order of the spec."""
        return api_objects.pod_containers(self.object())

    def inits(self) -> tuple[api_objects.Container, ...]:
        """Return the init containers, including native sidecars, in the order of the spec."""
        return api_objects.pod_inits(self.object())

    def container(self, name: str) -> api_objects.Container:
        """Return the app container or native sidecar with this name."""
        return self._named(name, lambda container: not container.init or container.sidecar)

    def init(self, name: str) -> api_objects.Container:
        """Return the init container (or native sidecar) with this name."""
        return self._named(name, lambda container: container.init)

    def _named(self, name: str, fits: Any) -> api_objects.Container:
        pod = self.object()
        containers = (*api_objects.pod_inits(pod), *api_objects.pod_containers(pod))
        for container in containers:
            if container.name == name and fits(container):
                return container
        raise ObservationError(
            f"pod {self.namespace}/{self.name} has no such container: {name}",
            hint=f"the pod has {', '.join(container.name for container in containers)}",
        )

    def restarts(self, name: str) -> int:
        """Return how often an app container or native sidecar was restarted."""
        return self.container(name).restarts

    def logs(self, container: str, *, previous: bool = False, tail: int | None = None) -> str:
        """Return a container's log.

        `previous`: True for the log of the container's previous run. `tail`: the number of lines to
        return from the end of the log, None for all lines.
        """
        return self._cluster.logs(
            self.namespace, self.name, container, previous=previous, tail=tail
        )

    def events(self) -> tuple[api_objects.Event, ...]:
        """Return the events about pods with this name, oldest first."""
        events = self._cluster.events(self.namespace)
        return tuple(event for event in events if event.about == f"Pod/{self.name}")

    # --- from the kernel ------------------------------------------------------------------
    def pid(self, container: str) -> int:
        """Return the process id, on the node, of the container's first process."""
        return int(self._inside(container)["pid"])

    def netns(self, container: str) -> int:
        """Return the inode of the container's network namespace.

        Containers that share a network namespace have the same inode.
        """
        return int(self._inside(container)["netns"])

    def listeners(self) -> frozenset[Listener]:
        """Return the listening TCP sockets in the pod's network, with their owner processes."""
        rows = self._ask("sockets", pid=self._any_pid(), uid=self.uid)
        names = self._names()
        return frozenset(
            Listener(
                row["address"],
                row["port"],
                row.get("process"),
                row.get("pid"),
                names.get(row.get("container") or ""),
            )
            for row in rows
        )

    def interfaces(self) -> tuple[Interface, ...]:
        """Return the interfaces that are up, sorted by name."""
        answer = self._ask("network", pid=self._any_pid())
        return network.interfaces(answer["links"], answer["addresses"])

    def routes(self) -> tuple[Route, ...]:
        """Return the IPv4 routes of the main table, in the kernel's order."""
        answer = self._ask("network", pid=self._any_pid())
        return network.routes(answer["routes"], answer["links"])

    def tables(self, *, family: Literal[4, 6] = 4) -> Mapping[str, Table]:
        """Return the netfilter tables that exist, by name, with exact counters."""
        return parse_iptables_save(self._ask("rules", pid=self._any_pid(), family=family))

    def table(self, name: str) -> Table:
        """Return one IPv4 netfilter table ("nat", "mangle", "raw", "filter"), with exact counters.

        For a table that does not exist, this returns a table without chains.
        """
        return self.tables().get(name, Table(name))

    def nat(self) -> Table:
        """Return the IPv4 nat table, with exact counters."""
        return self.table("nat")

    def processes(self, container: str) -> tuple[Process, ...]:
        """Return the container's processes, sorted by pid, each with its exact argv."""
        rows = self._ask("processes", container=self._id(container))
        return tuple(
            Process(
                pid=row["pid"],
                ppid=row["ppid"],
                user=shown_user(row["user"]),
                command=_command(row),
                argv=tuple(row["argv"]),
                node_pid=row["node_pid"],
            )
            for row in rows
        )

    # --- actions in its network ----------------------------------------------------------
    def envoy(self) -> Envoy:
        """Return a reader of the pod's Envoy, which asks the admin interface on 127.0.0.1."""
        return Envoy(lambda path: self.http(ADMIN + path), f"{self.namespace}/{self.name}")

    def connect(self, address: str, port: int, *, timeout: float = 2.0) -> Connect:
        """Try to open a TCP connection from the pod's network, as user 0.

        The pod's redirection rules apply to the connection, as to connections of the app. `timeout`
        is in seconds.
        """
        pid = self._any_pid()
        answer = self._ask(
            "connect", wait=timeout, pid=pid, host=address, port=port, timeout=timeout
        )
        return Connect(**answer)

    def http(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> HttpAnswer:
        """Send an HTTP request (without TLS) from the pod's network, as user 0.

        The host in `url` must be an IP address, because the observer cannot resolve the cluster's
        names; pass a `host` header if the server needs one. `timeout` in seconds is for the whole
        exchange.
        """
        answer = self._ask(
            "http",
            wait=2 * timeout,
            pid=self._any_pid(),
            url=url,
            method=method,
            headers=dict(headers or {}),
            timeout=timeout,
        )
        return HttpAnswer(**answer)

    def run(self, argv: Sequence[str], *, timeout: float = 10.0) -> Ran:
        """Run a tool of the observer's image in the pod's network namespace, with privileges.

        Tools are for instance iptables, netstat, ip and conntrack. They see the files of the
        observer, not those of the pod. `timeout` is in seconds.
        """
        words = tuple(argv)
        pid = self._any_pid()
        answer = self._ask("run", wait=timeout, pid=pid, argv=list(words), timeout=timeout)
        return Ran(words, answer["returncode"], answer["stdout"], answer["stderr"])

    # --- between API and kernel ----------------------------------------------------------
    def _ask(self, question: str, *, wait: float = 5.0, **details: Any) -> Any:
        return self._cluster.observer.ask(question, wait=wait, **details)

    def _names(self) -> dict[str, str]:
        pod = self.object()
        containers = (*api_objects.pod_inits(pod), *api_objects.pod_containers(pod))
        return {
            container.container_id: container.name
            for container in containers
            if container.container_id
        }

    def _id(self, container: str) -> str:
        names = self._names()
        for container_id, name in names.items():
            if name == container:
                return container_id
        raise ObservationError(
            f"pod {self.namespace}/{self.name} has started no container named {container}",
            hint=f"started containers: {', '.join(names.values()) or 'none'}",
        )

    def _inside(self, container: str) -> Mapping[str, Any]:
        container_id = self._id(container)
        running: Mapping[str, Mapping[str, Any]] = self._ask("pod", uid=self.uid)
        if container_id not in running:
            raise ObservationError(
                f"container {container} of pod {self.namespace}/{self.name} has no running process"
            )
        return running[container_id]

    def _any_pid(self) -> int:
        # All processes of the pod share its network, the sandbox's too; any of them will do.
        running: Mapping[str, Mapping[str, Any]] = self._ask("pod", uid=self.uid)
        if not running:
            raise ObservationError(
                f"pod {self.namespace}/{self.name} has no running process on {self._cluster.node}",
                hint="is the pod scheduled, and has it a sandbox? `kubectl describe pod` shows it",
            )
        return min(int(container["pid"]) for container in running.values())


def _command(process: Mapping[str, Any]) -> str:
    # As ps prints it: the name in brackets without an argv, and <defunct> after a zombie.
    if process["zombie"]:
        return f"[{process['name']}] <defunct>"
    return " ".join(process["argv"]).rstrip() or f"[{process['name']}]"
