"""The program `lab`: runs a simple `kube-inject` directly, every other command line with click.

This saves the time of loading click. A test checks that the command lines that this module parses
have the same meaning for click.
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
    """Parses a simple kube-inject command line; returns the fields of its KubeInjectRequest.

    It is simple if it names at least one file, has only the options in FLAGS, VALUES and FILES, and
    has each value in a separate word (`-o json`, not `-ojson`). Returns None for every other
    command line, which click must parse.
    """
    if not arguments or arguments[0] != "kube-inject":
        return None
    files: list[str] = []
    fields: dict[str, Any] = {}
    words = iter(arguments[1:])
    for word in words:
        if word in FLAGS:
            name, setting = FLAGS[word]
            fields[name] = setting
            continue
        value = next(words, "")
        if not value or (value.startswith("-") and value != "-"):
            return None
        if word in FILES:
            files.append(value)
        elif word in VALUES:
            fields[VALUES[word]] = value
        else:
            return None
    return {"filenames": tuple(files), **fields} if files else None


def main() -> None:
    """Run the command line of this process."""
    from lab.mesh.errors import SidecarLabError

    fields = plain(sys.argv[1:])
    try:
        streams.prepare()
        if fields is not None:
            # Loading creates thousands of objects and no cycles, so collection only costs time.
            gc.disable()
            from lab.kube_inject.run import KubeInjectRequest, run

            run(KubeInjectRequest(**fields))
            return
    except (SidecarLabError, ModuleNotFoundError, KeyboardInterrupt) as error:
        from lab import cli

        cli.main(error)
    from lab import cli

    cli.main()
