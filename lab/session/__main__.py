"""`python -m lab.session LOG fresh|more COMMAND…` runs a command and copies its output to LOG.

`fresh` empties the log first, `more` appends to it.
"""

import sys
from pathlib import Path

from lab.session.logged import run

if __name__ == "__main__":
    log, extent, *command = sys.argv[1:]
    sys.exit(run(command, Path(log), fresh=extent == "fresh"))
