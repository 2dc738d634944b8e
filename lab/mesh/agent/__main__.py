"""`python3 -m lab.mesh.agent`: the program pilot-agent."""

import sys

from lab.mesh.agent.program import main

sys.exit(main())
