"""`python -m tests.probers`: kubelet's prober beside the agent's on a table of odd servers.

`--record` writes kubelet's verdicts down for the unit tests. Exit code 1 where one differs.
"""

import sys

from lab import console
from tests.probers import compare

if __name__ == "__main__":
    outcome = compare.compare(console.progress(sys.stderr), record="--record" in sys.argv[1:])
    print(compare.told(outcome), flush=True)
    sys.exit(1 if outcome.differences else 0)
