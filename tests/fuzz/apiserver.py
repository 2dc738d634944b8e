"""The lab's API server as a judge: dry runs on a connection that is kept."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from filelock import FileLock, Timeout

from lab.kube.client import KubeApi, message
from lab.kube.errors import ApiError
from lab.kube.paths import collection, named
from lab.kube.watch import watch
from lab.mesh.errors import SidecarLabError
from lab.mesh.workloads import WORKLOADS
from tests.fuzz.seeds import NAMESPACE, Pod

http.client._MAXHEADERS = 10_000  # type: ignore[attr-defined]
# An API server answers odd pods with one Warning header for each oddity.
PODS: Final = f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All&fieldValidation=Ignore"
WEBHOOK: Final = "/api/v1/namespaces/sidecar-lab/services/https:sidecar-lab-webhook:443/proxy"
"""The running webhook: the API server speaks TLS to the webhook's own port."""
LARGEST: Final = 3 * 2**20
"""Bytes; at more an API server closes the connection while it is being written to."""


class Judge:
    """One connection; `asked` counts the dry runs."""

    def __init__(self, kubeconfig: Path) -> None:
        self.api = KubeApi.from_file(kubeconfig, timeout=30)
        self.asked = 0

    def dry_run(self, pod: Pod) -> str:
        """What the API server says against the pod, "" when it would take it."""
        metadata = pod.get("metadata")
        body: Any = {**pod, "apiVersion": "v1", "kind": "Pod"}
        if isinstance(metadata, dict):
            body["metadata"] = {**metadata, "namespace": NAMESPACE}
        made = self._send(PODS, body)
        return made if isinstance(made, str) else ""

    def dry_run_text(
        self, kind: str, body: bytes, *, is_json: bool, strict: bool = False
    ) -> Pod | str:
        """The object that the API server would make of a manifest, or what it says against it."""
        one = WORKLOADS[kind]
        path = f"{one.api}/namespaces/{NAMESPACE}/{one.plural}?dryRun=All"
        path += f"&fieldValidation={'Strict' if strict else 'Ignore'}"
        return self._send(path, body, "application/json" if is_json else "application/yaml")

    def webhook(self, body: bytes) -> tuple[int, Any]:
        """The running webhook's status and, for 200, its answer."""
        made = self._send(f"{WEBHOOK}/inject", body)
        if isinstance(made, str):
            return int(made[:3]), None
        return 200, made

    def _send(self, path: str, body: object, content: str = "application/json") -> Pod | str:
        """The answer, or the status and what was said. Raises ApiError when nothing answers."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if len(data) > LARGEST:
            return f"413 more than {LARGEST} bytes"
        self.asked += 1
        for last in (False, True):
            try:
                answer = self.api.send("POST", path, body=data, content=content)
                break
            except ApiError:
                if last:
                    raise
                # The server may close a kept connection at any time: once more on a new one.
        if answer.status < 300:
            return dict(json.loads(answer.data))
        reason = message(answer.data)
        if answer.status == 404:
            raise ApiError(f"the namespace of the dry runs is gone: {reason}", 0)
        return f"{answer.status} {reason}"


@contextlib.contextmanager
def namespace(kubeconfig: Path) -> Iterator[None]:
    """The namespace of the dry runs, in which nothing is injected; one run at a time has it."""
    lock = FileLock(kubeconfig.with_name("fuzz.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout as held:
        hint = "wait for its end: both would use one namespace"
        raise SidecarLabError("another fuzz runs on this lab", hint=hint) from held
    with lock, contextlib.closing(KubeApi.from_file(kubeconfig)) as api:
        _prepare(api)
        try:
            yield
        finally:
            api.close()  # a connection that was idle for so long may be closed on the other side
            api.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")


def _prepare(api: KubeApi) -> None:
    _await_end(api)
    labels = {"istio-injection": "disabled"}
    metadata = {"name": NAMESPACE, "labels": labels}
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    accounts = collection(("v1", "ServiceAccount"), NAMESPACE)
    for found in watch(api, accounts, 60):
        # Admission refuses every pod until the controller has made it.
        if any(one["metadata"]["name"] == "default" for one in found):
            return
    raise ApiError(f"namespace {NAMESPACE} has no service account after 60 s", 0)


def _await_end(api: KubeApi) -> None:
    """Until the namespace of a run before is gone: nothing can be made in one that ends."""
    for found in watch(api, "/api/v1/namespaces", 60, named(NAMESPACE)):
        if not any("deletionTimestamp" in one["metadata"] for one in found):
            return
    raise ApiError(f"namespace {NAMESPACE} of an earlier run does not end in 60 s", 0)
