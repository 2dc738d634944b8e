"""The interface between a pod and its cluster, so that their modules do not import each other."""

from typing import Any, Protocol

from lab.observe import api_objects
from lab.observe.observer.container import Observer


class ClusterReads(Protocol):
    """The reads that a Pod makes through its cluster; lab.observe.cluster.Cluster provides them."""

    node: str
    observer: Observer

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET one API path and return the decoded JSON object."""

    def has_pod(self, namespace: str, name: str, uid: str | None = None) -> bool:
        """Whether the pod (with that uid, if one is named) exists; a terminating pod exists."""

    def events(self, namespace: str) -> tuple[api_objects.Event, ...]:
        """The namespace's events, oldest first."""

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        previous: bool = False,
        tail: int | None = None,
    ) -> str:
        """A container's log text; `previous`: of its previous run, `tail`: its last lines only."""
