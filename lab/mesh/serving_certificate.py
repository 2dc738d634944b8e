"""A serving certificate on disk, taken up again when its files change."""

import ssl
from pathlib import Path

from lab.mesh.errors import SidecarLabError


class Certificate:
    """The serving certificate, as `tls.crt` and `tls.key` in a folder, and its TLS context."""

    def __init__(self, folder: Path) -> None:
        self.files = (folder / "tls.crt", folder / "tls.key")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
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
