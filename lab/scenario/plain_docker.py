"""Containers of plain Docker, outside the cluster, through testcontainers: what do they run?

They have no network, carry the lab's label, and are removed when the `with` ends. `lab down` finds
by the label what a killed process may have left.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lab.errors import ObservationError
from lab.observe.observer import LABEL, ROLE_LABEL


@dataclass(frozen=True)
class PlainContainer:
    """A running container. Wraps the Docker SDK's handle."""

    handle: Any

    def command(self) -> str:
        """Its first process's argument list, joined by blanks, as Docker's daemon sees it.

        Raises ObservationError when it does not run (any more).
        """
        from docker.errors import APIError  # type: ignore[import-untyped]

        try:
            self.handle.reload()
            first = str(self.handle.attrs["State"]["Pid"])
            rows = self.handle.top(ps_args="-eo pid,args")["Processes"]
        except APIError as error:
            raise ObservationError(f"container {self.handle.name} cannot be read: {error}") from (
                error
            )
        # ps pads the last column of some; the daemon splits only as many columns as it has titles.
        found = [" ".join(row[1:]).strip() for row in rows if row[0] == first]
        if not found:
            raise ObservationError(f"container {self.handle.name} does not run")
        return str(found[0])


@contextmanager
def running(
    image: str,
    *,
    lab: str,
    entrypoint: Sequence[str] | None = None,
    arguments: Sequence[str] | None = None,
) -> Iterator[PlainContainer]:
    """`docker run` of a local image, removed at the end; None leaves the image's own value.

    Raises ObservationError when Docker has no such image or refuses.
    """
    # testcontainers' reaper is an image that cannot be pulled where no registry answers.
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    from docker.errors import APIError, DockerException, ImageNotFound
    from testcontainers.core.container import DockerContainer

    options: Mapping[str, Any] = {
        "network_mode": "none",
        "labels": {LABEL: lab, ROLE_LABEL: "example"},
        **({} if entrypoint is None else {"entrypoint": list(entrypoint)}),
    }
    container = DockerContainer(image).with_kwargs(**options)
    if arguments is not None:
        container = container.with_command(list(arguments))
    try:
        try:
            container.start()
        except ImageNotFound as error:
            raise ObservationError(
                f"Docker has no image {image}", hint="`lab up` makes it"
            ) from error
        except (APIError, DockerException) as error:
            raise ObservationError(f"Docker did not run {image}: {error}") from error
        yield PlainContainer(container.get_wrapped_container())
    finally:
        # Also one that was created and not started; closes the connection too.
        container.stop(force=True, delete_volume=True)
