"""`python -m lab.session LOG fresh|more COMMAND…`: run a command and keep what it prints."""

import sys
from pathlib import Path

from lab.session.logged import run

if __name__ == "__main__":
    log, extent, *command = sys.argv[1:]
    sys.exit(run(command, Path(log), fresh=extent == "fresh"))
