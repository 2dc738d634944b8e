"""The errors of requests to an API server; their base classes are in lab/errors.py."""

from collections.abc import Sequence

from lab.errors import ClusterError, ObservationError
from lab.kube.paths import Object


class KubeError(ClusterError, ObservationError):
    """A request to an API server failed.

    It is also an ObservationError: without the API server, pods cannot be observed.
    """


class KubeconfigError(KubeError):
    """A kubeconfig does not exist or cannot be used."""


class ApiError(KubeError):
    """The API server refused a request (`status`: HTTP status) or did not answer (`status`: 0)."""

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NotFoundError(ApiError):
    """The API server answered 404: the object does not exist."""


class WaitError(KubeError):
    """A condition did not become true in time; `last`: the objects at the end of the wait."""

    def __init__(self, message: str, last: Sequence[Object]) -> None:
        super().__init__(message)
        self.last = tuple(last)
