"""What a pod needs of its cluster, so that neither module imports the other."""

from typing import Any, Protocol

from lab.observe import api_objects
from lab.observe.observer.container import Observer


class ClusterReads(Protocol):
    """What a pod needs of its cluster (lab.observe.cluster.Cluster has it)."""

    node: str
    observer: Observer

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET one API path, decoded."""

    def has_pod(self, namespace: str, name: str, uid: str | None = None) -> bool:
        """Whether the pod (of that uid) is there, terminating or not."""

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
        """A container's log text."""
