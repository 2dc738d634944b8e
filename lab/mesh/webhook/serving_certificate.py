"""The webhook's serving certificate, from files or from a Secret; reloaded when it changes.

An unusable certificate never replaces the one in use.
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
"""Seconds between checks of the files; inotify is not reliable in a Secret's volume."""

Say = Callable[[str, str], None]
"""A function that receives an event and, if the event is a failure, the reason, else ""."""


class Source(Protocol):
    """Where a certificate comes from. `context` always holds the last usable certificate."""

    context: ssl.SSLContext

    async def follow(self, say: Say) -> None:
        """Reload the certificate at every change, until cancelled."""

    async def there(self) -> None:
        """Return as soon as there is a certificate to serve."""


class Certificate:
    """A certificate from the files `tls.crt` and `tls.key` of a folder.

    Creating it raises SidecarLabError if the files are unusable.
    """

    def __init__(self, folder: Path) -> None:
        self.files = (folder / "tls.crt", folder / "tls.key")
        self.context = server_context()
        self._loaded_stamp = self._stamp()
        self._load(self.context)

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        try:
            stats = [file.stat() for file in self.files]
        except OSError as bad:
            hint = "the folder must hold tls.crt and tls.key, PEM"
            raise SidecarLabError(f"no certificate: {bad}", hint=hint) from bad
        return tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in stats)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(*self.files)
        except (OSError, ssl.SSLError) as bad:
            raise SidecarLabError(f"unusable certificate {self.files[0]}: {bad}") from bad

    def reload(self) -> bool:
        """Reload the files if they have changed; return whether they had changed.

        Raises SidecarLabError when they are unusable, for example because only one of the two is
        written yet. The old certificate then stays in use.
        """
        stamp = self._stamp()
        if stamp == self._loaded_stamp:
            return False
        # First into an unused context, so that a wrong key never reaches the one in use.
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._load(self.context)
        self._loaded_stamp = stamp
        return True

    async def there(self) -> None:
        """Return at once: without usable files this object would not exist."""

    async def follow(self, say: Say) -> None:
        """Reload the files when they change, until cancelled; report a repeated failure once."""
        reported = ""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if self.reload():
                    reported = ""
                    say("certificate reloaded", "")
            except SidecarLabError as bad:
                if reported != bad.message:
                    reported = bad.message
                    say("certificate not reloaded", bad.message)


class SecretCertificate:
    """A certificate from the keys `tls.crt` and `tls.key` of a Secret, watched at the API server.

    A mounted Secret changes up to two minutes after the Secret; a watch reports the change within
    milliseconds. When the Secret is deleted, the last certificate stays in use.
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
        """Watch the Secret until cancelled. Raises DiscoveryError without access to the API."""
        # Importing lightkube takes half a second: only where it is needed.
        from lab.mesh.kubernetes_watch import Follower, Secrets, connect

        self._say = say
        client = connect()
        name = {"metadata.name": self.name}
        try:
            await Follower(client, Secrets, self, fields=name, namespace=self.namespace).run()
        finally:
            await client.close()

    def replaced(self, objects: list[dict[str, Any]]) -> None:
        """Load the certificate of the Secret, if the complete list `objects` holds it."""
        for item in objects:
            self._take(item)

    def changed(self, kind: str, item: dict[str, Any]) -> None:
        """Load the certificate of the Secret that a watch event reports, unless it was deleted."""
        if kind != "DELETED":
            self._take(item)

    def _take(self, secret: dict[str, Any]) -> None:
        data = secret.get("data") or {}
        try:
            pair = data["tls.crt"], data["tls.key"]
            if pair == self._held:
                return
            texts = [base64.b64decode(encoded, validate=True) for encoded in pair]
            # First into an unused context, so that a wrong key never reaches the one in use.
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
    """Return the context of a TLS server, without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _load_pem(context: ssl.SSLContext, pem: bytes) -> None:
    """Load certificate chain and key through a file, because the ssl module reads only files."""
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(file.name)
