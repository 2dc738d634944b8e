"""What can go wrong while explaining; the root of all is in lab/mesh/errors.py."""

from lab.errors import ObservationError


class ExplainError(ObservationError):
    """It cannot be told: misuse, no such pod, a cluster that does not answer. Exit code 2."""

    exit_code = 2


class RequestError(ExplainError):
    """The API server refused a request; `status` is the HTTP status, 0 when nothing answered."""

    def __init__(self, message: str, status: int, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
