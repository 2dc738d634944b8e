"""Errors of `lab explain`; the base class of all errors is in lab/mesh/errors.py."""

from lab.errors import ObservationError


class ExplainError(ObservationError):
    """No explanation is possible: wrong usage, no such pod, or no answer from the API server.

    `lab explain` then ends with exit code 2.
    """

    exit_code = 2
