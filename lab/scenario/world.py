"""World: through it a chapter's steps and breaks reach the cluster, commands and their files.

A check reads everything through `world`, and a break changes everything through it.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lab import command, paths
from lab.command import Completed
from lab.errors import ScenarioError
from lab.kube.errors import WaitError
from lab.records.model import Attachment
from lab.scenario import claims, waiting
from lab.scenario.attachments import grid
from lab.scenario.lab_access import LabAccess, search_path
from lab.scenario.labels import selector
from lab.scenario.mesh_differences import MESHES, OURS

if TYPE_CHECKING:
    from lab.observe.cluster import Cluster
    from lab.observe.pod import Pod

NAMESPACE_TIMEOUT = 60.0
"""Time limit in seconds for the deletion of a namespace; its pods have 1 to 2 s to end."""


class Names(dict[str, str | Callable[[], str]]):
    """The values of `{name}` placeholders. A callable value is called at each use of its name."""

    def resolve(self, name: str) -> str:
        """Return the current value of `name`. Raises ScenarioError if there is no value."""
        if name not in self:
            raise ScenarioError(
                f"no value is set for {{{name}}}",
                hint=f"set world.names[{name!r}] in a chapter.given or an earlier step; "
                f"known: {', '.join(sorted(self)) or 'none'}",
            )
        value = self[name]
        return value if isinstance(value, str) else value()


class World:
    """The object through which the steps of one chapter read and change the cluster and files.

    ns        the chapter's namespace
    names     values for `{name}` in commands: texts, or callables that are called at each use
    memory    values that a step or a set-up keeps for later steps of the same chapter
    workdir   the folder in which the chapter's commands run and its files are written
    mesh      the properties of the lab's mesh (lab.scenario.mesh_differences)
    """

    def __init__(self, namespace: str, workdir: Path, lab: LabAccess | None = None) -> None:
        """`lab` is None only for a world without a cluster, in tests of the runner itself."""
        self.ns = namespace
        self.workdir = workdir
        self.mesh = MESHES[lab.mesh] if lab else OURS
        self.names = Names(ns=namespace, **self.mesh.names)
        self.memory: dict[str, Any] = {}
        self.attachments: dict[str, Attachment] = {}
        self.lab = lab
        # Without a lock, two runs of one chapter would delete each other's namespace.
        self._lock = FileLock(workdir.with_name(f"{workdir.name}.lock"), thread_local=False)

    # --- the cluster ---------------------------------------------------------------------
    @property
    def cluster(self) -> "Cluster":
        """The client that reads the lab's cluster (lab.observe)."""
        return self._lab().cluster

    def pod(self, which: str = "") -> "Pod":
        """Return one pod of the namespace. `which` is its name, or a selector like "app=jiuxi".

        If `which` is "", this returns the only pod of the namespace. A pod that is
        being deleted is found only by its name. Raises ObservationError if no pod or more than one
        pod fits.
        """
        if which and "=" not in which:
            return self.cluster.pod(self.ns, which)
        return self.cluster.only_pod(self.ns, selector(which))

    def pods(self, which: str = "") -> tuple["Pod", ...]:
        """The pods that match the selector `which`, oldest first; if it is "", all pods.

        Pods that are being deleted are left out.
        """
        return self.cluster.pods(self.ns, selector(which))

    def ready(self, which: str = "", *, count: int = 1, within: float = 60.0) -> tuple["Pod", ...]:
        """Wait until exactly `count` pods match the selector `which` and are Ready; return them.

        There must be no other pod that matches, not even one that is being deleted. After `within`
        seconds this raises ExpectationFailed with the last observation.
        """
        what = f"the Ready pods of {which or self.ns}"
        with _as_expectation(what):
            return self.cluster.wait_ready(
                self.ns, selector(which), count=count, timeout=waiting.bounded(within)
            )

    def rolled_out(self, deployment: str, *, within: float = 60.0) -> tuple["Pod", ...]:
        """Wait until the deployment is rolled out and its old pods are gone; return its pods.

        After `within` seconds this raises ExpectationFailed with the last observation.
        """
        with _as_expectation(f"the rollout of deployment {deployment}"):
            return self.cluster.wait_rollout(self.ns, deployment, timeout=waiting.bounded(within))

    def gone(self, pod: str, *, within: float = 60.0) -> None:
        """Wait until no pod has the name `pod`. After `within` seconds raise ExpectationFailed."""
        with _as_expectation(f"the end of pod {pod}"):
            self.cluster.wait_gone(self.ns, pod, timeout=waiting.bounded(within))

    # --- commands that a step does not show ------------------------------------------------
    def run(
        self,
        *argv: str | Path,
        stdin: str | bytes | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> Completed:
        """Run a program in `workdir` with the environment of the chapter's commands.

        Raises CommandError if the program fails. With `check=False`, an exit code other than 0 does
        not count as a failure.
        """
        return command.run(
            argv,
            stdin=stdin,
            check=check,
            timeout=timeout,
            cwd=self.workdir,
            env=self.environment(),
        )

    def kubectl(
        self,
        *argv: str | Path,
        stdin: str | bytes | None = None,
        check: bool = True,
        timeout: float = 60.0,
    ) -> Completed:
        """Run `kubectl -n NAMESPACE ARGV…` with the chapter's namespace. Raises CommandError.

        A -n or -A in ARGV has precedence.
        """
        self._lab()
        return self.run("kubectl", "-n", self.ns, *argv, stdin=stdin, check=check, timeout=timeout)

    def json(self, *argv: str) -> Any:
        """Run `kubectl ARGV… -o json` and return the decoded output.

        For instance `world.json("get", "pods", "-l", "app=jiuxi")`.
        """
        return json.loads(self.kubectl(*argv, "-o", "json").stdout)

    def apply(self, manifest: str) -> None:
        """Apply the YAML text `manifest` in the chapter's namespace. Raises CommandError."""
        self.kubectl("apply", "-f", "-", stdin=manifest)

    def docker(self, *argv: str, check: bool = True, timeout: float = 60.0) -> Completed:
        """Run `docker ARGV…` on the Docker daemon of the lab. Raises CommandError."""
        return self.run("docker", *argv, check=check, timeout=timeout)

    def start_in(self, pod: str, container: str, *argv: str) -> Callable[[], None]:
        """Start a program in a container and leave it running; return a function that ends it.

        The container needs `sh` and `kill`. The program's output is discarded. Raises CommandError.
        """
        # The `kubectl exec` stays open, and its parent reaps the program. A background process of a
        # shell would become a zombie where process 1 does not reap, as in real Istio's agent.
        inside = ("exec", pod, "-c", container, "--")
        script = 'echo $$; exec "$@" >/dev/null 2>&1 </dev/null'
        words = ("kubectl", "-n", self.ns, *inside, "sh", "-c", script, "sh", *argv)
        held = command.hold(words, cwd=self.workdir, env=self.environment())

        def end() -> None:
            # The program may have ended already.
            self.kubectl(*inside, "sh", "-c", f"kill {held.first_line} 2>/dev/null || true")
            held.wait(30)

        return end

    def environment(self) -> dict[str, str]:
        """The variables that are added to the environment of every command of this chapter."""
        if self.lab is None:
            return {"PATH": search_path()}
        return {**self.mesh.environment, **self.lab.variables()}

    # --- files -----------------------------------------------------------------------------
    def take(self, manifest: str, name: str = "") -> Path:
        """Copy the file `manifest` from the folder `manifests/` into `workdir`; return the copy.

        The copy has the name `name`; if `name` is "", it has the name of the original.
        """
        source = paths.manifests() / manifest
        target = self.workdir / (name or source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return target

    def write(self, name: str, text: str) -> Path:
        """Write `text` in UTF-8, with unchanged line ends, to the file `name` in `workdir`.

        Returns the path of the file.
        """
        target = self.workdir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
        return target

    def read(self, name: str) -> str:
        """Return the text of a file in `workdir`."""
        return (self.workdir / name).read_bytes().decode()

    # --- the report ------------------------------------------------------------------------
    def attach(
        self,
        name: str,
        *,
        before: Iterable[object] | None = None,
        after: Iterable[object] | None = None,
    ) -> None:
        """Add a comparison to the report: the tables `before` and `after` with marked differences.

        The members of `before` and `after` become the rows: see `grid` in
        lab/scenario/attachments.py. If one of the two is None, the report has only the other table.
        A second call with the same `name` replaces the first.
        """
        self.attachments[name] = Attachment(
            name,
            None if before is None else grid(before),
            None if after is None else grid(after),
        )

    # --- used by the runner ------------------------------------------------------------------
    def fresh(self, others: Iterable[str] = (), *, create: bool = True) -> None:
        """Empty `workdir`; delete the chapter's namespace and `others` and create them anew.

        With `create=False` the chapter's namespace is only deleted. Raises ScenarioError if another
        run is using this namespace.
        """
        self.workdir.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as taken:
            raise ScenarioError(
                f"another run is using the namespace {self.ns}", hint="wait for it to end"
            ) from taken
        shutil.rmtree(self.workdir, ignore_errors=True)
        self.workdir.mkdir(parents=True)
        if self.lab is None:
            return
        namespaces = (self.ns, *others)
        wait = f"--timeout={NAMESPACE_TIMEOUT:.0f}s"
        self.kubectl(
            "delete",
            "namespace",
            *namespaces,
            "--ignore-not-found",
            wait,
            timeout=NAMESPACE_TIMEOUT + 5,
        )
        for name in namespaces if create else others:
            self.kubectl("create", "namespace", name)

    def leave(self, others: Iterable[str] = ()) -> None:
        """Start to delete the chapter's namespace and `others`; do not wait until they are gone.

        The next run of the chapter waits until they are gone. Other runs can use the chapter again.
        """
        try:
            if self.lab is not None:
                self.kubectl(
                    "delete", "namespace", self.ns, *others, "--ignore-not-found", "--wait=false"
                )
        finally:
            self._lock.release()

    def _lab(self) -> LabAccess:
        if self.lab is None:
            raise ScenarioError(f"the chapter in {self.ns} needs a lab, but runs without a lab")
        return self.lab


def world_of(lab: LabAccess, namespace: str) -> World:
    """Return a World on `lab` for the chapter in `namespace`; its names have a value for `{node}`.

    `{node}` is the name of the container that is the lab's node.
    """
    world = World(namespace, lab.work / namespace, lab)
    world.names["node"] = lab.node
    return world


@contextmanager
def _as_expectation(what: str) -> Iterator[None]:
    # A wait that timed out is a finding about the world, not an error of the scenario.
    claim = claims.here(what, "wait")
    try:
        yield
    except WaitError as late:
        failure = claims.ExpectationFailed(what, "in time", late.message, claim=claim)
        claims.failed(failure)
        raise failure from late
    claims.held(claim)
