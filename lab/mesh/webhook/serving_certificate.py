"""The webhook's serving certificate: from files or from a Secret, taken up again when changed.

An unusable new one never replaces the one in use.
"""

import asyncio
import base64
import binascii
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

from lab.mesh.errors import SidecarLabError

POLL_SECONDS: Final = 1.0
"""Between looks at certificate files; a Secret's volume is no steady inotify source."""

Say = Callable[[str, str], None]
"""Told of an event and, where something went wrong, why."""


class Source(Protocol):
    """Where a certificate comes from; `context` always serves the last usable one."""

    context: ssl.SSLContext

    async def follow(self, say: Say) -> None:
        """Take up every change, until cancelled."""

    async def there(self) -> None:
        """Return once there is a certificate to serve."""


class Certificate:
    """`tls.crt` and `tls.key` in a folder. Raises SidecarLabError when they are not usable."""

    def __init__(self, folder: Path) -> None:
        self.files = (folder / "tls.crt", folder / "tls.key")
        self.context = server_context()
        self.seen = self._stamp()
        self._load(self.context)

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        try:
            stats = [file.stat() for file in self.files]
        except OSError as bad:
            hint = "the folder holds tls.crt and tls.key, PEM"
            raise SidecarLabError(f"no certificate: {bad}", hint=hint) from bad
        return tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in stats)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(*self.files)
        except (OSError, ssl.SSLError) as bad:
            raise SidecarLabError(f"unusable certificate {self.files[0]}: {bad}") from bad

    def reload(self) -> bool:
        """Take up changed files. Raises SidecarLabError, the old certificate staying in use,
        when they are unusable, as they are between the writing of one and of the other.
        """
        stamp = self._stamp()
        if stamp == self.seen:
            return False
        # First into a context that nobody uses: a key that does not fit must not get in.
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._load(self.context)
        self.seen = stamp
        return True

    async def there(self) -> None:
        """Return at once: without files there would be no such object."""

    async def follow(self, say: Say) -> None:
        """Look at the files now and then, until cancelled."""
        told = ""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if self.reload():
                    told = ""
                    say("certificate reloaded", "")
            except SidecarLabError as bad:
                if told != bad.message:
                    told = bad.message
                    say("certificate not reloaded", bad.message)


class SecretCertificate:
    """`tls.crt` and `tls.key` of a Secret, watched at the API.

    A mounted Secret changes up to two minutes after the Secret; a watch tells within
    milliseconds. A Secret that goes away changes nothing: the last certificate stays in use.
    """

    def __init__(self, secret: str) -> None:
        self.namespace, slash, self.name = secret.partition("/")
        if not (slash and self.namespace and self.name):
            raise SidecarLabError(
                f"--cert-secret {secret!r} is not NAMESPACE/NAME", hint="for example mesh/webhook"
            )
        self.context = server_context()
        self._held: tuple[str, str] | None = None
        self._first = asyncio.Event()
        self._say: Say = lambda event, why: None

    async def there(self) -> None:
        """Wait for a usable Secret."""
        await self._first.wait()

    async def follow(self, say: Say) -> None:
        """List and watch, until cancelled. Raises DiscoveryError without access to an API."""
        # lightkube takes half a second: only where it is needed.
        from lab.mesh.kubernetes_watch import Follower, Secrets, connect

        self._say = say
        client = connect()
        name = {"metadata.name": self.name}
        try:
            await Follower(client, Secrets, self, fields=name, namespace=self.namespace).run()
        finally:
            await client.close()

    def replaced(self, objects: list[dict[str, Any]]) -> None:
        """Take up what a list says."""
        for item in objects:
            self._take(item)

    def changed(self, kind: str, item: dict[str, Any]) -> None:
        """Take up what a watch says."""
        if kind != "DELETED":
            self._take(item)

    def _take(self, secret: dict[str, Any]) -> None:
        data = secret.get("data") or {}
        try:
            pair = data["tls.crt"], data["tls.key"]
            if pair == self._held:
                return
            texts = [base64.b64decode(one, validate=True) for one in pair]
            # First into a context that nobody uses: a key that does not fit must not get in.
            for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), self.context):
                _load_pem(context, b"\n".join(texts))
        except KeyError as lacking:
            self._say("certificate not reloaded", f"the Secret has no {lacking}")
        except (ValueError, TypeError, binascii.Error, ssl.SSLError) as bad:
            self._say("certificate not reloaded", f"the Secret is unusable: {bad}")
        else:
            self._held = pair
            self._first.set()
            self._say("certificate reloaded", "")


def server_context() -> ssl.SSLContext:
    """A TLS server's context, without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load_pem(context: ssl.SSLContext, pem: bytes) -> None:
    """Load certificate chain and key. The ssl module reads them from files only."""
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
