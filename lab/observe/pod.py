"""One pod, seen from everywhere at once: the API, its network, its processes, its Envoy."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from lab.errors import ObservationError
from lab.observe import api_objects, network
from lab.observe.cluster_reads import ClusterReads
from lab.observe.envoy import Envoy
from lab.observe.parsers import parse_iptables_save
from lab.observe.readings import (
    Answer,
    Connect,
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
    """A handle on one pod (this uid, not merely this name). Every call looks anew.

    Each method raises ObservationError when the pod is gone, was replaced by another of the
    same name, or cannot be looked at. Network and process readings come from outside the pod,
    so they need no tool in its images and no right in its containers.
    """

    def __init__(self, cluster: ClusterReads, namespace: str, name: str, uid: str) -> None:
        self._cluster = cluster
        self.namespace = namespace
        self.name = name
        self.uid = uid

    def __repr__(self) -> str:
        return f"Pod({self.namespace}/{self.name})"

    # --- what the API says ---------------------------------------------------------------
    def object(self) -> dict[str, Any]:
        """The pod's API object as JSON."""
        found = self._cluster.get(f"/api/v1/namespaces/{self.namespace}/pods/{self.name}")
        if found["metadata"]["uid"] != self.uid:
            raise ObservationError(
                f"pod {self.namespace}/{self.name} was replaced by another of the same name"
            )
        return found

    def exists(self) -> bool:
        """Whether this very pod is still there (it may be terminating)."""
        return self._cluster.has_pod(self.namespace, self.name, self.uid)

    @property
    def ready(self) -> str:
        """The READY column of kubectl: "1/1"."""
        return api_objects.ready_text(self.object())

    @property
    def is_ready(self) -> bool:
        """Whether the pod's Ready condition is true."""
        return api_objects.is_ready(self.object())

    @property
    def status(self) -> str:
        """The STATUS column of kubectl: "Running", "Init:0/1", "CrashLoopBackOff"."""
        return api_objects.status_text(self.object())

    @property
    def template_hash(self) -> str | None:
        """The label pod-template-hash; None for a pod of no Deployment."""
        return self.labels.get("pod-template-hash")

    @property
    def labels(self) -> Mapping[str, str]:
        """The pod's labels."""
        found: Mapping[str, str] = self.object()["metadata"].get("labels") or {}
        return found

    @property
    def annotations(self) -> Mapping[str, str]:
        """The pod's annotations."""
        found: Mapping[str, str] = self.object()["metadata"].get("annotations") or {}
        return found

    @property
    def ip(self) -> str:
        """The pod's address; "" before it has one."""
        return str(self.object().get("status", {}).get("podIP", ""))

    @property
    def node(self) -> str:
        """The name of the node it was scheduled to; "" before."""
        return str(self.object()["spec"].get("nodeName", ""))

    def containers(self) -> tuple[api_objects.Container, ...]:
        """The app containers in the order of the spec."""
        return api_objects.pod_containers(self.object())

    def inits(self) -> tuple[api_objects.Container, ...]:
        """The init containers in the order of the spec."""
        return api_objects.pod_inits(self.object())

    def container(self, name: str) -> api_objects.Container:
        """One app container, or a native sidecar."""
        return self._named(name, lambda one: not one.init or one.sidecar)

    def init(self, name: str) -> api_objects.Container:
        """One init container."""
        return self._named(name, lambda one: one.init)

    def _named(self, name: str, fits: Any) -> api_objects.Container:
        seen = self.object()
        every = (*api_objects.pod_inits(seen), *api_objects.pod_containers(seen))
        for one in every:
            if one.name == name and fits(one):
                return one
        raise ObservationError(
            f"pod {self.namespace}/{self.name} has no such container: {name}",
            hint=f"it has {', '.join(one.name for one in every)}",
        )

    def restarts(self, name: str) -> int:
        """How often the container was restarted."""
        return self.container(name).restarts

    def logs(self, container: str, *, previous: bool = False, tail: int | None = None) -> str:
        """A container's log text; `previous` that of its run before; `tail` the last lines."""
        return self._cluster.logs(
            self.namespace, self.name, container, previous=previous, tail=tail
        )

    def events(self) -> tuple[api_objects.Event, ...]:
        """Events about this pod, oldest first."""
        every = self._cluster.events(self.namespace)
        return tuple(one for one in every if one.about == f"Pod/{self.name}")

    # --- what the kernel says ------------------------------------------------------------
    def pid(self, container: str) -> int:
        """Process id, on the node, of the container's first process."""
        return int(self._inside(container)["pid"])

    def netns(self, container: str) -> int:
        """Inode of the container's network namespace; equal means shared."""
        return int(self._inside(container)["netns"])

    def listeners(self) -> frozenset[Listener]:
        """TCP sockets that listen in the pod's network, IPv4 and IPv6, with their owners."""
        found = self._ask("sockets", pid=self._any_pid(), uid=self.uid)
        names = self._names()
        return frozenset(
            Listener(
                one["address"],
                one["port"],
                one.get("process"),
                one.get("pid"),
                names.get(one.get("container") or ""),
            )
            for one in found
        )

    def interfaces(self) -> tuple[Interface, ...]:
        """Interfaces that are up, by name."""
        seen = self._ask("network", pid=self._any_pid())
        return network.interfaces(seen["links"], seen["addresses"])

    def routes(self) -> tuple[Route, ...]:
        """IPv4 routes of the main table, in the kernel's order."""
        seen = self._ask("network", pid=self._any_pid())
        return network.routes(seen["routes"], seen["links"])

    def tables(self, *, family: Literal[4, 6] = 4) -> Mapping[str, Table]:
        """Every netfilter table that holds anything, by name, with exact counters."""
        return parse_iptables_save(self._ask("rules", pid=self._any_pid(), family=family))

    def table(self, name: str) -> Table:
        """One netfilter table ("nat", "mangle", "raw", "filter"), with exact counters.

        A table that nothing was ever put in reads as one without chains.
        """
        return self.tables().get(name, Table(name))

    def nat(self) -> Table:
        """The nat table, with exact counters."""
        return self.table("nat")

    def processes(self, container: str) -> tuple[Process, ...]:
        """Every process of the container by pid, with its exact argv."""
        found = self._ask("processes", container=self._id(container))
        return tuple(
            Process(
                pid=one["pid"],
                ppid=one["ppid"],
                user=shown_user(one["user"]),
                command=_command(one),
                argv=tuple(one["argv"]),
                node_pid=one["node_pid"],
            )
            for one in found
        )

    # --- what happens in its network -----------------------------------------------------
    def envoy(self) -> Envoy:
        """The pod's Envoy, through its admin interface on loopback."""
        return Envoy(lambda path: self.http(ADMIN + path), f"{self.namespace}/{self.name}")

    def connect(self, address: str, port: int, *, timeout: float = 2.0) -> Connect:
        """One TCP connection attempt from the pod's network, as its app (uid 0) would make it.

        The pod's own redirection rules apply to it. `timeout` is in seconds.
        """
        pid = self._any_pid()
        seen = self._ask("connect", wait=timeout, pid=pid, host=address, port=port, timeout=timeout)
        return Connect(**seen)

    def http(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Answer:
        """One plain HTTP request from the pod's network, as its app (uid 0) would make it.

        `url` names an address, not a host name: the observer has no cluster DNS; give a
        `host` header instead. `timeout` is in seconds, for the whole exchange.
        """
        seen = self._ask(
            "http",
            wait=2 * timeout,
            pid=self._any_pid(),
            url=url,
            method=method,
            headers=dict(headers or {}),
            timeout=timeout,
        )
        return Answer(**seen)

    def run(self, argv: Sequence[str], *, timeout: float = 10.0) -> Ran:
        """Run a tool of the observer's image, privileged, in the pod's network namespace.

        iptables, netstat, ip, conntrack …; files are the observer's. `timeout` is in seconds.
        """
        words = tuple(argv)
        pid = self._any_pid()
        seen = self._ask("run", wait=timeout, pid=pid, argv=list(words), timeout=timeout)
        return Ran(words, seen["returncode"], seen["stdout"], seen["stderr"])

    # --- how the two views meet ----------------------------------------------------------
    def _ask(self, question: str, *, wait: float = 5.0, **details: Any) -> Any:
        return self._cluster.observer.ask(question, wait=wait, **details)

    def _names(self) -> dict[str, str]:
        seen = self.object()
        every = (*api_objects.pod_inits(seen), *api_objects.pod_containers(seen))
        return {one.container_id: one.name for one in every if one.container_id}

    def _id(self, container: str) -> str:
        names = self._names()
        for container_id, name in names.items():
            if name == container:
                return container_id
        raise ObservationError(
            f"pod {self.namespace}/{self.name} has not started a container {container}",
            hint=f"it has started {', '.join(names.values()) or 'none'}",
        )

    def _inside(self, container: str) -> Mapping[str, Any]:
        container_id = self._id(container)
        seen: Mapping[str, Mapping[str, Any]] = self._ask("pod", uid=self.uid)
        if container_id not in seen:
            raise ObservationError(
                f"no process of container {container} of pod {self.namespace}/{self.name} runs"
            )
        return seen[container_id]

    def _any_pid(self) -> int:
        # Any process of the pod will do, the sandbox's among them: all share its network.
        seen: Mapping[str, Mapping[str, Any]] = self._ask("pod", uid=self.uid)
        if not seen:
            raise ObservationError(
                f"no process of pod {self.namespace}/{self.name} runs on {self._cluster.node}",
                hint="is the pod scheduled and its sandbox made? `kubectl describe pod` says",
            )
        return min(int(one["pid"]) for one in seen.values())


def _command(one: Mapping[str, Any]) -> str:
    # As ps: the name in brackets where there is no argv, <defunct> after one that ended.
    if one["zombie"]:
        return f"[{one['name']}] <defunct>"
    return " ".join(one["argv"]).rstrip() or f"[{one['name']}]"
