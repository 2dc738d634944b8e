"""What can go wrong while an API server is asked; the root of all is in lab/mesh/errors.py."""

from collections.abc import Sequence

from lab.errors import ClusterError, ObservationError
from lab.kube.paths import Object


class KubeError(ClusterError, ObservationError):
    """An API server could not be asked: the cluster is not reachable, so no pod is either."""


class KubeconfigError(KubeError):
    """A kubeconfig is absent or cannot be used."""


class ApiError(KubeError):
    """The API server refused a request; `status` is the HTTP status, 0 when nothing answered."""

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NotFoundError(ApiError):
    """The API server answers, and the object is not there."""


class WaitError(KubeError):
    """A condition did not come true in time; `last` holds the objects as they were then."""

    def __init__(self, message: str, last: Sequence[Object]) -> None:
        super().__init__(message)
        self.last = tuple(last)
