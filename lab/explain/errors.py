"""What can go wrong while explaining; the root of all is in lab/mesh/errors.py."""

from lab.errors import ObservationError


class ExplainError(ObservationError):
    """It cannot be told: misuse, no such pod, a cluster that does not answer. Exit code 2."""

    exit_code = 2
