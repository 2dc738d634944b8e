"""`python -m tests.dataplane`: have the tools by which the tests program a namespace.

Who is not root makes no namespaces and needs no tools: the tests say that they were not run.
"""

import os
import sys

from lab import console
from lab.mesh.errors import SidecarLabError
from tests.dataplane import host_packages
from tests.dataplane.world import TOOLS

if __name__ == "__main__":
    try:
        if os.geteuid() == 0:
            host_packages.ensure(TOOLS, console.progress(sys.stdout))
    except SidecarLabError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        sys.exit(error.exit_code)
