"""The lab's cluster, read through its API; what has to be waited for is watched, not polled."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.observe import kube
from lab.observe.observer import Observer
from lab.observe.pod import Pod


class Cluster:
    """Reads of one cluster. Opening costs nothing: connections are made when first used.

    Safe to use from several threads. Every method raises ObservationError when the API server
    cannot be asked; the waiting ones raise WaitError, which carries the last thing seen.
    """

    def __init__(
        self, kubeconfig: Path, node: str, observer_image: str, *, lab: str = "sidecar-lab"
    ) -> None:
        """`node` is the node's Docker container, `lab` the lab's name (labels the observer)."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections. The observer container stays for the next one who needs it."""

    @property
    def observer(self) -> Observer:
        """The observer, started when first used."""
        raise NotImplementedError

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET one API path, decoded: get("/apis/apps/v1/namespaces/x/deployments/y")."""
        raise NotImplementedError

    def pods(self, namespace: str, labels: Mapping[str, str] | None = None) -> tuple[Pod, ...]:
        """Pods that are not being deleted, oldest first."""
        raise NotImplementedError

    def pod(self, namespace: str, name: str) -> Pod:
        """The pod of that name."""
        raise NotImplementedError

    def only_pod(self, namespace: str, labels: Mapping[str, str] | None = None) -> Pod:
        """The one pod that fits and is not being deleted; ObservationError if none or several."""
        raise NotImplementedError

    def has_pod(self, namespace: str, name: str, uid: str | None = None) -> bool:
        """Whether the pod (of that uid) is there, terminating or not."""
        raise NotImplementedError

    def events(self, namespace: str) -> tuple[kube.Event, ...]:
        """The namespace's events, oldest first."""
        raise NotImplementedError

    def deployment(self, namespace: str, name: str) -> kube.Deployment:
        """A deployment's counts."""
        raise NotImplementedError

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """The namespace's labels."""
        raise NotImplementedError

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
        raise NotImplementedError

    # --- waiting: list, then watch; `timeout` is in seconds --------------------------------
    def wait(
        self,
        path: str,
        met: Callable[[Sequence[kube.Object]], bool],
        *,
        what: str,
        timeout: float,
        labels: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> tuple[kube.Object, ...]:
        """Wait until `met` holds of the collection at `path`; returns the objects then there."""
        raise NotImplementedError

    def wait_ready(
        self,
        namespace: str,
        labels: Mapping[str, str] | None = None,
        *,
        count: int = 1,
        timeout: float = 60.0,
    ) -> tuple[Pod, ...]:
        """Wait until exactly `count` pods fit, all Ready, none of them being deleted."""
        raise NotImplementedError

    def wait_rollout(
        self, namespace: str, deployment: str, *, timeout: float = 60.0
    ) -> tuple[Pod, ...]:
        """Wait until the deployment is rolled out and its old pods are gone; its pods."""
        raise NotImplementedError

    def wait_gone(self, namespace: str, pod: str, *, timeout: float = 60.0) -> None:
        """Wait until no pod of that name is there."""
        raise NotImplementedError

    def wait_pod(
        self,
        namespace: str,
        name: str,
        met: Callable[[kube.Object], bool],
        *,
        what: str,
        timeout: float = 60.0,
    ) -> Pod:
        """Wait until `met` holds of the pod's API object (for instance: completed)."""
        raise NotImplementedError
