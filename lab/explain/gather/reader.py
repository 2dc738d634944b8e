"""Reads from an API server, and collects texts that say what could not be read."""

from collections.abc import Callable
from typing import TypeVar

from lab.kube.client import KubeApi
from lab.kube.errors import ApiError

Found = TypeVar("Found")


class Reader:
    """Reads from one API server, and remembers what could not be read.

    `unknown`: one text for each thing that could not be read.
    """

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.unknown: list[str] = []

    def optional(
        self, what: str, read: Callable[..., Found], path: str, **query: str
    ) -> Found | None:
        """Calls `read` with `path` and `query`, and returns the result.

        If the API server answers 401, 403 or 404, adds `what` to `unknown` and returns None.
        """
        try:
            return read(path, **query)
        except ApiError as error:
            self.cannot(what, error)
            return None

    def cannot(self, what: str, error: ApiError) -> None:
        """Adds `what` to `unknown` if `error` has status 401, 403 or 404. Else raises `error`."""
        if error.status not in (401, 403, 404):
            raise error
        gap = f"{what} (status {error.status})"
        if gap not in self.unknown:
            self.unknown.append(gap)
