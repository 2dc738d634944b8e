"""`python -m tests.rooms`: write docs/rooms.svg; `--check`: whether it is as the code is."""

import sys
from collections.abc import Sequence
from typing import Final

from tests.rooms import drawing, house

FILE: Final = house.ROOT / "docs" / "rooms.svg"


def main(arguments: Sequence[str]) -> int:
    """Write the drawing or check it; return the exit code."""
    made = drawing.svg(house.panels())
    if "--check" not in arguments:
        FILE.write_text(made, "utf-8")
        print(f"wrote {FILE.relative_to(house.ROOT)}")
        return 0
    if FILE.is_file() and FILE.read_text("utf-8") == made:
        print("docs/rooms.svg fits the code")
        return 0
    print("error: docs/rooms.svg is not as the code is", file=sys.stderr)
    print(
        "hint: python -m tests.rooms draws it anew; look at it before you commit", file=sys.stderr
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
