"""`python3 -m lab.mesh.webhook`: the program webhook."""

import sys

from lab.mesh.webhook.program import main

sys.exit(main())
