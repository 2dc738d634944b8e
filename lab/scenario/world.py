"""The world of a step: its namespace, names, files and commands, and the current cluster.

A check reads everything through `world`, and a break changes everything through it.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
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
from lab.scenario.mesh_differences import MESHES, OURS

if TYPE_CHECKING:
    from lab.observe.cluster import Cluster
    from lab.observe.pod import Pod

NAMESPACE_TIMEOUT = 60.0
"""Seconds for the deletion of a namespace; pods of the lab have grace periods of 1 to 2 s."""


class Names(dict[str, str | Callable[[], str]]):
    """The values of `{name}` placeholders. A callable is called each time the name is used."""

    def resolve(self, name: str) -> str:
        """The current value of `name`. Raises ScenarioError if it is not set."""
        if name not in self:
            raise ScenarioError(
                f"no value is set for {{{name}}}",
                hint=f"set world.names[{name!r}] in a chapter.given or an earlier step; "
                f"known: {', '.join(sorted(self)) or 'none'}",
            )
        value = self[name]
        return value if isinstance(value, str) else value()


class World:
    """The world of one chapter.

    ns        the chapter's namespace
    names     values for `{name}` in commands: texts, or callables that are called at each use
    memory    values that one step leaves for a later step of the same chapter
    workdir   the folder in which commands run and the walkthrough's files are written
    mesh      the properties of the lab's mesh (lab.scenario.mesh_differences)
    """

    def __init__(self, namespace: str, workdir: Path, lab: LabAccess | None = None) -> None:
        """`lab` is None only for a world without a cluster (tests of the runner itself)."""
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
        """The lab's cluster, for reading (lab.observe)."""
        return self._lab().cluster

    def pod(self, which: str = "") -> "Pod":
        """A pod of the namespace: by name, by selector ("app=jiuxi"), or the only one ("").

        A selector ignores pods that are being deleted. Raises ObservationError if no pod fits, or
        more than one.
        """
        if which and "=" not in which:
            return self.cluster.pod(self.ns, which)
        return self.cluster.only_pod(self.ns, selector(which))

    def pods(self, which: str = "") -> tuple["Pod", ...]:
        """The pods that fit the selector and are not being deleted, oldest first."""
        return self.cluster.pods(self.ns, selector(which))

    def ready(self, which: str = "", *, count: int = 1, within: float = 60.0) -> tuple["Pod", ...]:
        """Wait until exactly `count` pods fit, all Ready and none being deleted; return them.

        Raises ExpectationFailed, with the last observation, after `within` seconds.
        """
        what = f"the Ready pods of {which or self.ns}"
        with _as_expectation(what):
            return self.cluster.wait_ready(
                self.ns, selector(which), count=count, timeout=waiting.bounded(within)
            )

    def rolled_out(self, deployment: str, *, within: float = 60.0) -> tuple["Pod", ...]:
        """Wait until the deployment is rolled out and its old pods are gone; return its pods.

        Raises ExpectationFailed, with the last observation, after `within` seconds.
        """
        with _as_expectation(f"the rollout of deployment {deployment}"):
            return self.cluster.wait_rollout(self.ns, deployment, timeout=waiting.bounded(within))

    def gone(self, pod: str, *, within: float = 60.0) -> None:
        """Wait until no pod has that name. Raises ExpectationFailed after `within` seconds."""
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
        """Run a program in `workdir` with the lab's environment. Raises CommandError.

        With `check=False` an exit code other than 0 does not raise.
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
        """`kubectl -n <this namespace> ARGV…` (a later -n or -A wins). Raises CommandError."""
        self._lab()
        return self.run("kubectl", "-n", self.ns, *argv, stdin=stdin, check=check, timeout=timeout)

    def json(self, *argv: str) -> Any:
        """`kubectl ARGV… -o json`, decoded: world.json("get", "pods", "-l", "app=jiuxi")."""
        return json.loads(self.kubectl(*argv, "-o", "json").stdout)

    def apply(self, manifest: str) -> None:
        """`kubectl apply -f -` of a YAML text, in this namespace. Raises CommandError."""
        self.kubectl("apply", "-f", "-", stdin=manifest)

    def docker(self, *argv: str, check: bool = True, timeout: float = 60.0) -> Completed:
        """`docker ARGV…` on the lab's daemon. Raises CommandError."""
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
        """Copy a file of `manifests/` into `workdir` (as `name`), for commands to use."""
        source = paths.manifests() / manifest
        target = self.workdir / (name or source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return target

    def write(self, name: str, text: str) -> Path:
        """Write a file in `workdir`, as UTF-8, with the line ends of `text`."""
        target = self.workdir / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode())
        return target

    def read(self, name: str) -> str:
        """Text of a file in `workdir`."""
        return (self.workdir / name).read_bytes().decode()

    # --- the report ------------------------------------------------------------------------
    def attach(
        self,
        name: str,
        *,
        before: Iterable[object] | None = None,
        after: Iterable[object] | None = None,
    ) -> None:
        """Add a table to the report: before and after side by side, with differences marked.

        `before` and `after` are iterables of dataclasses or mappings (their fields become columns)
        or of other values (one column of texts). Sets are sorted. A second call with the same name
        replaces the first.
        """
        self.attachments[name] = Attachment(
            name,
            None if before is None else grid(before),
            None if after is None else grid(after),
        )

    # --- used by the runner ------------------------------------------------------------------
    def fresh(self, others: Iterable[str] = (), *, create: bool = True) -> None:
        """Empty `workdir`, and delete and create this namespace and `others`.

        With `create=False` this namespace is deleted but not created. Raises ScenarioError while
        another run uses the chapter's namespace.
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
        """Delete the namespaces without waiting for the end; the next run of the chapter waits."""
        try:
            if self.lab is not None:
                self.kubectl(
                    "delete", "namespace", self.ns, *others, "--ignore-not-found", "--wait=false"
                )
        finally:
            self._lock.release()

    def _lab(self) -> LabAccess:
        if self.lab is None:
            raise ScenarioError(f"the world of {self.ns} has no cluster")
        return self.lab


def world_of(lab: LabAccess, namespace: str) -> World:
    """The world of a chapter in `namespace` on `lab`; `{node}` names the node's container."""
    world = World(namespace, lab.work / namespace, lab)
    world.names["node"] = lab.node
    return world


def selector(text: str) -> Mapping[str, str] | None:
    """Parse "app=jiuxi,tier=web" into labels; None for "". Only equality is supported.

    Raises ScenarioError for any other selector.
    """
    if not text:
        return None
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not key or not sign for key, sign, _ in pairs):
        raise ScenarioError(f"{text!r} is not a selector", hint='write it as "key=value,key=value"')
    return {key.strip(): value.strip() for key, _, value in pairs}


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
