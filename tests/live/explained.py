"""A namespace of one test's own, workloads in it, and `lab explain` run on them as a user does."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from lab.command import run
from lab.kube import watch
from lab.mesh import contract
from lab.observe.api_objects import Object
from lab.paths import lab_paths
from lab.scenario.lab_access import LabAccess, open_lab
from lab.scenario.mesh_differences import MESHES, Mesh
from tests.live.chosen import NAME

CONFIGURATION = "mutatingwebhookconfiguration"
PATIENCE = 90.0
"""Seconds for a controller to make a pod: one whose creation failed waits before it tries again."""


@dataclass(frozen=True)
class Told:
    """One explanation of `lab explain --json`, and the exit code of the whole."""

    code: int
    told: Mapping[str, Any]

    @property
    def cause(self) -> str:
        return str(self.told["cause"])

    @property
    def verdict(self) -> str:
        return str(self.told["verdict"])

    @property
    def deciding(self) -> tuple[str, str]:
        """Key and answer of the line that is marked."""
        (line,) = (one for one in self.told["lines"] if one["decides"])
        return line["key"], line["answer"]

    @property
    def commands(self) -> list[str]:
        return [line for step in self.told["steps"] for line in step["commands"]]

    @property
    def notes(self) -> str:
        return "\n".join(self.told["notes"])


@dataclass(frozen=True)
class Space:
    """A namespace, kubectl, and `lab explain`."""

    lab: LabAccess
    name: str

    def kubectl(self, *words: str, stdin: object = None) -> str:
        argv = [self.lab.kubectl or "kubectl", "--kubeconfig", self.lab.kubeconfig, *words]
        data = None if stdin is None else json.dumps(stdin)
        return run(argv, stdin=data, timeout=60).stdout

    def get(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def label(self, *words: str) -> None:
        self.kubectl("label", "namespace", self.name, *words, "--overwrite")

    def apply(self, workload: Mapping[str, Any]) -> None:
        self.kubectl("-n", self.name, "apply", "-f", "-", stdin=workload)

    def explain(self, what: str, *words: str, stdin: object = None) -> list[Told]:
        """Run `lab explain` in a process of its own; every explanation that it gives."""
        argv = ["lab", "explain", what, "--name", NAME, "--json", *words]
        if "/" not in what or what.split("/")[0] != self.name:
            argv += ["-n", self.name]
        data = None if stdin is None else json.dumps(stdin)
        done = run(argv, stdin=data, env=self.lab.variables(), timeout=120, check=False)
        assert done.returncode in (0, 1, 2, 3), done.stderr
        assert not done.stderr or done.stderr.startswith("asking "), done.stderr
        whole = json.loads(done.stdout)
        assert whole["exit_code"] == done.returncode
        return [Told(done.returncode, one) for one in whole["explanations"]]

    def template(self) -> Told:
        """What is said of Deployment web's template."""
        return self.explain("deploy/web")[0]

    def mend(self, told: Told) -> None:
        """Do what the explanation says, line by line, in one shell."""
        assert told.commands, told.told
        script = "\n".join(["set -eu", *told.commands])
        environment = {**os.environ, **self.lab.variables()}
        environment.pop("KUBECONFIG")  # the commands name their cluster themselves
        done = subprocess.run(
            ["sh", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, (told.commands, done.stdout, done.stderr)

    def wait_injected(self, labels: str = "app=web", namespace: str = "") -> tuple[Object, ...]:
        """Until every pod that stays has a sidecar, and there is one."""
        return self._wait(lambda pod: has_proxy(pod), "a pod with a sidecar", labels, namespace)

    def wait_plain(self, labels: str = "app=web", namespace: str = "") -> tuple[Object, ...]:
        """Until every pod that stays has none, and there is one."""
        return self._wait(lambda pod: not has_proxy(pod), "a plain pod", labels, namespace)

    def _wait(self, fits: Any, what: str, labels: str, namespace: str) -> tuple[Object, ...]:
        def staying(pods: Sequence[Object]) -> list[Object]:
            return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

        def met(pods: Sequence[Object]) -> bool:
            return bool(staying(pods)) and all(map(fits, staying(pods)))

        found = watch.wait(
            self.lab.cluster.api,
            f"/api/v1/namespaces/{namespace or self.name}/pods",
            met,
            what=what,
            timeout=PATIENCE,
            query={"labelSelector": labels},
            describe=lambda pod: f"{pod['metadata']['name']} proxy={has_proxy(pod)}",
        )
        return tuple(staying(found))

    def wait_ready(self, labels: str = "app=web") -> tuple[Object, ...]:
        """Until every pod that stays has a sidecar and is ready, and there is one."""
        return self._wait(
            lambda pod: has_proxy(pod) and is_ready(pod), "a ready pod with a sidecar", labels, ""
        )

    def until_told(self, cause: str) -> Told:
        """Explain Deployment web's pods until the newest is told to have this cause."""
        until = time.monotonic() + PATIENCE
        told: list[Told] = []
        while time.monotonic() < until:
            told = [one for one in self.explain("deploy/web") if one.told["origin"] == "live"]
            if told and told[0].cause == cause:
                return told[0]
        raise AssertionError((cause, [one.told for one in told]))

    def wait_refused(self) -> None:
        """Until the ReplicaSet's controller says that it could not create a pod."""
        watch.wait(
            self.lab.cluster.api,
            f"/api/v1/namespaces/{self.name}/events",
            lambda events: any(one.get("reason") == "FailedCreate" for one in events),
            what="an event FailedCreate",
            timeout=PATIENCE,
            query={},
            describe=lambda one: f"{one.get('reason')}: {one.get('message')}",
        )


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def has_proxy(pod: Object) -> bool:
    spec = pod["spec"]
    every = [*spec["containers"], *spec.get("initContainers", ())]
    return contract.PROXY_CONTAINER in {one["name"] for one in every}


def pod_spec(**more: Any) -> dict[str, Any]:
    return {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "web", "image": contract.NGINX_IMAGE}],
        **more,
    }


def deployment(
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    *,
    own: Mapping[str, Any] | None = None,
    spec: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Deployment web; `own` is more of its own metadata, the rest is of its pod template."""
    metadata = {"labels": {"app": "web", **(labels or {})}, "annotations": dict(annotations or {})}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", **(own or {})},
        "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": metadata, "spec": pod_spec(**(spec or {}))},
        },
    }


def opened() -> Iterator[LabAccess]:
    lab = open_lab(lab_paths(NAME))
    yield lab
    lab.cluster.close()


def space_of(lab: LabAccess) -> Iterator[Space]:
    space = Space(lab, f"explain-{uuid.uuid4().hex[:6]}")
    space.kubectl("create", "namespace", space.name)
    try:
        yield space
    finally:
        space.kubectl("delete", "namespace", space.name, "--wait=false")


def injector(space: Space) -> dict[str, Any]:
    """The lab's configuration that injects sidecars, whichever mesh made it."""
    return dict(space.get(CONFIGURATION, mesh_of(space).injector))


def mesh_of(space: Space) -> Mesh:
    """What the chapters know of the mesh that the lab runs."""
    return MESHES[space.lab.mesh]


@contextmanager
def own_configuration(space: Space, client: Mapping[str, Any], policy: str) -> Iterator[str]:
    """A copy of the lab's namespace entry for this test's namespace alone.

    Its label value is the namespace's own name, so the lab's entries are not meant for it, and
    whatever looks after the lab's configuration does not look after this one. `client` is put
    over the copy's clientConfig.
    """
    original = injector(space)
    entries = original["webhooks"]
    entry = dict(next(one for one in entries if one["name"].startswith("namespace.")))
    entry["name"] = f"{space.name}.sidecar-lab.dev"
    entry["failurePolicy"] = policy
    service = {**entry["clientConfig"]["service"], **client.get("service", {})}
    entry["clientConfig"] = {**entry["clientConfig"], **client, "service": service}
    entry["namespaceSelector"] = {"matchLabels": {contract.INJECTION_LABEL: space.name}}
    made = {
        "apiVersion": original["apiVersion"],
        "kind": original["kind"],
        "metadata": {"name": space.name},
        "webhooks": [entry],
    }
    space.kubectl("create", "-f", "-", stdin=made)
    try:
        yield space.name
    finally:
        space.kubectl("delete", CONFIGURATION, space.name, "--ignore-not-found")


def stopped_webhook(space: Space) -> AbstractContextManager[None]:
    """The lab's webhook with no pod, afterwards as many as before, ready."""
    return stopped_deployment(space, mesh_of(space).injector_deployment)


@contextmanager
def stopped_deployment(space: Space, name: str) -> Iterator[None]:
    """A Deployment of the control plane with no pod, afterwards as many as before, ready."""
    namespace = mesh_of(space).control_namespace
    where = ("-n", namespace)
    deployment = f"deployment/{name}"
    before = space.get(*where, deployment)["spec"]["replicas"]
    space.kubectl(*where, "scale", deployment, "--replicas=0")
    try:
        watch.wait(
            space.lab.cluster.api,
            f"/api/v1/namespaces/{namespace}/pods",
            lambda pods: not pods,
            what=f"no pod of {name}",
            timeout=PATIENCE,
            query={"labelSelector": f"app={name}"},
            describe=lambda pod: str(pod["metadata"]["name"]),
        )
        yield
    finally:
        space.kubectl(*where, "scale", deployment, f"--replicas={before}")
        space.kubectl(*where, "rollout", "status", deployment, "--timeout=60s")
