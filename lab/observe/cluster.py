"""Reads the lab's cluster through its API. The waiting methods watch objects and do not poll."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab.errors import ObservationError
from lab.kube import watch
from lab.kube.client import KubeApi
from lab.kube.errors import NotFoundError, WaitError
from lab.kube.paths import labelled, named
from lab.kube.paths import pods as _pods
from lab.observe import api_objects
from lab.observe.observer.container import Observer
from lab.observe.pod import Pod

__all__ = ["Cluster", "NotFoundError", "WaitError"]


class Cluster:
    """Reads from one cluster. Connections are opened only when they are first needed.

    Several threads may use it at once. Every method raises ObservationError when the API server
    cannot be asked, and NotFoundError when the API server does not have the object. The waiting
    methods raise WaitError at the time limit; it contains the objects as they were then.
    """

    def __init__(
        self, kubeconfig: Path, node: str, observer_image: str, *, lab: str = "sidecar-lab"
    ) -> None:
        """`node`: name of the node's Docker container. `lab`: name of the lab."""
        self.kubeconfig = kubeconfig
        self.node = node
        self.lab = lab
        self._api: KubeApi | None = None
        self._guard = threading.Lock()
        self.observer = Observer(
            lab, node, observer_image, lock=kubeconfig.with_name("observer.lock")
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. The observer's container keeps running for later commands."""
        with self._guard:
            api, self._api = self._api, None
        if api is not None:
            api.close()
        self.observer.close()

    @property
    def api(self) -> KubeApi:
        """The client of the API server.

        The first use reads the kubeconfig, and raises KubeconfigError when that fails.
        """
        with self._guard:
            if self._api is None:
                self._api = KubeApi.from_file(self.kubeconfig)
            return self._api

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET one API path, such as "/api/v1/namespaces/x", and return the decoded JSON object."""
        return self.api.get(path, **query)

    def pods(self, namespace: str, labels: Mapping[str, str] | None = None) -> tuple[Pod, ...]:
        """Return the pods that have `labels`, oldest first, without terminating pods."""
        found = self.get(_pods(namespace), **labelled(labels)).get("items") or ()
        return tuple(
            self._pod(item) for item in sorted(found, key=_age) if not api_objects.is_leaving(item)
        )

    def pod(self, namespace: str, name: str) -> Pod:
        """Return the pod with this name."""
        return self._pod(self.get(f"{_pods(namespace)}/{name}"))

    def only_pod(self, namespace: str, labels: Mapping[str, str] | None = None) -> Pod:
        """Return the only pod that has `labels` and is not terminating.

        Raises ObservationError when there is no such pod, or more than one.
        """
        found = self.pods(namespace, labels)
        if len(found) != 1:
            names = ", ".join(pod.name for pod in found) or "none"
            raise ObservationError(
                f"expected one pod in {namespace} with the labels {dict(labels or {})}; "
                f"found: {names}"
            )
        return found[0]

    def has_pod(self, namespace: str, name: str, uid: str | None = None) -> bool:
        """Whether a pod with this name (and this uid, if given) exists.

        A pod that is terminating still exists.
        """
        try:
            found = self.get(f"{_pods(namespace)}/{name}")
        except NotFoundError:
            return False
        return uid is None or found["metadata"]["uid"] == uid

    def events(self, namespace: str) -> tuple[api_objects.Event, ...]:
        """Return the namespace's events, oldest first."""
        found = self.get(f"/api/v1/namespaces/{namespace}/events").get("items") or ()
        return tuple(sorted(map(api_objects.event, found), key=lambda event: event.at))

    def deployment(self, namespace: str, name: str) -> api_objects.Deployment:
        """Return one Deployment with its numbers of pods."""
        return api_objects.deployment(self.get(f"{_deployments(namespace)}/{name}"))

    def deployments(self, namespace: str) -> tuple[api_objects.Deployment, ...]:
        """Return all Deployments of the namespace, sorted by name."""
        found = self.get(_deployments(namespace)).get("items") or ()
        return tuple(
            sorted(map(api_objects.deployment, found), key=lambda deployment: deployment.name)
        )

    def namespace_labels(self, namespace: str) -> Mapping[str, str]:
        """Return the namespace's labels."""
        found: Mapping[str, str] = (
            self.get(f"/api/v1/namespaces/{namespace}")["metadata"].get("labels") or {}
        )
        return found

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        previous: bool = False,
        tail: int | None = None,
    ) -> str:
        """Return a container's log.

        `previous`: True for the log of the container's previous run. `tail`: the number of lines to
        return from the end of the log, None for all lines.
        """
        query = {"container": container}
        if previous:
            query["previous"] = "true"
        if tail is not None:
            query["tailLines"] = str(tail)
        return self.api.text(f"{_pods(namespace)}/{pod}/log", **query)

    # --- waiting: list, then watch; `timeout` is in seconds --------------------------------
    def wait(
        self,
        path: str,
        met: Callable[[Sequence[api_objects.Object]], bool],
        *,
        what: str,
        timeout: float,
        labels: Mapping[str, str] | None = None,
        name: str | None = None,
        describe: Callable[[api_objects.Object], str] | None = None,
    ) -> tuple[api_objects.Object, ...]:
        """Wait until `met` is true for the objects at `path`, and return these objects.

        `path` is a collection; `labels` and `name` select objects of it. `what` (the condition in
        words) and `describe` (one object in words) are for the error's message.
        """
        query = labelled(labels)
        if name is not None:
            query |= named(name)
        return watch.wait(
            self.api,
            path,
            met,
            what=what,
            timeout=timeout,
            query=query,
            describe=describe or _brief,
        )

    def wait_pods(
        self,
        namespace: str,
        met: Callable[[Sequence[api_objects.Object]], bool],
        *,
        what: str,
        labels: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> tuple[Pod, ...]:
        """Wait until `met` is true for the pods that have `labels`, including terminating pods."""
        found = self.wait(
            _pods(namespace),
            met,
            what=what,
            timeout=timeout,
            labels=labels,
            describe=api_objects.describe,
        )
        return tuple(self._pod(item) for item in sorted(found, key=_age))

    def wait_ready(
        self,
        namespace: str,
        labels: Mapping[str, str] | None = None,
        *,
        count: int = 1,
        timeout: float = 60.0,
    ) -> tuple[Pod, ...]:
        """Wait until exactly `count` pods have `labels`, all of them ready and not terminating."""
        return self.wait_pods(
            namespace,
            lambda pods: len(pods) == count and all(map(api_objects.is_ready, pods)),
            what=f"{count} ready pod(s) in {namespace} with {dict(labels or {})}",
            labels=labels,
            timeout=timeout,
        )

    def wait_rollout(
        self, namespace: str, deployment: str, *, timeout: float = 60.0
    ) -> tuple[Pod, ...]:
        """Wait until the Deployment is rolled out and its old pods are gone; return its pods."""
        (whole,) = self.wait(
            _deployments(namespace),
            lambda found: any(api_objects.deployment(item).rolled_out for item in found),
            what=f"the rollout of {namespace}/{deployment}",
            timeout=timeout,
            name=deployment,
            describe=lambda item: str(api_objects.deployment(item)),
        )
        labels = whole["spec"]["selector"]["matchLabels"]
        return self.wait_ready(
            namespace, labels, count=api_objects.deployment(whole).wanted, timeout=timeout
        )

    def wait_gone(self, namespace: str, pod: str, *, timeout: float = 60.0) -> None:
        """Wait until no pod with this name exists."""
        self.wait(
            _pods(namespace),
            lambda found: not found,
            what=f"pod {namespace}/{pod} to go",
            timeout=timeout,
            name=pod,
            describe=api_objects.describe,
        )

    def wait_pod(
        self,
        namespace: str,
        name: str,
        met: Callable[[api_objects.Object], bool],
        *,
        what: str,
        timeout: float = 60.0,
    ) -> Pod:
        """Wait until `met` is true for the pod's API object, and return the pod."""
        (found,) = self.wait(
            _pods(namespace),
            lambda pods: any(map(met, pods)),
            what=what,
            timeout=timeout,
            name=name,
            describe=api_objects.describe,
        )
        return self._pod(found)

    def _pod(self, item: api_objects.Object) -> Pod:
        meta = item["metadata"]
        return Pod(self, meta["namespace"], meta["name"], meta["uid"])


def _deployments(namespace: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def _age(item: api_objects.Object) -> tuple[str, str]:
    return str(item["metadata"].get("creationTimestamp")), item["metadata"]["name"]


def _brief(item: api_objects.Object) -> str:
    return f"{item.get('kind', '')} {item['metadata']['name']}".strip()
