"""Requests to an API server: reads, and the dry-run create. Nothing is ever stored."""

import json
import ssl
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from lab.explain.errors import RequestError
from lab.explain.kubeconfig import Login
from lab.observe.api import tls

TIMEOUT = 15.0
"""Seconds for a read."""
TRIAL_TIMEOUT = 45.0
"""Seconds for the dry run: the API server waits up to 30 s for each webhook."""


class Api:
    """One API server."""

    def __init__(self, login: Login) -> None:
        access = login.access
        headers = {"authorization": f"Bearer {access.token}"} if access.token else {}
        self._names = {"sni_hostname": login.server_name} if login.server_name else {}
        self._client = httpx.Client(
            base_url=access.server,
            verify=_context(login),
            headers=headers,
            auth=login.basic,
            proxy=login.proxy or None,
            timeout=httpx.Timeout(TIMEOUT, connect=5.0),
            trust_env=False,  # the kubeconfig says what is between us and the cluster
        )
        self.server = access.server

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET, decoded. Raises RequestError."""
        found: dict[str, Any] = json.loads(self.text(path, **query))
        return found

    def text(self, path: str, **query: str) -> str:
        """GET. Raises RequestError with the server's own words."""
        answer = self._send("GET", path, query)
        if answer.is_success:
            return answer.text
        raise RequestError(
            f"the API server answered {answer.status_code} to {path}: {_message(answer)}",
            answer.status_code,
        )

    def excerpt(
        self,
        path: str,
        most: int,
        query: Mapping[str, str] | None = None,
        *,
        within: float = TIMEOUT,
    ) -> str:
        """GET, `most` bytes or what came `within` so many seconds: what a pod tells may never end.

        Raises RequestError.
        """
        until, found = time.monotonic() + within, b""
        try:
            with self._client.stream(
                "GET", path, params=query or None, extensions=dict(self._names)
            ) as answer:
                for piece in answer.iter_bytes():
                    found += piece
                    if len(found) >= most or time.monotonic() > until:
                        break
        except httpx.HTTPError as broken:
            raise RequestError(f"{self.server} does not answer: {broken}", 0) from broken
        if not answer.is_success:
            raise RequestError(f"the API server answered {answer.status_code}", answer.status_code)
        return found[:most].decode(errors="replace")

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """The objects of a collection. Raises RequestError."""
        return list(self.get(path, **query).get("items") or ())

    def try_create(
        self, path: str, body: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any], list[str]]:
        """A dry-run create: status, object or Status, warning headers. Nothing is stored."""
        query = {"dryRun": "All", "fieldManager": "lab-explain"}
        answer = self._send("POST", path, query, body, TRIAL_TIMEOUT)
        try:
            said = answer.json()
        except ValueError:
            said = {"message": answer.text[:500]}
        warnings = answer.headers.get_list("warning")
        return answer.status_code, said if isinstance(said, dict) else {}, warnings

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        timeout: float = TIMEOUT,
    ) -> httpx.Response:
        try:
            return self._client.request(
                method,
                path,
                params=dict(query),
                json=body,
                timeout=httpx.Timeout(timeout, connect=5.0),
                extensions=dict(self._names),
            )
        except httpx.HTTPError as broken:
            raise RequestError(
                f"{self.server} does not answer: {broken}",
                0,
                hint="is the cluster up, and is it the one you mean (--name, --kubeconfig)?",
            ) from broken


def _context(login: Login) -> ssl.SSLContext | bool:
    if not login.access.server.startswith("https"):
        return False
    context = tls(login.access)
    if login.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _message(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", ""))[:500]
    except (ValueError, AttributeError):
        return answer.text.strip()[:500]
