"""Errors of `lab explain`; the base class of all errors is in lab/mesh/errors.py."""

from lab.errors import ObservationError


class ExplainError(ObservationError):
    """There is no explanation: misuse, no such pod, or no answer from the cluster. Exit code 2."""

    exit_code = 2
