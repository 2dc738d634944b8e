"""`python -m tests.locks`: from the file names in wheels.txt; with --index they are asked for anew.

uv asks, so that the index is the one that the user's clients are set up for.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from lab import package_clients
from lab.paths import PACKAGE
from tests.locks import targets

LOCKS = PACKAGE / "locks"
NAMES = LOCKS / "wheels.txt"
FOR_HOSTS = ("bootstrap", "dev", "go")
"""The others are for images: Debian's Python on Linux."""


def read_names(text: str) -> dict[str, str]:
    """sha256 → file name, of the lines `sha256  name`."""
    rows = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {row[0]: row[1] for row in rows}


def ask(locks: list[Path]) -> dict[str, str]:
    """sha256 → name of every wheel of the locks that a host of ours could take."""
    found: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        package_clients.clients(sys.executable, Path(folder)) as (_, environment),
    ):
        for lock in locks:
            out = Path(folder, f"pylock.{lock.stem}.toml")
            words = ["uv", "pip", "compile", "--quiet", "--universal", "--no-deps"]
            words += ["--python-version", "3.11", "--format", "pylock.toml", str(lock)]
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
            subprocess.run(
                [*words, "-o", str(out)],
                check=True,
                cwd=folder,
                stdout=subprocess.DEVNULL,
                env={**environment, "PATH": path},
            )
            for package in tomllib.loads(out.read_text(encoding="utf-8"))["packages"]:
                for wheel in package.get("wheels", []):
                    name = wheel["url"].rpartition("/")[2]
                    if targets.wanted(name):
                        found[wheel["hashes"]["sha256"]] = name
    return found


def main() -> int:
    """Check; the exit code is 1 when a lock cannot be installed somewhere."""
    parser = argparse.ArgumentParser(prog="python -m tests.locks", description=__doc__)
    parser.add_argument("--index", action="store_true", help="ask the package index")
    asked: bool = parser.parse_args().index
    locks = [LOCKS / f"{name}.txt" for name in FOR_HOSTS]
    if asked:
        rows = sorted(ask(locks).items(), key=lambda row: row[1])
        head = (
            "# sha256 and name of each locked wheel for a host; `python -m tests.locks --index`\n"
        )
        NAMES.write_text(head + "".join(f"{digest}  {name}\n" for digest, name in rows))
    names = read_names(NAMES.read_text())
    said = [
        f"{lock.name}: {one}"
        for lock in locks
        for one in targets.lacking(targets.parse(lock.read_text()), names)
    ]
    for one in said:
        print(one)
    if said and not asked:
        print("hint: after a change of a lock: python -m tests.locks --index")
    pythons = len(targets.PYTHONS)
    print(f"{len(locks)} locks, {len(targets.HOSTS)} hosts, {pythons} Pythons: {len(said)} lacking")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
