"""Applies the control plane to the cluster and waits until a test shows that it works.

Objects are applied server-side, so that a second `lab up` changes only what differs.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.errors import ClusterError
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError, KubeconfigError
from lab.kube.kubeconfig import parse
from lab.kube.paths import Object, collection
from lab.kube.paths import pods as pods_of
from lab.kube.watch import watch
from lab.mesh import contract
from lab.progress import Task

READY_SECONDS = 180.0
_DEPLOYMENT = ("apps/v1", "Deployment")


def apply(api: KubeApi, wanted: Sequence[Object], task: Task) -> None:
    """Apply the objects in the given order. Raises ApiError."""
    for number, document in enumerate(wanted):
        name = f"{document['kind']} {document['metadata']['name']}"
        task.update(name, done=number, total=len(wanted))
        api.apply(document)
    task.update("applied", done=len(wanted), total=len(wanted))


class EarlyInstall:
    """Applies the control plane as soon as the API server answers, while kubeadm is still at work.

    So the control plane starts some seconds earlier than it would if `lab up` waited until kind has
    ended. An error here does not matter: the install step applies everything again and reports its
    own errors.
    """

    def __init__(self, wanted: Sequence[Object]) -> None:
        self._wanted = wanted
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        self.status = "not started"

    def begin(self, read_kubeconfig: Callable[[], str | None]) -> None:
        """Start the thread that applies the objects; a second call does nothing.

        `read_kubeconfig` must return the text of the kubeconfig, or None as long as there is none.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(read_kubeconfig,), daemon=True)
            self._thread.start()

    def end(self, seconds: float) -> None:
        """Tell the thread to stop, and wait at most `seconds` for its end."""
        self._cancel.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, read_kubeconfig: Callable[[], str | None]) -> None:
        text = None
        while text is None and not self._cancel.is_set():
            text = read_kubeconfig()
            if text is None:
                self._cancel.wait(0.2)
        if text is None:
            return
        try:
            api = KubeApi(parse([(Path("kubeconfig"), text)]), timeout=5)
        except KubeconfigError as bad:
            self.status = bad.message
            return
        pending = list(self._wanted)
        while pending and not self._cancel.is_set():
            try:
                if self.status != "answering":
                    api.text("/readyz")
                    self.status = "answering"
                api.apply(pending[0])
            except ApiError as error:
                self.status = error.message
                self._cancel.wait(0.2)
            else:
                pending.pop(0)
        if not pending:
            self.status = "applied"
        api.close()


def wait_rolled_out(
    api: KubeApi,
    wanted: Sequence[Object],
    seconds: float,
    task: Task,
    namespace: str = contract.CONTROL_NAMESPACE,
) -> None:
    """Wait until each Deployment in `wanted` is rolled out: only its newest pods run.

    Raises ClusterError, which gives the reasons, when that takes more than `seconds`.
    """
    names = [obj["metadata"]["name"] for obj in wanted if obj["kind"] == "Deployment"]
    path = collection(_DEPLOYMENT, namespace)
    missing = dict.fromkeys(names, "not read yet")
    for deployments in watch(api, path, seconds):
        by_name = {item["metadata"]["name"]: item for item in deployments}
        missing = {name: reason for name in names if (reason := not_rolled_out(by_name.get(name)))}
        task.update(", ".join(f"{name}: {why}" for name, why in missing.items()))
        if not missing:
            return
    detail = "; ".join(f"{name}: {why}" for name, why in missing.items())
    pods = "; ".join(pod_problems(_pods(api, namespace)))
    raise ClusterError(
        f"the control plane was not ready in {seconds:.0f} s ({detail}) {pods}".strip(),
        hint="look at the pods with "
        f"`kubectl --kubeconfig .lab/NAME/kubeconfig -n {namespace} get pods`",
    )


def wait_alive(
    api: KubeApi,
    since: str,
    seconds: float,
    task: Task,
    namespace: str = contract.CONTROL_NAMESPACE,
) -> None:
    """Wait until the control plane's pods are ready, and their containers started after `since`.

    `since` is a time in RFC 3339 format. It is needed because after a restart of the node, the API
    server first shows the pods as they were before the restart. The function also waits until a pod
    that is being deleted is gone: until then, this pod may still answer, with the old version.
    Raises ClusterError, which names the pods that are not ready after `seconds`.
    """
    path = pods_of(namespace)
    reasons = ["no pod yet"]
    for pods in watch(api, path, seconds):
        reasons = [reason for pod in pods if (reason := not_alive(pod, since))]
        if pods and not reasons:
            return
        task.update("; ".join(reasons))
    raise ClusterError(
        f"the pods of the control plane were not ready again after {seconds:.0f} s: "
        f"{'; '.join(reasons)}",
        hint="`lab up` tries again; `lab down` and then `lab up` create a new cluster",
    )


def not_alive(pod: Object, since: str) -> str:
    """Returns why wait_alive must still wait for this pod; "" when it need not.

    The reason is that the pod is being deleted, that it has no container yet, that a container has
    not started since `since`, or that a container is not ready.
    """
    name = pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        return f"{name}: is being deleted"
    statuses = pod.get("status", {}).get("containerStatuses", [])
    for status in statuses:
        started = status.get("state", {}).get("running", {}).get("startedAt", "")
        # Compared to the second: the API's times are no more precise.
        if not started or started[:19] < since[:19]:
            return f"{name}: {status['name']} has not started again"
        if not status.get("ready"):
            return f"{name}: {status['name']} is not ready"
    return "" if statuses else f"{name}: no container yet"


def not_rolled_out(deployment: Object | None) -> str:
    """Returns why a Deployment is not rolled out; "" when it is.

    It is rolled out when all its replicas are of the newest version and available, and no older pod
    is left.
    """
    if deployment is None:
        return "does not exist"
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "not yet processed by its controller"
    for field in ("updatedReplicas", "availableReplicas"):
        if status.get(field, 0) < wanted:
            return f"{status.get(field, 0)}/{wanted} {field.removesuffix('Replicas')}"
    old = status.get("replicas", 0) - status["updatedReplicas"]
    return f"{old} old pods are still there" if old > 0 else ""


def _pods(api: KubeApi, namespace: str) -> list[Object]:
    try:
        return api.items(pods_of(namespace))
    except ApiError:
        return []


def pod_problems(pods: Sequence[Object]) -> list[str]:
    """Returns one line for each container that is waiting or whose previous run ended.

    The line gives the reason for the wait, or the exit code of that run. Also returns one line for
    each pod that is not assigned to a node yet.
    """
    problems = []
    for pod in pods:
        name = pod["metadata"]["name"]
        statuses = pod.get("status", {}).get("containerStatuses", [])
        if not statuses:
            problems += [
                f"{name}: {condition.get('message') or condition.get('reason', '')}"
                for condition in pod.get("status", {}).get("conditions", [])
                if condition.get("status") != "True" and condition.get("type") == "PodScheduled"
            ]
        for status in statuses:
            waiting = status.get("state", {}).get("waiting")
            died = status.get("lastState", {}).get("terminated")
            if waiting:
                reason = f"{waiting.get('reason')} {waiting.get('message', '')}"
                problems.append(f"{name}: {reason}".strip())
            elif died:
                problems.append(f"{name}: its last run ended with exit code {died.get('exitCode')}")
    return problems


PROBE_POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "sidecar-lab-probe",
        "namespace": "default",
        "labels": {contract.INJECT_POD_LABEL: "true"},
    },
    "spec": {"containers": [{"name": "app", "image": contract.NGINX_IMAGE}]},
}


def wait_injecting(api: KubeApi, seconds: float, task: Task) -> None:
    """Wait until a test pod gets a sidecar, in a dry run that creates no pod.

    The request tests all that an injection needs: the webhook's selectors, its Service, kube-proxy,
    TLS, the CA and the injector. Raises ClusterError, which contains the last answer, when the test
    pod gets no sidecar within `seconds`.
    """
    task.update("creating a test pod (dry run)")
    deadline = time.monotonic() + seconds
    while reason := _not_injecting(api):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"the test pod did not get a sidecar within {seconds:.0f} s: {reason}",
                hint="`lab status` shows the state of the control plane; `lab up` tries again",
            )
        task.update(reason[:100])
        time.sleep(0.1)  # before the next attempt


def _not_injecting(api: KubeApi) -> str:
    """Sends the dry-run request; returns why the test pod got no sidecar, or "" if it got one."""
    try:
        pod = api.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", PROBE_POD)
    except ApiError as error:
        return error.message
    spec = pod["spec"]
    containers = spec["containers"] + spec.get("initContainers", [])
    names = [container["name"] for container in containers]
    return "" if contract.PROXY_CONTAINER in names else f"the pod has only {json.dumps(names)}"
