"""Runs `lab kube-inject` with parsed options: reads manifests, injects them, writes them.

A user may run the command once for every file, and loading click takes longer than an injection. So
this module loads click, and whatever an injection of one file to stdout does not need, only when it
is needed.
"""

import gc
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from lab.errors import MisuseError
from lab.mesh.errors import SidecarLabError
from lab.mesh.injector.files import Outcome, inject_files, uninject_files
from lab.mesh.injector.settings.pod_settings import Settings, native_by_version

if TYPE_CHECKING:
    from pathlib import Path

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")


class KubeInjectRequest(NamedTuple):
    """The options of one run of kube-inject; None means that the option was not used."""

    filenames: tuple[str, ...]
    output: str | None = None
    native: bool | None = None
    kubernetes_version: str | None = None
    config: str | None = None
    uninject: bool = False


def run(request: KubeInjectRequest) -> None:
    """Reads manifests, injects or uninjects them, and writes them; notes go to stderr.

    Raises SidecarLabError.
    """
    # lab.start gives the reason. It does not do this for a command line that click parses.
    gc.disable()
    sources = [source for name in request.filenames for source in _sources(name)]
    if request.uninject:
        outcome = uninject_files(sources)
    else:
        outcome = inject_files(sources, _settings(request))
    if outcome.notes:
        import click

        for note in outcome.notes:
            click.echo(click.style("note: ", fg="yellow") + note, err=True)
    if request.output is None or request.output == STDIN:
        _to_stdout(outcome)
    else:
        from pathlib import Path

        _to_file(outcome, Path(request.output))


def _settings(request: KubeInjectRequest) -> Settings:
    """Returns the settings; --native wins over --config, which wins over --kubernetes-version."""
    version = request.kubernetes_version
    versions = [version] if version is not None else []
    try:
        settings = Settings(native_sidecar=native_by_version(versions))
    except ValueError as bad:
        raise MisuseError(f"--kubernetes-version: {bad}", hint="for instance 1.34") from bad
    if request.config is not None:
        from pathlib import Path

        from lab.mesh.injector.settings import config as injector_config

        settings = injector_config.read_file(Path(request.config), settings, versions)
    return settings if request.native is None else settings._replace(native_sidecar=request.native)


def _sources(name: str) -> Iterator[tuple[str, bytes]]:
    if name == STDIN:
        yield STDIN, sys.stdin.buffer.read()
        return
    try:
        yield name, _read(name)
    except IsADirectoryError:
        from pathlib import Path

        files = sorted(child for child in Path(name).iterdir() if child.suffix in SUFFIXES)
        if not files:
            hint = f"a manifest's name ends in {', '.join(SUFFIXES)}"
            raise SidecarLabError(f"no manifest in folder {name}", hint=hint) from None
        for file in files:
            yield str(file), _read(str(file))


def _read(name: str) -> bytes:
    try:
        with open(name, "rb") as file:  # noqa: PTH123 - pathlib takes 8 ms to load
            return file.read()
    except IsADirectoryError:
        raise
    except FileNotFoundError as missing:
        hint = "check the path after -f; `-` reads stdin"
        raise SidecarLabError(f"no such file: {name}", hint=hint) from missing
    except OSError as bad:
        raise SidecarLabError(f"cannot read {name}: {bad.strerror}") from bad


def _to_stdout(outcome: Outcome) -> None:
    out = sys.stdout.buffer
    try:
        for piece in outcome.text():
            out.write(piece.encode())
        out.flush()
    except BrokenPipeError as gone:
        # The reader of our output has ended (`| head`). The exit code reports this, as that of
        # other tools does; click would make it 1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + 13) from gone


def _to_file(outcome: Outcome, target: "Path") -> None:
    """Writes to `target`, so that readers see the old or the whole new file, never a part of it.

    To achieve this, writes a temporary file and renames it to `target`. A terminal or a pipe cannot
    be replaced in this way, so it is written directly.
    """
    if not target.parent.is_dir():
        hint = f"make it first: mkdir -p {target.parent}"
        raise SidecarLabError(f"no such folder: {target.parent}", hint=hint)
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise SidecarLabError(f"{target} is a folder", hint="name a file after -o")
        with target.open("wb") as device:  # a terminal or a pipe cannot be renamed over
            device.writelines(piece.encode() for piece in outcome.text())
        return
    import contextlib
    import tempfile
    from pathlib import Path

    real = target.resolve()
    temporary = ""
    try:
        mode = real.stat().st_mode & 0o777 if real.exists() else 0o666 & ~_umask()
        handle, temporary = tempfile.mkstemp(prefix=f".{real.name}.", dir=real.parent)
        with os.fdopen(handle, "wb") as file:
            file.writelines(piece.encode() for piece in outcome.text())
        Path(temporary).chmod(mode)
        Path(temporary).replace(real)
    except OSError as bad:
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        raise SidecarLabError(f"cannot write {target}: {bad.strerror}") from bad


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
