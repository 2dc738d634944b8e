"""Which lab the live tests run on that do not make one of their own."""

import os
from typing import Final

from lab.paths import DEFAULT_NAME

NAME: Final = os.environ.get("SIDECAR_LAB_NAME") or DEFAULT_NAME
