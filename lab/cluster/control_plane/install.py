"""The control plane in the cluster: what is applied, and when it is proven to work.

Applied server-side, so that a second `up` changes only what differs.
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
from lab.kube.paths import Object, collection, pods
from lab.kube.watch import watch
from lab.mesh import contract
from lab.progress import Task

READY_SECONDS = 180.0
_DEPLOYMENT = ("apps/v1", "Deployment")


def apply(api: KubeApi, wanted: Sequence[Object], task: Task) -> None:
    """Apply all, in order. Raises ApiError."""
    for number, document in enumerate(wanted):
        what = f"{document['kind']} {document['metadata']['name']}"
        task.update(what, done=number, total=len(wanted))
        api.apply(document)
    task.update("applied", done=len(wanted), total=len(wanted))


class EarlyInstall:
    """Applies the control plane while kubeadm is still at work, as soon as the API answers.

    Saves the seconds between the API server's start and kind's end. What goes wrong here is
    only remembered: the install step applies everything again and then it counts.
    """

    def __init__(self, wanted: Sequence[Object]) -> None:
        self._wanted = wanted
        self._cancel = threading.Event()
        self._thread: threading.Thread | None = None
        self.said = "not started"

    def begin(self, read_kubeconfig: Callable[[], str | None]) -> None:
        """Start once; `read_kubeconfig` returns None until there is one."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(read_kubeconfig,), daemon=True)
            self._thread.start()

    def end(self, seconds: float) -> None:
        """Stop; wait for the thread at most that long."""
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
            self.said = bad.message
            return
        pending = list(self._wanted)
        while pending and not self._cancel.is_set():
            try:
                if self.said != "answering":
                    api.text("/readyz")
                    self.said = "answering"
                api.apply(pending[0])
            except ApiError as error:
                self.said = error.message
                self._cancel.wait(0.2)
            else:
                pending.pop(0)
        if not pending:
            self.said = "applied"
        api.close()


def wait_rolled_out(
    api: KubeApi,
    wanted: Sequence[Object],
    seconds: float,
    task: Task,
    namespace: str = contract.CONTROL_NAMESPACE,
) -> None:
    """Until every Deployment of `wanted` runs its newest pods. Raises ClusterError with why not."""
    names = [one["metadata"]["name"] for one in wanted if one["kind"] == "Deployment"]
    path = collection(_DEPLOYMENT, namespace)
    missing = dict.fromkeys(names, "not seen")
    for seen in watch(api, path, seconds):
        found = {one["metadata"]["name"]: one for one in seen}
        missing = {name: reason for name in names if (reason := not_rolled_out(found.get(name)))}
        task.update(", ".join(f"{name}: {why}" for name, why in missing.items()))
        if not missing:
            return
    detail = "; ".join(f"{name}: {why}" for name, why in missing.items())
    pods = "; ".join(pod_troubles(_pods(api, namespace)))
    raise ClusterError(
        f"the control plane was not ready in {seconds:.0f} s ({detail}) {pods}".strip(),
        hint=f"look at it with kubectl --kubeconfig .lab/NAME/kubeconfig -n {namespace} get pods",
    )


def wait_alive(
    api: KubeApi,
    since: str,
    seconds: float,
    task: Task,
    namespace: str = contract.CONTROL_NAMESPACE,
) -> None:
    """Until the control plane's pods are ready in containers that began after `since` (RFC 3339).

    After a node was stopped and started the API first tells of the pods as they were before. A
    pod that ends counts, too: until it has, it answers as the one before would.
    Raises ClusterError with what is still of the past.
    """
    path = pods(namespace)
    past = ["no pod seen"]
    for seen in watch(api, path, seconds):
        past = [reason for one in seen if (reason := not_alive(one, since))]
        if seen and not past:
            return
        task.update("; ".join(past))
    raise ClusterError(
        f"the control plane did not come back in {seconds:.0f} s: {'; '.join(past)}",
        hint="`lab up` tries again; `lab down` and `lab up` begin anew",
    )


def not_alive(pod: Object, since: str) -> str:
    """Why a pod is not ready in containers that began after `since`; "" when it is."""
    name = pod["metadata"]["name"]
    if "deletionTimestamp" in pod["metadata"]:
        return f"{name}: ending"
    statuses = pod.get("status", {}).get("containerStatuses", [])
    for status in statuses:
        began = status.get("state", {}).get("running", {}).get("startedAt", "")
        # To the second: the API's times have no more than that.
        if not began or began[:19] < since[:19]:
            return f"{name}: {status['name']} has not begun again"
        if not status.get("ready"):
            return f"{name}: {status['name']} is not ready"
    return "" if statuses else f"{name}: no container yet"


def not_rolled_out(deployment: Object | None) -> str:
    """Why a Deployment does not run its newest pods alone; "" when it does."""
    if deployment is None:
        return "absent"
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return "not yet seen by its controller"
    for field in ("updatedReplicas", "availableReplicas"):
        if status.get(field, 0) < wanted:
            return f"{status.get(field, 0)}/{wanted} {field.removesuffix('Replicas')}"
    old = status.get("replicas", 0) - status["updatedReplicas"]
    return f"{old} of the ones before" if old > 0 else ""


def _pods(api: KubeApi, namespace: str) -> list[Object]:
    try:
        return api.items(pods(namespace))
    except ApiError:
        return []


def pod_troubles(pods: Sequence[Object]) -> list[str]:
    """One sentence for each container of these pods that waits or has died."""
    said = []
    for pod in pods:
        name = pod["metadata"]["name"]
        statuses = pod.get("status", {}).get("containerStatuses", [])
        if not statuses:
            said += [
                f"{name}: {one.get('message') or one.get('reason', '')}"
                for one in pod.get("status", {}).get("conditions", [])
                if one.get("status") != "True" and one.get("type") == "PodScheduled"
            ]
        for status in statuses:
            waiting = status.get("state", {}).get("waiting")
            died = status.get("lastState", {}).get("terminated")
            if waiting:
                said.append(f"{name}: {waiting.get('reason')} {waiting.get('message', '')}".strip())
            elif died:
                said.append(f"{name}: ended before with exit {died.get('exitCode')}")
    return said


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
    """Until a pod that is created (dry run) comes back with a sidecar.

    This goes the whole way: selectors, Service, kube-proxy, TLS, authority, injector.
    Raises ClusterError with the last answer.
    """
    task.update("a pod on trial")
    deadline = time.monotonic() + seconds
    while reason := _not_injecting(api):
        if time.monotonic() > deadline:
            raise ClusterError(
                f"no pod was injected in {seconds:.0f} s: {reason}",
                hint="`lab status` shows the control plane; `lab up` tries again",
            )
        task.update(reason[:100])
        time.sleep(0.1)  # between two trials


def _not_injecting(api: KubeApi) -> str:
    try:
        pod = api.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", PROBE_POD)
    except ApiError as error:
        return error.message
    spec = pod["spec"]
    names = [one["name"] for one in spec["containers"] + spec.get("initContainers", [])]
    return "" if contract.PROXY_CONTAINER in names else f"the pod has only {json.dumps(names)}"
