"""The Kubernetes API over HTTPS: read, list, watch. Knows kubeconfig files, not our cluster.

httpx rather than the official client: half its import time, and objects stay the API's own JSON,
which is what a bundle keeps and a reader sees.
"""

import base64
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from lab.errors import ObservationError
from lab.observe.api_objects import Object

UP_HINT = "is the lab up? `lab status` says, `lab up` makes or heals it"


class NotFoundError(ObservationError):
    """The API server answers, and what was asked for is not there."""


class WaitError(ObservationError):
    """A condition did not come true in time; `last` is the last thing seen, as JSON objects."""

    def __init__(self, message: str, last: Sequence[Object], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.last = tuple(last)


@dataclass(frozen=True)
class Access:
    """Where the API server is and how to prove who we are (PEM bytes, or a bearer token)."""

    server: str
    authority: bytes
    certificate: bytes = b""
    key: bytes = b""
    token: str = ""


def read_kubeconfig(file: Path) -> Access:
    """The current context of a kubeconfig. Raises ObservationError when it cannot be used."""
    try:
        config = yaml.safe_load(file.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        return Access(
            server=cluster["server"],
            authority=_data(cluster, "certificate-authority", file),
            certificate=_data(user, "client-certificate", file),
            key=_data(user, "client-key", file),
            token=user.get("token", ""),
        )
    except OSError as error:
        raise ObservationError(f"cannot read {file}: {error.strerror}", hint=UP_HINT) from error
    except (KeyError, TypeError, ValueError, StopIteration, yaml.YAMLError) as error:
        raise ObservationError(f"{file} is no usable kubeconfig: {error!r}") from error


def _named(every: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next(one for one in every if one["name"] == name)


def _data(entry: Mapping[str, Any], key: str, file: Path) -> bytes:
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"])
    return (file.parent / entry[key]).read_bytes() if key in entry else b""


def tls(access: Access) -> ssl.SSLContext:
    """A TLS context that trusts the cluster alone and shows our certificate."""
    context = ssl.create_default_context(cadata=access.authority.decode())
    if access.certificate:
        # OpenSSL's Python binding takes a certificate only from a file.
        with tempfile.TemporaryDirectory() as folder:
            pem = Path(folder) / "client.pem"
            pem.touch(mode=0o600)
            pem.write_bytes(access.certificate + b"\n" + access.key)
            context.load_cert_chain(pem)
    return context


class Api:
    """One API server. Connects when first used; safe for several threads."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self._made: httpx.Client | None = None
        self._guard = threading.Lock()

    @property
    def _client(self) -> httpx.Client:
        with self._guard:
            if self._made is None:
                access = read_kubeconfig(self.kubeconfig)
                headers = {"authorization": f"Bearer {access.token}"} if access.token else {}
                self._made = httpx.Client(
                    base_url=access.server,
                    verify=tls(access),
                    headers=headers,
                    timeout=httpx.Timeout(15.0, connect=5.0),
                    trust_env=False,  # a proxy of the user's is not between us and the lab
                )
            return self._made

    def close(self) -> None:
        """Close connections."""
        with self._guard:
            made, self._made = self._made, None
        if made is not None:
            made.close()

    def text(self, path: str, **query: str) -> str:
        """GET `path`. Raises NotFoundError, or ObservationError with the server's own words."""
        try:
            answer = self._client.get(path, params=query)
        except httpx.HTTPError as error:
            raise ObservationError(f"the API server does not answer: {error}", hint=UP_HINT) from (
                error
            )
        if answer.is_success:
            return answer.text
        raise _refused(answer.status_code, answer.text, path)

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """As `text`, decoded."""
        found: dict[str, Any] = json.loads(self.text(path, **query))
        return found

    def wait(
        self,
        path: str,
        met: Callable[[Sequence[Object]], bool],
        *,
        what: str,
        timeout: float,
        query: Mapping[str, str],
        describe: Callable[[Object], str],
    ) -> tuple[Object, ...]:
        """List, then watch the collection at `path` until `met` holds of it.

        Raises WaitError after `timeout` seconds, with the last objects seen.
        """
        deadline = time.monotonic() + timeout
        objects: dict[str, Object] = {}
        while True:
            listed = self.get(path, **query)
            objects = {one["metadata"]["uid"]: one for one in listed.get("items") or ()}
            if met(tuple(objects.values())):
                return tuple(objects.values())
            version = listed["metadata"]["resourceVersion"]
            for kind, seen in self._watch(path, version, deadline, query):
                if kind == "DELETED":
                    objects.pop(seen["metadata"]["uid"], None)
                elif kind in ("ADDED", "MODIFIED"):
                    objects[seen["metadata"]["uid"]] = seen
                else:  # BOOKMARK, or ERROR: the version is too old, so list again
                    break
                if met(tuple(objects.values())):
                    return tuple(objects.values())
            if time.monotonic() >= deadline:
                last = tuple(objects.values())
                seen_text = "\n  ".join(describe(one) for one in last) or "nothing"
                raise WaitError(f"waited {timeout:g} s for {what}; last seen:\n  {seen_text}", last)

    def _watch(
        self, path: str, version: str, deadline: float, query: Mapping[str, str]
    ) -> Iterator[tuple[str, Object]]:
        left = deadline - time.monotonic()
        if left <= 0:
            return
        asked = {**query, "watch": "true", "resourceVersion": version}
        # The server ends the watch at its own timeout (whole seconds); ours is exact.
        asked["timeoutSeconds"] = str(int(left) + 1)
        try:
            with self._client.stream(
                "GET", path, params=asked, timeout=httpx.Timeout(left, connect=5.0)
            ) as stream:
                if not stream.is_success:
                    raise _refused(stream.status_code, stream.read().decode(), path)
                for line in stream.iter_lines():
                    change = json.loads(line)
                    yield change["type"], change["object"]
                    if time.monotonic() >= deadline:
                        return
        except httpx.ReadTimeout:
            return  # nothing more came before the deadline
        except httpx.RemoteProtocolError:
            return  # the server closed the stream half-way: the caller lists again
        except httpx.HTTPError as error:
            raise ObservationError(f"the watch of {path} broke: {error}", hint=UP_HINT) from error


def _refused(status: int, body: str, path: str) -> ObservationError:
    try:
        said = json.loads(body).get("message", body)
    except ValueError:
        said = body
    kind = NotFoundError if status == 404 else ObservationError
    return kind(f"the API server answered {status} to {path}: {said.strip()[:500]}")
