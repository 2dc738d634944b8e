"""The exceptions of the lab; their base class, SidecarLabError, is in lab/mesh/errors.py.

SidecarLabError
├── CommandError         a command that we ran failed (argv, exit code, output)
├── HostError            this machine lacks something (Docker, rights, disk, a kernel feature)
├── BuildError           an image or binary could not be built
├── ClusterError         the cluster could not be made, reached or removed
│   └── RefusedError     nothing failed: the lab destroys something only if the user agrees
├── ObservationError     a pod or its node could not be observed
├── MisuseError          a command line is not valid
└── ScenarioError        the declaration of a scenario is wrong (not: a check failed)
"""

from collections.abc import Sequence

from lab.mesh.errors import SidecarLabError


class CommandError(SidecarLabError):
    """A command failed. The error has the command's argv, exit code and output."""

    def __init__(
        self,
        argv: Sequence[str],
        exit_code: int | None,
        stdout: str,
        stderr: str,
        *,
        hint: str = "",
    ) -> None:
        self.argv = tuple(argv)
        self.returncode = exit_code
        self.stdout = stdout
        self.stderr = stderr
        how = "timed out" if exit_code is None else f"exited {exit_code}"
        tail = (stderr.strip() or stdout.strip())[-2000:]
        super().__init__(f"`{' '.join(argv)}` {how}: {tail}", hint=hint)


class MisuseError(SidecarLabError):
    """A command line is not valid. The exit code is 2, as for click's own usage errors."""

    exit_code = 2


class HostError(SidecarLabError):
    """This machine lacks something that the lab needs (Docker, rights, disk, a kernel feature)."""


class BuildError(SidecarLabError):
    """An image or a binary could not be built. The message or the hint names the log, if any."""


class ClusterError(SidecarLabError):
    """The cluster could not be made, reached or removed."""


class RefusedError(ClusterError):
    """Nothing failed: the lab refuses to destroy something until the user explicitly agrees."""


class ObservationError(SidecarLabError):
    """A pod or its node could not be observed."""


class ScenarioError(SidecarLabError):
    """The declaration of a scenario is wrong."""
