"""`python3 -m lab.mesh.discovery`: the program discovery."""

import sys

from lab.mesh.discovery.program import main

sys.exit(main())
