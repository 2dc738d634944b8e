"""Defines the command line of `lab kube-inject`: options, help, examples."""

from typing import Final

import click

from lab.kube_inject.run import KubeInjectRequest, run
from lab.mesh import workloads

EXAMPLES = """\b
Examples:
  lab kube-inject -f app.yaml                      to the screen
  lab kube-inject -f app.yaml -o injected.yaml     to a file
  lab kube-inject -f app.yaml | kubectl apply -f -
  kubectl get deploy web -o yaml | lab kube-inject -f -
  lab kube-inject -f manifests/ -f extra.yaml      a folder and a file
  lab kube-inject --uninject -f injected.yaml      remove the sidecar again

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
@click.option("-o", "--output", metavar="FILE", help="Write to FILE instead of stdout.")
@click.option(
    "--native/--no-native",
    default=None,
    help="Inject the proxy as a native sidecar (an init container that keeps running); "
    "default: no, or as --kubernetes-version says.",
)
@click.option(
    "--kubernetes-version",
    metavar="VERSION",
    help="Version of the oldest node: from 1.33 on sidecars are native, as in Istio.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="The injector's configuration: policy, selectors, revision, nativeSidecars.",
)
@click.option(
    "--uninject",
    is_flag=True,
    help="Remove what an injection added. Comments, anchors and layout that the injection "
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
    """Runs `lab kube-inject` with the options that click has parsed."""
    run(KubeInjectRequest(filenames, output, native, kubernetes_version, config, uninject))
