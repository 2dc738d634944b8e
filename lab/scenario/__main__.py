"""`python -m lab.scenario ARGUMENTS`: runs pytest and ends it cleanly on output errors and signals.

pytest alone prints tracebacks when the disk is full, and does not clean up on SIGTERM.
"""

import sys

from lab import cli, streams
from lab.mesh.errors import SidecarLabError


def _end_of_run(_: OSError) -> BaseException:
    # Nobody reads the output any more, so this is not an error that pytest should report.
    return KeyboardInterrupt()


def main() -> int:
    """Run pytest with the process's arguments and return the exit code."""
    try:
        streams.prepare(_end_of_run)
        try:
            import pytest
        except ModuleNotFoundError as missing:
            raise cli.missing_package(missing) from missing
        try:
            code = int(pytest.main(sys.argv[1:]))
        except KeyboardInterrupt:
            code = int(pytest.ExitCode.INTERRUPTED)
        streams.finish()
    except SidecarLabError as error:
        return cli.report_error(error)
    return code


if __name__ == "__main__":
    sys.exit(main())
