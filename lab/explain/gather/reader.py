"""Reads from an API server, and keeps a text for each thing that it could not read. Thin."""

from collections.abc import Callable
from typing import TypeVar

from lab.kube.client import KubeApi
from lab.kube.errors import ApiError

Found = TypeVar("Found")


class Reader:
    """Reads from one API server. `unknown`: a text for each thing that could not be read."""

    def __init__(self, api: KubeApi) -> None:
        self.api = api
        self.unknown: list[str] = []

    def optional(
        self, what: str, read: Callable[..., Found], path: str, **query: str
    ) -> Found | None:
        """Returns what `read` returns. If it may not be read or does not exist, records that and
        returns None.
        """
        try:
            return read(path, **query)
        except ApiError as error:
            self.cannot(what, error)
            return None

    def cannot(self, what: str, error: ApiError) -> None:
        """Records that `what` may not be read or does not exist. Raises any other error."""
        if error.status not in (401, 403, 404):
            raise error
        gap = f"{what} (status {error.status})"
        if gap not in self.unknown:
            self.unknown.append(gap)
