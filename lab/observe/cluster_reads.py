"""The part of Cluster that Pod needs, so that pod.py does not have to import cluster.py."""

from typing import Any, Protocol

from lab.observe import api_objects
from lab.observe.observer.container import Observer


class ClusterReads(Protocol):
    """Declares the methods that a Pod calls. lab.observe.cluster.Cluster implements them."""

    node: str
    observer: Observer

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET one API path and return the decoded JSON object."""

    def has_pod(self, namespace: str, name: str, uid: str | None = None) -> bool:
        """Whether a pod with this name (and this uid, if given) exists.

        A pod that is terminating still exists.
        """

    def events(self, namespace: str) -> tuple[api_objects.Event, ...]:
        """Return the namespace's events, oldest first."""

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        previous: bool = False,
        tail: int | None = None,
    ) -> str:
        """Return a container's log.

        `previous`: True for the log of the container's previous run. `tail`: the number of lines to
        return from the end of the log, None for all lines.
        """
