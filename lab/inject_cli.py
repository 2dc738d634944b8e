"""`lab kube-inject`: the injector on files, before anything meets a cluster."""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from lab.mesh.errors import SidecarLabError
from lab.mesh.manifests import Outcome, inject_files, uninject_files
from lab.mesh.sidecar import Settings, native_by_version

STDIN = "-"
SUFFIXES = (".yaml", ".yml", ".json")
EXAMPLES = """\b
Examples:
  lab kube-inject -f app.yaml                      to the screen
  lab kube-inject -f app.yaml -o injected.yaml     to a file
  lab kube-inject -f app.yaml | kubectl apply -f -
  kubectl get deploy web -o yaml | lab kube-inject -f -
  lab kube-inject -f manifests/ -f extra.yaml      a folder and a file
  lab kube-inject --uninject -f injected.yaml      the sidecar out again

\b
Exit code: 0 done; 1 a file cannot be read or written; 2 a manifest or the command line
is wrong. Unless it is 0, no output was written.
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-f",
    "--filename",
    "filenames",
    multiple=True,
    required=True,
    metavar="FILE|-|DIR",
    help="Manifest, folder of manifests (*.yaml, *.yml, *.json), or - for stdin. Repeatable.",
)
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to stdout.")
@click.option(
    "--native/--no-native",
    default=None,
    help="Inject the proxy as a native sidecar (an init container that keeps running); "
    "default: no, or as --kubernetes-version says.",
)
@click.option(
    "--kubernetes-version",
    metavar="VERSION",
    help="Of the oldest node: from 1.33 sidecars are native, as Istio has it.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="The injector's configuration: policy, selectors, revision, nativeSidecars.",
)
@click.option(
    "--uninject",
    is_flag=True,
    help="Take out what an injection added. Comments, anchors and layout that the injection "
    "did not keep are not in its output, so they do not come back.",
)
def kube_inject(
    filenames: tuple[str, ...],
    output: str | None,
    native: bool | None,
    kubernetes_version: str | None,
    config: str | None,
    uninject: bool,
) -> None:
    """Inject the sidecar into manifests, as the webhook does into pods.

    Pod, Deployment, DaemonSet, ReplicaSet, StatefulSet, ReplicationController, Job, CronJob
    and List are injected; every other document passes byte for byte.
    """
    # Thousands of small objects and no cycles: collecting would only cost time.
    gc.disable()
    sources = [source for name in filenames for source in _sources(name)]
    if uninject:
        outcome = uninject_files(sources)
    else:
        outcome = inject_files(sources, _settings(native, kubernetes_version, config))
    for note in outcome.notes:
        click.echo(click.style("note: ", fg="yellow") + note, err=True)
    if output is None or output == STDIN:
        _to_stdout(outcome)
    else:
        _to_file(outcome, Path(output))


def _settings(native: bool | None, version: str | None, config: str | None) -> Settings:
    """What is asked for beats the configuration, and that the walkthrough's classic sidecars."""
    try:
        settings = Settings(native_sidecar=version is not None and native_by_version([version]))
    except ValueError as bad:
        raise click.BadParameter(f"{bad}, as in 1.34", param_hint="--kubernetes-version") from bad
    if config is not None:
        from lab.mesh import documents, injector_config

        if Path(config).is_dir():
            raise SidecarLabError(f"{config} is a folder", hint="name a file after --config")
        text = "".join(documents.decode(data, file) for file, data in _sources(config))
        settings = injector_config.read(text, config, settings, [version] if version else [])
    return settings if native is None else replace(settings, native_sidecar=native)


def _sources(name: str) -> Iterator[tuple[str, bytes]]:
    if name == STDIN:
        yield STDIN, sys.stdin.buffer.read()
        return
    path = Path(name)
    files = [path]
    if path.is_dir():
        files = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES)
        if not files:
            hint = f"a manifest's name ends in {', '.join(SUFFIXES)}"
            raise SidecarLabError(f"no manifest in folder {name}", hint=hint)
    for file in files:
        try:
            yield str(file), file.read_bytes()
        except FileNotFoundError as missing:
            hint = "look at the path after -f; `-` reads stdin"
            raise SidecarLabError(f"no such file: {file}", hint=hint) from missing
        except OSError as bad:
            raise SidecarLabError(f"cannot read {file}: {bad.strerror}") from bad


def _to_stdout(outcome: Outcome) -> None:
    out = sys.stdout.buffer
    try:
        for piece in outcome.text():
            out.write(piece.encode())
        out.flush()
    except BrokenPipeError as gone:
        # Whoever read us went away (`| head`). Said by the exit code, as a shell's tools do;
        # click would make it 1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + 13) from gone


def _to_file(outcome: Outcome, target: Path) -> None:
    """Write beside the target and rename, so that a reader sees the old file or all of the new."""
    if not target.parent.is_dir():
        hint = f"make it first: mkdir -p {target.parent}"
        raise SidecarLabError(f"no such folder: {target.parent}", hint=hint)
    if target.exists() and not target.is_file():
        if target.is_dir():
            raise SidecarLabError(f"{target} is a folder", hint="name a file after -o")
        with target.open("wb") as device:  # a terminal or a pipe cannot be renamed over
            device.writelines(piece.encode() for piece in outcome.text())
        return
    import tempfile  # with all that it loads, 3 ms

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
