"""A small client of the Kubernetes API for bring-up: read, apply, watch, with deadlines.

The official client takes more than a second to import, which is a third of what `lab up` on a
lab that is up may take; this one needs the standard library alone. Credentials come from the
lab's own kubeconfig (client certificate), nothing else is read.
"""

import base64
import http.client
import json
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab.errors import ClusterError

FIELD_MANAGER = "sidecar-lab"
Object = dict[str, Any]
"""A Kubernetes object as JSON."""

PLURALS = {
    ("v1", "Namespace"): "namespaces",
    ("v1", "Service"): "services",
    ("v1", "Secret"): "secrets",
    ("v1", "ConfigMap"): "configmaps",
    ("v1", "ServiceAccount"): "serviceaccounts",
    ("apps/v1", "Deployment"): "deployments",
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): "clusterroles",
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): "clusterrolebindings",
    ("rbac.authorization.k8s.io/v1", "Role"): "roles",
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): "rolebindings",
    ("policy/v1", "PodDisruptionBudget"): "poddisruptionbudgets",
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): "customresourcedefinitions",
    (
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
    ): "mutatingwebhookconfigurations",
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
    ): "validatingwebhookconfigurations",
}
"""The kinds that the lab installs, so that no discovery request is needed."""


class ApiError(ClusterError):
    """The API answered with an error; `status` is the HTTP status, 0 when nothing answered."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, hint="run `lab status`, then `lab up`")
        self.status = status


def collection(kind: tuple[str, str], namespace: str | None) -> str:
    """URL path of a collection of objects of `(apiVersion, kind)`."""
    version, _ = kind
    root = f"/api/{version}" if "/" not in version else f"/apis/{version}"
    inside = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{inside}/{PLURALS[kind]}"


def path_of(document: Object) -> str:
    """URL path of one object. Raises KeyError for a kind that the lab does not install."""
    meta = document["metadata"]
    kind = (document["apiVersion"], document["kind"])
    return f"{collection(kind, meta.get('namespace'))}/{meta['name']}"


class KubeApi:
    """One API server. Not for several threads at once: a connection is kept."""

    def __init__(self, kubeconfig: Mapping[str, Any], *, timeout: float = 10.0) -> None:
        cluster = kubeconfig["clusters"][0]["cluster"]
        user = kubeconfig["users"][0]["user"]
        address = urlsplit(cluster["server"])
        self.server = str(cluster["server"])
        self._host, self._port = address.hostname or "", address.port or 443
        self._timeout = timeout
        self._tls = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
        with tempfile.NamedTemporaryFile("wb") as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]))
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            self._tls.load_cert_chain(pair.name)
        self._open: http.client.HTTPSConnection | None = None

    @classmethod
    def from_file(cls, kubeconfig: Path, *, timeout: float = 10.0) -> "KubeApi":
        """From a kubeconfig file. Raises ClusterError when it is absent or not a usable one."""
        import yaml  # 0.1 s: not at the top of everything

        try:
            document = yaml.safe_load(kubeconfig.read_text())
            return cls(document, timeout=timeout)
        except FileNotFoundError as absent:
            raise ClusterError(
                "there is no kubeconfig: the cluster is not made yet, or was cut off in the making",
                hint="run `lab up`",
            ) from absent
        except (OSError, KeyError, IndexError, TypeError, ValueError, yaml.YAMLError) as bad:
            raise ClusterError(
                f"{kubeconfig} is no usable kubeconfig: {bad}", hint="run `lab up`"
            ) from bad

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        content: str = "application/json",
        *,
        partial: bool = False,
    ) -> Object:
        """One request; the answer's JSON. Raises ApiError (status 0: nothing answered).

        Bytes are sent as they are, else JSON is made of `body`. `partial`: of each listed
        object only its metadata.
        """
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        accept = "application/json"
        if partial:
            accept += ";as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        headers = {"Content-Type": content, "Accept": accept}
        try:
            connection = self._connection()
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as broken:
            self.close()
            raise ApiError(f"{self.server} does not answer: {broken!r}", 0) from broken
        if answer.status >= 300:
            raise ApiError(f"{method} {path}: {answer.status} {_message(text)}", answer.status)
        return dict(json.loads(text)) if text[:1] == b"{" else {"text": text.decode()}

    def _connection(self) -> http.client.HTTPSConnection:
        if self._open is None:
            self._open = self._connect(self._timeout)
        return self._open

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=timeout, context=self._tls
        )

    def close(self) -> None:
        """Close the kept connection; the next request opens another."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def get(self, path: str) -> Object | None:
        """One object, None when it is not there."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def ready(self) -> str:
        """Empty when the API server says it is ready; else what it, or the network, says."""
        try:
            return "" if self.request("GET", "/readyz").get("text") == "ok" else "not ok"
        except ApiError as error:
            return error.message

    def version(self) -> str:
        """The version of the API server that runs, "1.37.0". Raises ApiError."""
        return str(self.request("GET", "/version")["gitVersion"]).removeprefix("v")

    def wait_ready(self, seconds: float) -> None:
        """Until the API server is ready. Raises ClusterError with what it said last."""
        deadline = time.monotonic() + seconds
        while reason := self.ready():
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"the API server was not ready in {seconds:.0f} s: {reason}",
                    hint="run `lab up` again; if that does not help, `lab down` and `lab up`",
                )
            time.sleep(0.1)  # between two looks at the condition

    def apply(self, document: Object) -> Object:
        """Server-side apply, as the field manager of the lab."""
        query = f"?fieldManager={FIELD_MANAGER}&force=true"
        return self.request(
            "PATCH", path_of(document) + query, document, "application/apply-patch+yaml"
        )

    def watch(self, path: str, seconds: float, selector: str = "") -> Iterator[list[Object]]:
        """All objects of a collection, first as they are, then after every change.

        `selector` is a query such as `fieldSelector=metadata.name%3Dx`. Ends when `seconds`
        have passed; a connection that breaks is made anew.
        """
        deadline = time.monotonic() + seconds
        query = f"?{selector}&" if selector else "?"
        while time.monotonic() < deadline:
            try:
                listed = self.request("GET", path + query)
            except ApiError as error:
                if error.status not in (0, 429, 500, 503):
                    raise
                time.sleep(0.2)  # the API server itself may be starting: look again
                continue
            objects = {_key(one): one for one in listed.get("items", [])}
            yield list(objects.values())
            version = listed["metadata"]["resourceVersion"]
            for event in self._events(f"{path}{query}watch=1&resourceVersion={version}", deadline):
                if event["type"] == "ERROR":
                    break
                if event["type"] == "DELETED":
                    objects.pop(_key(event["object"]), None)
                else:
                    objects[_key(event["object"])] = event["object"]
                yield list(objects.values())

    def _events(self, path: str, deadline: float) -> Iterator[Object]:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return
        connection = self._connect(remaining)
        try:
            connection.request("GET", f"{path}&timeoutSeconds={int(remaining) + 1}")
            answer = connection.getresponse()
            while row := answer.readline():
                yield json.loads(row)
        except (http.client.HTTPException, OSError):
            return  # the caller lists anew, or its time is over
        finally:
            connection.close()


def _key(one: Object) -> tuple[str, str]:
    meta = one["metadata"]
    return meta.get("namespace", ""), meta["name"]


def _message(text: bytes) -> str:
    try:
        return str(json.loads(text).get("message", ""))
    except (ValueError, AttributeError):
        return text.decode(errors="replace")[:500]
