"""The command line of `lab kube-inject`, whole: options, help, examples."""

from typing import Final

import click

from lab.kube_inject.run import Request, run
from lab.mesh import workloads

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


HELP: Final = f"""Inject the sidecar into manifests, as the webhook does into pods.

{workloads.in_words()} are injected; every other document passes byte for byte.
"""


@click.command(help=HELP, epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
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
    """Parse the command line and run it."""
    run(Request(filenames, output, native, kubernetes_version, config, uninject))
