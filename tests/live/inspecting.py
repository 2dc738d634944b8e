"""A proxy that looks into TLS, as companies have them: on loopback, with an authority of its own.

It forwards to whatever its clients ask for, through the proxy that this machine's own clients
use, if any, and trusts upstream what the machine trusts.
"""

import os
import socket
import ssl
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PATIENCE = 60.0
"""Seconds without a byte after which a connection is closed."""
CHUNK = 1 << 16


class InspectingProxy:
    """Use it in a `with`; `asked` lists the hosts whose TLS it looked into, `errors` what failed.

    `plain` are hosts that are asked for by https and served from port 80.
    """

    def __init__(self, folder: Path, bundle: Path, plain: frozenset[str] = frozenset()) -> None:
        self._folder, self._plain = folder, plain
        self._upstream = ssl.create_default_context(cafile=str(bundle))
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Inspecting Proxy of a Test")
        usage = x509.BasicConstraints(ca=True, path_length=0)
        self._authority = _certificate(self._name, self._name, self._key, self._key, usage)
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.asked: list[str] = []
        self.errors: list[str] = []

    @property
    def authority(self) -> str:
        """The authority's certificate, PEM."""
        return self._authority.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def url(self) -> str:
        """What clients set as their proxy."""
        return f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def environment(self) -> dict[str, str]:
        """The variables that send every client through it."""
        names = ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")
        return {**dict.fromkeys(names, self.url), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A thread that waits in accept() holds the socket: it is told first.
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        host = "?"
        try:
            with client:
                client.settimeout(PATIENCE)
                head = _head(client)
                method, target, _ = head.partition(b"\r\n")[0].decode().split(" ", 2)
                if method == "CONNECT":
                    host, _, port = target.partition(":")
                    self._inspect(client, host, int(port or 443))
                else:
                    host = urlsplit(target).hostname or ""
                    self._forward(client, head, target)
        except (OSError, ValueError) as error:
            self.errors.append(f"{host}: {error}")

    def _inspect(self, client: socket.socket, host: str, port: int) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with self._context(host).wrap_socket(client, server_side=True) as inner:
            self.asked.append(host)
            if host in self._plain:
                with socket.create_connection((host, 80), PATIENCE) as outer:
                    _pump(inner, outer)
                return
            with (
                _connect(host, port) as raw,
                self._upstream.wrap_socket(raw, server_hostname=host) as outer,
            ):
                _pump(inner, outer)

    def _forward(self, client: socket.socket, head: bytes, target: str) -> None:
        parts = urlsplit(target)
        path = target.partition("://")[2].partition("/")[2]
        lines = [one for one in head.split(b"\r\n") if not one.lower().startswith(b"connection:")]
        method = lines[0].split(b" ")[0].decode()
        lines[0] = f"{method} /{path} HTTP/1.1".encode()
        lines.insert(1, b"Connection: close")
        address = (parts.hostname or "", parts.port or 80)
        with socket.create_connection(address, PATIENCE) as outer:
            outer.sendall(b"\r\n".join(lines))
            _pump(client, outer)

    def _context(self, host: str) -> ssl.SSLContext:
        with self._lock:
            if host not in self._contexts:
                key = ec.generate_private_key(ec.SECP256R1())
                usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
                names = x509.SubjectAlternativeName([x509.DNSName(host)])
                made = _certificate(_name(host[:60]), self._name, key, self._key, usage, names)
                file = self._folder / f"leaf-{len(self._contexts)}.pem"
                file.touch(mode=0o600)
                file.write_bytes(
                    key.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    )
                    + made.public_bytes(serialization.Encoding.PEM)
                )
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(file)
                context.set_alpn_protocols(["http/1.1"])
                self._contexts[host] = context
            return self._contexts[host]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for one in extensions:
        builder = builder.add_extension(one, critical=isinstance(one, x509.BasicConstraints))
    return builder.sign(signer, hashes.SHA256())


def _head(client: socket.socket) -> bytes:
    """A request's line and headers, byte by byte so that nothing after them is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        one = client.recv(1)
        if not one or len(head) > CHUNK:
            raise ValueError("no request")
        head += one
    return head


def _connect(host: str, port: int, environ: Mapping[str, str] = os.environ) -> socket.socket:
    """A connection to the host, through the proxy that this machine's clients use, if any."""
    proxy = environ.get("HTTPS_PROXY") or environ.get("https_proxy")
    if not proxy:
        return socket.create_connection((host, port), PATIENCE)
    parts = urlsplit(proxy)
    made = socket.create_connection((parts.hostname or "", parts.port or 3128), PATIENCE)
    made.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    if b" 200 " not in _head(made).partition(b"\r\n")[0] + b" ":
        made.close()
        raise ConnectionError("the machine's own proxy refuses")
    return made


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Bytes both ways until either side ends."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(CHUNK):
                target.sendall(data)
        except OSError:
            pass  # the other side went away: so does this one
        finally:
            for each in (source, target):
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    back = threading.Thread(target=copy, args=(other, one), daemon=True)
    back.start()
    copy(one, other)
    back.join(PATIENCE)
