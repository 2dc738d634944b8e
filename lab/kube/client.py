"""Sends requests to one API server, with urllib3.

The official Python client is a dependency (lab/kube/kubeconfig.py runs credential plugins with it),
but is not used here: importing it takes 0.3 s, half the time of `lab up` on a lab that is up.
Importing urllib3, on which the official client is built, takes 0.02 s. Kubernetes objects are kept
as the API's JSON, as `kubectl get -o json` shows them and a failure bundle stores them.
"""

import base64
import json
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import urllib3

from lab.kube.errors import ApiError, KubeconfigError, NotFoundError
from lab.kube.kubeconfig import Login, read
from lab.kube.paths import Object, path_of

FIELD_MANAGER = "sidecar-lab"
CONNECT_SECONDS = 5.0
READ_SECONDS = 15.0
"""Seconds for which an API server may send nothing, unless the caller sets another limit."""
UP_HINT = "`lab status` says whether the lab is up; `lab up` creates or repairs it"
_CONNECTIONS = 4
"""Maximum number of connections that are kept open."""
_PIECE = 65536
_MESSAGE = 2000
"""Maximum number of characters of the server's reason that an error message quotes."""
_PARTIAL = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class KubeApi:
    """A client of one API server. Threads may share it; it opens and reuses connections.

    The constructor raises KubeconfigError when the login cannot be used (certificates, proxy).
    Every method that sends a request raises ApiError: with the server's message when the server
    refuses, or with status 0 and the hint `silent_hint` when nothing answers.
    """

    def __init__(
        self, login: Login, *, timeout: float = READ_SECONDS, silent_hint: str = UP_HINT
    ) -> None:
        self.server = login.server
        self._silent_hint = silent_hint
        self._timeout = timeout
        self._headers = {"accept-encoding": "gzip", **_credentials(login)}
        try:
            self._pool = _pool(login)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as bad:
            raise KubeconfigError(f"no connection can be made with the kubeconfig: {bad}") from bad

    @classmethod
    def from_file(cls, kubeconfig: Path, *, timeout: float = READ_SECONDS) -> Self:
        """Returns a client of the API server in a lab's kubeconfig.

        Raises KubeconfigError if the kubeconfig does not exist or cannot be used.
        """
        if not kubeconfig.is_file():
            raise KubeconfigError(
                f"there is no {kubeconfig}: the cluster was not created, or not completely",
                hint="run `lab up`",
            )
        try:
            return cls(read([kubeconfig]), timeout=timeout)
        except KubeconfigError as bad:
            raise KubeconfigError(bad.message, hint=bad.hint or "run `lab up`") from bad

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
        """Close idle connections; a later request opens a new connection."""
        self._pool.clear()

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content: str = "application/json",
        accept: str = "application/json",
        timeout: float | None = None,
        whole: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request; return the answer, also if its status is an error.

        Raises ApiError only when nothing answers. `body`: bytes are sent unchanged, anything else
        as JSON. `timeout`: seconds for which the server may send nothing. `whole`: whether to read
        the whole answer now; if not, the caller must read it and close it.
        """
        url = f"{self.server.rstrip('/')}{path}"
        if query:
            url += ("&" if "?" in path else "?") + urlencode(query)
        headers = {**self._headers, "accept": accept}
        data: bytes | None = None
        if body is not None:
            headers["content-type"] = content
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        silence = self._timeout if timeout is None else timeout
        limits = urllib3.Timeout(connect=min(CONNECT_SECONDS, silence), read=silence)
        try:
            return self._pool.request(
                method,
                url,
                body=data,
                headers=headers,
                timeout=limits,
                preload_content=whole,
                redirect=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as broken:
            raise self._silent(broken) from broken

    def _silent(self, broken: Exception) -> ApiError:
        return ApiError(f"{self.server} does not answer: {broken}", 0, hint=self._silent_hint)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        content: str = "application/json",
        *,
        query: Mapping[str, str] | None = None,
        partial: bool = False,
    ) -> Object:
        """Send one request; return the JSON object of the answer.

        `partial`: whether to ask for only the metadata of the objects in a list.
        """
        accept = f"{_PARTIAL},application/json" if partial else "application/json"
        answer = self.send(method, path, query=query, body=body, content=content, accept=accept)
        return dict(json.loads(_accepted(answer, method, path)))

    def text(self, path: str, **query: str) -> str:
        """Send GET; return the answer as text."""
        answer = self.send("GET", path, query=query, accept="*/*")
        return _accepted(answer, "GET", path).decode(errors="replace")

    def get(self, path: str, **query: str) -> Object:
        """Send GET; return the JSON object at this path. Raises NotFoundError if there is none."""
        return self.request("GET", path, query=query)

    def find(self, path: str) -> Object | None:
        """Returns the object at this path; None when there is no such object."""
        try:
            return self.get(path)
        except NotFoundError:
            return None

    def items(self, path: str, **query: str) -> list[Object]:
        """Returns the objects of the collection at this path."""
        return list(self.get(path, **query).get("items") or ())

    def lines(
        self, path: str, query: Mapping[str, str], *, seconds: float
    ) -> Iterator[tuple[float, bytes]]:
        """Yields the lines of a continuing answer, each with its time of arrival (time.monotonic).

        Stops when the server ends the answer, when the connection breaks, or when the server has
        sent nothing for `seconds`.
        """
        answer = self.send("GET", path, query=query, timeout=seconds, whole=False)
        try:
            if answer.status >= 300:
                _accepted(answer, "GET", path)
            rest = b""
            while piece := answer.read1(_PIECE):
                came = time.monotonic()
                *complete, rest = (rest + piece).split(b"\n")
                yield from ((came, line) for line in complete if line.strip())
        except urllib3.exceptions.HTTPError:
            return
        finally:
            answer.close()

    def excerpt(
        self,
        path: str,
        most: int,
        query: Mapping[str, str] | None = None,
        *,
        within: float = READ_SECONDS,
    ) -> str:
        """Send GET; return the beginning of the answer, since a pod's answer may never end.

        Stops reading after `most` bytes or after `within` seconds.
        """
        until, found = time.monotonic() + within, b""
        answer = self.send("GET", path, query=query, accept="*/*", whole=False)
        try:
            if answer.status >= 300:
                _accepted(answer, "GET", path)
            while piece := answer.read1(_PIECE):
                found += piece
                if len(found) >= most or time.monotonic() > until:
                    break
        except urllib3.exceptions.HTTPError as broken:
            raise self._silent(broken) from broken
        finally:
            answer.close()
        return found[:most].decode(errors="replace")

    def apply(self, document: Object) -> Object:
        """Apply the object with server-side apply, as field manager FIELD_MANAGER."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        kind = "application/apply-patch+yaml"
        return self.request("PATCH", path_of(document), document, kind, query=query)

    def ready(self) -> str:
        """Returns "" when the API server says that it is ready; else the reason why it is not."""
        try:
            return "" if self.text("/readyz") == "ok" else "not ok"
        except ApiError as error:
            return error.message

    def version(self) -> str:
        """Returns the version of the running API server, for instance 1.37.0."""
        return str(self.get("/version")["gitVersion"]).removeprefix("v")

    def wait_ready(self, seconds: float) -> None:
        """Wait until the API server is ready. After `seconds`, raises ApiError with the reason."""
        deadline = time.monotonic() + seconds
        while reason := self.ready():
            if time.monotonic() > deadline:
                raise ApiError(
                    f"the API server was not ready in {seconds:.0f} s: {reason}",
                    0,
                    hint="run `lab up` again; if that does not help, `lab down` and `lab up`",
                )
            time.sleep(0.1)  # between two looks at the condition


def _credentials(login: Login) -> dict[str, str]:
    if login.token:
        return {"authorization": f"Bearer {login.token}"}
    if login.basic:
        pair = ":".join(login.basic).encode()
        return {"authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _pool(login: Login) -> urllib3.PoolManager:
    options: dict[str, Any] = {"retries": False, "maxsize": _CONNECTIONS}
    if login.server.startswith("https"):
        options["ssl_context"] = _tls(login)
        if login.server_name:
            options["server_hostname"] = login.server_name
    # No proxy of the environment's: the kubeconfig says what is between us and the cluster.
    if login.proxy:
        return urllib3.ProxyManager(login.proxy, **options)
    return urllib3.PoolManager(**options)


def _tls(login: Login) -> ssl.SSLContext:
    """Returns a TLS context that trusts only the cluster's CA and presents our certificate."""
    context = ssl.create_default_context(cadata=login.authority.decode("ascii") or None)
    if login.insecure:
        # The kubeconfig asks for it; kubectl does not warn either.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if login.certificate:
        # The ssl module takes a certificate only from a file.
        with tempfile.TemporaryDirectory() as folder:
            pem = Path(folder) / "client.pem"
            pem.touch(mode=0o600)
            pem.write_bytes(login.certificate + b"\n" + login.key)
            context.load_cert_chain(pem)
    return context


def _accepted(answer: urllib3.BaseHTTPResponse, method: str, path: str) -> bytes:
    """Returns the answer's body. Raises NotFoundError for status 404, ApiError for other errors."""
    if answer.status < 300:
        return answer.data
    refusal = NotFoundError if answer.status == 404 else ApiError
    reason = message(answer.data)[:_MESSAGE]
    said = f"the API server answered {answer.status} to {method} {path}: {reason}"
    raise refusal(said, answer.status)


def message(body: bytes) -> str:
    """Returns the reason in the body of an error: the message of a Status object, else the text."""
    try:
        return str(json.loads(body).get("message", ""))
    except (ValueError, AttributeError):
        return body.decode(errors="replace").strip()
