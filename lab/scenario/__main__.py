"""`python -m lab.scenario ARGUMENTS`: pytest, ended by what befalls its output or by a signal.

Of its own, pytest answers a full disk with tracebacks, and SIGTERM with leaving all as it is.
"""

import sys

import pytest

from lab import cli, streams
from lab.mesh.errors import SidecarLabError


def _end_of_run(_: OSError) -> BaseException:
    # Not an error, which pytest would report at length: nobody reads any more.
    return KeyboardInterrupt()


def main() -> int:
    """Run pytest; the exit code."""
    try:
        streams.prepare(_end_of_run)
        try:
            code = int(pytest.main(sys.argv[1:]))
        except KeyboardInterrupt:
            code = int(pytest.ExitCode.INTERRUPTED)
        streams.finish()
    except SidecarLabError as error:
        return cli.say(error)
    return code


if __name__ == "__main__":
    sys.exit(main())
