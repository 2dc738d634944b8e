"""One pod, seen from everywhere at once: the API, its network, its processes, its Envoy."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lab.errors import ObservationError
from lab.observe import kube
from lab.observe.envoy import Envoy
from lab.observe.model import (
    Answer,
    Connect,
    Interface,
    Listener,
    Process,
    Ran,
    Route,
    Table,
)

if TYPE_CHECKING:
    from lab.observe.cluster import Cluster

ADMIN = "http://127.0.0.1:15000"


class Pod:
    """A handle on one pod (this uid, not merely this name). Every call looks anew.

    Each method raises ObservationError when the pod is gone, was replaced by another of the
    same name, or cannot be looked at. Network and process readings come from outside the pod,
    so they need no tool in its images and no right in its containers.
    """

    def __init__(self, cluster: "Cluster", namespace: str, name: str, uid: str) -> None:
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
        return kube.ready_text(self.object())

    @property
    def is_ready(self) -> bool:
        """Whether the pod's Ready condition is true."""
        return kube.is_ready(self.object())

    @property
    def status(self) -> str:
        """The STATUS column of kubectl: "Running", "Init:0/1", "CrashLoopBackOff"."""
        return kube.status_text(self.object())

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

    def containers(self) -> tuple[kube.Container, ...]:
        """The app containers in the order of the spec."""
        return kube.pod_containers(self.object())

    def inits(self) -> tuple[kube.Container, ...]:
        """The init containers in the order of the spec."""
        return kube.pod_inits(self.object())

    def container(self, name: str) -> kube.Container:
        """One app container, or a native sidecar."""
        return self._named(name, lambda one: not one.init or one.sidecar)

    def init(self, name: str) -> kube.Container:
        """One init container."""
        return self._named(name, lambda one: one.init)

    def _named(self, name: str, fits: Any) -> kube.Container:
        seen = self.object()
        every = (*kube.pod_inits(seen), *kube.pod_containers(seen))
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

    def events(self) -> tuple[kube.Event, ...]:
        """Events about this pod, oldest first."""
        every = self._cluster.events(self.namespace)
        return tuple(one for one in every if one.about == f"Pod/{self.name}")

    # --- what the kernel says ------------------------------------------------------------
    def pid(self, container: str) -> int:
        """Process id, on the node, of the container's first process."""
        raise NotImplementedError

    def netns(self, container: str) -> int:
        """Inode of the container's network namespace; equal means shared."""
        raise NotImplementedError

    def listeners(self) -> frozenset[Listener]:
        """TCP sockets that listen in the pod's network, IPv4 and IPv6, with their owners."""
        raise NotImplementedError

    def interfaces(self) -> tuple[Interface, ...]:
        """Interfaces that are up, by name."""
        raise NotImplementedError

    def routes(self) -> tuple[Route, ...]:
        """IPv4 routes of the main table, in the kernel's order."""
        raise NotImplementedError

    def table(self, name: str) -> Table:
        """One netfilter table ("nat", "mangle", "raw", "filter"), with exact counters.

        A table that nothing was ever put in reads as one without chains.
        """
        raise NotImplementedError

    def nat(self) -> Table:
        """The nat table, with exact counters."""
        return self.table("nat")

    def processes(self, container: str) -> tuple[Process, ...]:
        """Every process of the container by pid, with its exact argv."""
        raise NotImplementedError

    # --- what happens in its network -----------------------------------------------------
    def envoy(self) -> Envoy:
        """The pod's Envoy, through its admin interface on loopback."""
        return Envoy(lambda path: self.http(ADMIN + path), f"{self.namespace}/{self.name}")

    def connect(self, address: str, port: int, *, timeout: float = 2.0) -> Connect:
        """One TCP connection attempt from the pod's network, as its app (uid 0) would make it.

        The pod's own redirection rules apply to it. `timeout` is in seconds.
        """
        raise NotImplementedError

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
        raise NotImplementedError

    def run(self, argv: Sequence[str], *, timeout: float = 10.0) -> Ran:
        """Run a tool of the observer's image (iptables, netstat, ip …), privileged, in the
        pod's network namespace. `timeout` is in seconds.
        """
        raise NotImplementedError
