"""The program `lab`: a plain `kube-inject` at once, everything else through click.

What is read here is a part of what click reads, and means the same; a test compares them.
"""

import gc
import sys
from collections.abc import Sequence
from typing import Any, Final

from lab import streams

FLAGS: Final = {
    "--native": ("native", True),
    "--no-native": ("native", False),
    "--uninject": ("uninject", True),
}
VALUES: Final = {
    "-o": "output",
    "--output": "output",
    "--kubernetes-version": "kubernetes_version",
    "--config": "config",
}
FILES: Final = ("-f", "--filename")


def plain(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The fields of a kube-inject request in whole words; None for all that click shall read."""
    if not arguments or arguments[0] != "kube-inject":
        return None
    files: list[str] = []
    found: dict[str, Any] = {}
    words = iter(arguments[1:])
    for word in words:
        if word in FLAGS:
            name, value = FLAGS[word]
            found[name] = value
            continue
        given = next(words, "")
        if not given or (given.startswith("-") and given != "-"):
            return None
        if word in FILES:
            files.append(given)
        elif word in VALUES:
            found[VALUES[word]] = given
        else:
            return None
    return {"filenames": tuple(files), **found} if files else None


def main() -> None:
    """Run the command line."""
    from lab.mesh.errors import SidecarLabError

    fields = plain(sys.argv[1:])
    try:
        streams.prepare()
        if fields is not None:
            # Loading makes thousands of small objects and no cycles: collecting only costs time.
            gc.disable()
            from lab.kube_inject.run import Request, run

            run(Request(**fields))
            return
    except (SidecarLabError, ModuleNotFoundError, KeyboardInterrupt) as error:
        from lab import cli

        cli.main(error)
    from lab import cli

    cli.main()
