"""`lab explain`: explains why a pod was, was not, or would be injected."""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from lab.errors import ClusterError
from lab.explain.errors import ExplainError
from lab.explain.findings.causes import Cause
from lab.explain.render import as_json, as_text
from lab.explain.situation import Situation
from lab.explain.targets import Manifest, is_file, read, target
from lab.explain.verdict import Explanation, Verdict, judge, unreadable
from lab.mesh.errors import MOST_LISTED, SidecarLabError
from lab.paths import DEFAULT_NAME, lab_paths

SILENT = "is the cluster up, and is it the one you mean (--name, --kubeconfig)?"
SLOW = 2.0
"""Seconds after which a message on stderr names the server that has not answered yet."""
EXAMPLES = """\b
Examples:
  lab explain shop/web-6d4cf56db6-x2x9z       a pod of the lab
  lab explain deploy/web -n shop              a workload: its template and its pods
  lab explain app.yaml -n shop                a manifest, before it is applied
  lab explain app.yaml --offline              the same without a cluster
  lab explain shop/web-0 --context staging    a cluster of your own, read only
  kubectl get deploy web -o yaml | lab explain - --json

\b
Exit code: 0 it is, or would be, injected; 1 it is not, or would not be; 2 the answer is not
known (no such pod, no answer, wrong usage); 3 it is, or would be, and something is wrong with it.
Of several pods the worst counts: 1, then 2, then 3, then 0.
Each proposed change is a command for this cluster; lab explain never runs it.
"""


@click.command(epilog=EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("what", metavar="POD|FILE")
@click.option("-n", "--namespace", default="", help="The pod's namespace.")
@click.option("--name", default="", help=f"Which lab.  [default: {DEFAULT_NAME}]")
@click.option("--kubeconfig", default="", metavar="FILE", help="A cluster other than a lab.")
@click.option("--context", default="", help="A context of your kubeconfig.")
@click.option("--offline", is_flag=True, help="Ask no cluster: judge the FILE alone.")
@click.option(
    "--trial/--no-trial",
    default=True,
    help="Whether to send the API server a dry-run create of the pod; it stores nothing.",
)
@click.option("--json", "json_", is_flag=True, help="Print JSON, for programs.")
def explain(
    what: str,
    namespace: str,
    name: str,
    kubeconfig: str,
    context: str,
    offline: bool,
    trial: bool,
    json_: bool,
) -> None:
    """Explain why a pod was, was not, or would be injected, and what to change.

    Write a pod as NAME or NAMESPACE/NAME, a workload as KIND/NAME. FILE is a manifest, and - is
    standard input. The output has a line with yes or no for each selector of the webhook and each
    check of the injector, and marks the line that decides. The command only reads and sends dry-run
    creates, which store nothing.
    """
    try:
        explanations = _explanations(what, namespace, (name, kubeconfig, context), offline, trial)
    except SidecarLabError as error:
        # For this command, exit code 1 means "not injected" and nothing else.
        raise ExplainError(error.message, hint=error.hint) from error
    code = exit_code(explanations)
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if json_:
        click.echo(as_json(explanations, code), nl=False)
    else:
        click.echo(as_text(explanations, _paint) if colours else as_text(explanations), nl=False)
    raise click.exceptions.Exit(code)


def _explanations(
    what: str, namespace: str, cluster: tuple[str, str, str], offline: bool, trial: bool
) -> list[Explanation]:
    name, kubeconfig, context = cluster
    if name and (kubeconfig or context):
        raise ExplainError(
            "--name cannot be combined with --kubeconfig or --context",
            hint="--name chooses a lab, the other two options choose another cluster",
        )
    file = is_file(what, Path(what).is_file())
    if not offline:
        return _asked(what, file, namespace, _Cluster(name, kubeconfig, context), trial)
    if not file:
        raise ExplainError("--offline needs a FILE: pods can only be read from a cluster")
    return _offline(_manifest(what, namespace, "default"))


def exit_code(explanations: Sequence[Explanation]) -> int:
    """Returns the worst exit code of all explanations. From worst to best: 1, 2, 3, 0."""
    codes = {explanation.verdict.exit_code for explanation in explanations}
    return next(code for code in (1, 2, 3, 0) if code in codes)


class _Cluster:
    """Finds the cluster that the options choose.

    `login`: how to reach it. `kubectl`: the first words of each kubectl command for it. `restore`:
    the command that installs the mesh again, () if the cluster is not a lab.
    """

    def __init__(self, name: str, kubeconfig: str, context: str) -> None:
        from lab.kube import kubeconfig as configs

        self.restore: tuple[str, ...] = ()
        words = ["kubectl"]
        if kubeconfig:
            files: tuple[Path, ...] = (Path(kubeconfig),)
            words += ["--kubeconfig", kubeconfig]
        elif context:
            files = configs.default_files()
        else:
            files = (_lab(name or DEFAULT_NAME),)
            words += ["--kubeconfig", _short(files[0])]
            self.restore = _restore(name or DEFAULT_NAME)
        if context:
            words += ["--context", context]
        self.kubectl = tuple(words)
        self.login = configs.read(files, context)


def _lab(name: str) -> Path:
    from lab.cluster import gate

    paths = lab_paths(name)
    elsewhere = (
        "for another cluster, use --kubeconfig FILE or --context NAME; "
        "for a manifest without a cluster, use --offline"
    )
    try:
        gate.require(paths)
    except ClusterError as closed:
        raise ExplainError(closed.message, hint=f"{closed.hint}; {elsewhere}") from closed
    return paths.kubeconfig


def _restore(name: str) -> tuple[str, ...]:
    from lab.cluster import state

    words = ["lab", "up"] + ([] if name == DEFAULT_NAME else ["--name", name])
    lab_state = state.find(lab_paths(name))
    if lab_state is not None and lab_state.mesh != state.LabState.mesh:
        words += ["--mesh", lab_state.mesh]
    return tuple(words)


def _short(file: Path) -> str:
    try:
        return str(file.relative_to(Path.cwd()))
    except ValueError:
        return str(file)


def _asked(
    what: str, file: bool, namespace: str, cluster: _Cluster, trial: bool
) -> list[Explanation]:
    from lab.explain.gather.gatherer import Gatherer
    from lab.explain.targets import Target
    from lab.kube.client import KubeApi

    login = cluster.login
    default = namespace or login.namespace or "default"
    api = KubeApi(login, silent_hint=SILENT)
    with _reported_when_slow(login.server), api:
        gatherer = Gatherer(api, cluster.kubectl, cluster.restore)
        if file:
            manifest = _manifest(what, namespace, login.namespace or "default")
            spaces = manifest.namespaces or {}
            explanations = [
                judge(gatherer.situation(subject, spaces.get(subject.namespace), tried=trial))
                for subject in manifest.subjects
            ]
            return _with_mistakes(explanations, manifest)
        named = target(what, namespace)
        meant = Target(named.kind, named.name, named.namespace or default)
        return [
            judge(gatherer.situation(subject, None, tried=trial))
            for subject in gatherer.live(meant)
        ]


def _offline(manifest: Manifest) -> list[Explanation]:
    unknown = (
        "the webhook's configuration, its selectors and whether it answers (--offline)",
        "the namespace's labels (--offline)",
    )
    spaces = manifest.namespaces or {}
    explanations = []
    for subject in manifest.subjects:
        space = spaces.get(subject.namespace)
        doubts = unknown[: 1 if space else 2]
        explanations.append(judge(Situation(subject, namespace=space, unknown=doubts)))
    return _with_mistakes(explanations, manifest)


def _with_mistakes(explanations: list[Explanation], manifest: Manifest) -> list[Explanation]:
    wrong = [unreadable(mistake) for mistake in manifest.mistakes[:MOST_LISTED]]
    return [*wrong, *explanations] or _no_pods(manifest)


def _no_pods(manifest: Manifest) -> list[Explanation]:
    held = ", ".join(manifest.others) or "nothing"
    sentence = f"only pods and workloads that create them are injected; the file holds {held}"
    none = Verdict.WOULD_NOT
    return [Explanation("the manifest", "", "", "file", none, sentence, Cause.NOT_A_POD)]


def _manifest(what: str, namespace: str, default: str) -> Manifest:
    if what == "-":
        return read(sys.stdin.buffer.read(), "-", namespace, default)
    try:
        data = Path(what).read_bytes()
    except OSError as bad:
        hint = "if you mean a pod, omit .yaml, .yml or .json" if not Path(what).exists() else ""
        raise ExplainError(f"cannot read {what}: {bad.strerror}", hint=hint) from bad
    return read(data, what, namespace, default)


@contextmanager
def _reported_when_slow(server: str) -> Iterator[None]:
    """Prints the name of the server on stderr if the `with` block takes longer than SLOW seconds.

    A dry run waits for the webhook, which may take many seconds.
    """
    timer = threading.Timer(SLOW, click.echo, [f"asking {server} ..."], {"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _paint(text: str, colour: str) -> str:
    return click.style(text, fg=colour)
