"""HTTPS, with HTTP/1 and HTTP/2 inside, and gRPC: certificates, versions, frames."""

import datetime
import functools
import ipaddress
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.probers.cases_http import NEVER, OK, get, says
from tests.probers.servers import Case, Serve, Talk

HTTPS = {"scheme": "HTTPS"}
WHOLE = OK + "Content-Length: 2\r\n\r\nok"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
END, HEADERS_END = 1, 4


@functools.cache
def _pem(kind: str) -> bytes:
    """A certificate of a kind and its key."""
    key: Any = ec.generate_private_key(ec.SECP256R1())
    if kind.startswith("rsa"):
        key = rsa.generate_private_key(65537, int(kind[3:]))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "elsewhere.example")])
    now = datetime.datetime(2026, 1, 1)
    end = now.replace(year=2020 if kind == "expired" else 2099)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now.replace(year=2019))
        .not_valid_after(end)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return bytes(private + made.public_bytes(serialization.Encoding.PEM))


def tls(
    kind: str = "ec",
    *,
    most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ciphers: str = "",
    protocols: tuple[str, ...] = (),
    client: bool = False,
) -> Callable[[], ssl.SSLContext]:
    """A server's TLS settings."""

    def make() -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(f"{ciphers or 'ALL'}:@SECLEVEL=0")
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(_pem(kind))
            file.flush()
            context.load_cert_chain(file.name)
            if client:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(file.name)
        context.maximum_version = most
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context

    return make


def cases() -> Iterator[Case]:
    """Every case over TLS, and of gRPC."""
    yield from _tls()
    yield from _http2()
    yield from _grpc()


def _tls() -> Iterator[Case]:
    ask, two = get("/", **HTTPS), ssl.TLSVersion.TLSv1_2
    for name, made in {
        "of no authority": tls(),
        "that is over": tls("expired"),
        "with RSA": tls("rsa2048"),
        "with a short RSA key": tls("rsa1024"),
        "TLS 1.2": tls(most=two),
        "HTTP/1.1 agreed on": tls(protocols=("http/1.1",)),
        "nothing to agree on": tls(protocols=("ftp",)),
        "who asks for a certificate": tls(client=True),
        "who asks for one, TLS 1.2": tls(client=True, most=two),
        "CBC": tls(most=two, ciphers="ECDHE-ECDSA-AES256-SHA"),
        "CBC with SHA-256": tls(most=two, ciphers="ECDHE-ECDSA-AES128-SHA256"),
        "RSA without forward secrecy": tls("rsa2048", most=two, ciphers="AES128-GCM-SHA256"),
        "finite fields": tls("rsa2048", most=two, ciphers="DHE-RSA-AES128-GCM-SHA256"),
    }.items():
        yield Case(f"tls: {name}", ask, says(WHOLE), tls=made)
    for number, version in ((1, "TLS 1.0"), (2, "TLS 1.1")):
        # A server's hello of that version: Python no longer makes one.
        hello = bytes([3, number]) + bytes(32) + b"\0\xc0\x13\0"
        shake = b"\x02" + len(hello).to_bytes(3, "big") + hello
        record = bytes([22, 3, number]) + len(shake).to_bytes(2, "big") + shake
        yield Case(f"tls: {version}", ask, says_at_once(record))
    yield Case("tls: an alert", ask, says_at_once(b"\x15\x03\x03\0\x02\x02\x28"))
    yield Case("tls: an error", ask, says("HTTP/1.1 500 X\r\n\r\n"), tls=tls())
    yield Case("tls: a redirect", get("/s", **HTTPS), _moves(), tls=tls())
    yield Case("tls: until the end", ask, says(OK + "\r\nok"), tls=tls())
    yield Case("tls: asked in clear", get("/"), says(WHOLE), tls=tls())
    yield Case("tls: answers in clear", ask, says_at_once(WHOLE))
    yield Case("tls: answers no HTTP in clear", ask, says_at_once("220 mail ESMTP\r\n"))
    yield Case("tls: closes", ask, lambda talk: None)
    yield Case("tls: never answers", ask, lambda talk: talk.wait(), timeout=NEVER)
    yield Case("tls: IPv6", ask, says(WHOLE), tls=tls(), host="::1")


def says_at_once(data: bytes | str) -> Serve:
    """Answers a TLS hello with these bytes."""

    def serve(talk: Talk) -> None:
        talk.sock.recv(65536)
        talk.send(data)

    return serve


def _moves() -> Serve:
    def serve(talk: Talk) -> None:
        to = f"https://{talk.address}/end"
        if talk.path == "/s":
            talk.send(f"HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
        else:
            talk.send(WHOLE)

    return serve


def frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    """One frame of HTTP/2."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, number) + payload


def block(*fields: tuple[str, str]) -> bytes:
    """A block of headers without any compression."""
    out = b""
    for name, value in fields:
        for lead, text in ((b"\0", name), (b"", value)):
            raw = text.encode("latin-1")
            size = bytes([len(raw)]) if len(raw) < 127 else b"\x7f" + _more(len(raw) - 127)
            out += lead + size + raw
    return out


def _more(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def frames(*parts: bytes, greeting: bytes = SETTINGS, stays: bool = False) -> Serve:
    """Speaks HTTP/2: its settings, and after the request these frames."""

    def serve(talk: Talk) -> None:
        talk.send(greeting)
        _request(talk)
        talk.send(b"".join(parts))
        if stays:
            talk.wait()

    return serve


def _request(talk: Talk) -> bytes:
    """What came up to the end of the request."""
    read = b""
    while len(read) < 24 or not _asked(read[24:]):
        if not (more := talk.sock.recv(65536)):
            raise ConnectionError("no whole request came")
        read += more
    return read


def _asked(data: bytes) -> bool:
    """Whether a whole request is in these frames."""
    while len(data) >= 9:
        size, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
        if kind in (0, 1) and flags & END and len(data) >= 9 + size:
            return True
        data = data[9 + size :]
    return False


def head(*fields: tuple[str, str], end: bool = True) -> bytes:
    """HEADERS of the request's stream."""
    return frame(1, HEADERS_END | (END if end else 0), 1, block(*fields))


def status(code: object, *fields: tuple[str, str], end: bool = True) -> bytes:
    """The same, with a status before."""
    return head((":status", str(code)), *fields, end=end)


def data(payload: bytes, end: bool = True) -> bytes:
    """DATA of the request's stream."""
    return frame(0, END if end else 0, 1, payload)


def _http2() -> Iterator[Case]:
    both = tls(protocols=("h2",))
    # The three blocks of RFC 7541's appendix C.6: Huffman codes and the dynamic table.
    packed = bytes.fromhex(
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c7"
        "8f0b97c8e9ae82ae43d3"
    )
    for name, parts in {
        "200": [status(200)],
        "200 with a body": [status(200, end=False), data(b"ok")],
        "204": [status(204)],
        "404": [status(404)],
        "500": [status(500)],
        "302 elsewhere, in Huffman": [frame(1, 5, 1, packed)],
        "302 without a Location": [status(302)],
        "303 to another host": [status(303, ("location", "//elsewhere.example/"))],
        "an index of the table": [frame(1, 5, 1, b"\x88")],
        "an index of an error": [frame(1, 5, 1, b"\x8e")],
        "an index beyond the table": [frame(1, 5, 1, b"\xff\x70")],
        "index 0": [frame(1, 5, 1, b"\x80")],
        "a bad Huffman code": [frame(1, 5, 1, b"\x48\x82\xff\xff")],
        "no status": [head(("x", "y"))],
        "two statuses": [head((":status", "200"), (":status", "200"))],
        "a status of letters": [status("abc")],
        "a status after the rest": [head(("x", "y"), (":status", "200"))],
        "a pseudo header of its own": [status(200, (":x", "y"))],
        "a capital name": [status(200, ("X", "y"))],
        "a bad value": [status(200, ("x", "a\x01"))],
        "an empty name": [status(200, ("", "y"))],
        "padding": [frame(1, 5 | 8, 1, b"\x03" + block((":status", "200")) + b"\0\0\0")],
        "too much padding": [frame(1, 5 | 8, 1, b"\x7f" + block((":status", "200")))],
        "a priority": [frame(1, 5 | 32, 1, b"\0\0\0\0\x10" + block((":status", "200")))],
        "headers in two frames": [
            frame(1, 1, 1, block((":status", "200"))), frame(9, 4, 1, block(("x", "y")))],
        "headers that do not go on": [
            frame(1, 1, 1, block((":status", "200"))), frame(0, 0, 1, b"")],
        "a continuation of nothing": [frame(9, 4, 1, block((":status", "200")))],
        "data first": [data(b"ok")],
        "interim 103": [status(103, end=False), status(200)],
        "interim that ends": [status(103)],
        "many interim": [status(103, end=False)] * 20 + [status(200)],
        "101": [status(101, end=False), status(200)],
        "a length that is right": [status(200, ("content-length", "2"), end=False), data(b"ok")],
        "a body shorter than said": [
            status(200, ("content-length", "9"), end=False), data(b"ok")],
        "a body longer than said": [
            status(200, ("content-length", "1"), end=False), data(b"ok")],
        "a length and no body": [status(200, ("content-length", "2"))],
        "a length that is none": [status(200, ("content-length", "x"), end=False), data(b"ok")],
        "two lengths": [status(200, ("content-length", "1"), ("content-length", "2"), end=False),
                        data(b"ok")],
        "a trailer": [status(200, end=False), data(b"ok", end=False), head(("x", "y"))],
        "a trailer with a status": [
            status(200, end=False), data(b"ok", end=False), status(500)],
        "a trailer that does not end": [
            status(200, end=False), data(b"ok", end=False), head(("x", "y"), end=False)],
        "reset": [frame(3, 0, 1, struct.pack(">I", 2))],
        "reset after the head": [status(200, end=False), frame(3, 0, 1, struct.pack(">I", 2))],
        "goes away, unread": [frame(7, 0, 0, struct.pack(">II", 0, 2))],
        "goes away, and answers": [frame(7, 0, 0, struct.pack(">II", 1, 0)), status(200)],
        "a ping first": [frame(6, 0, 0, b"12345678"), status(200)],
        "a frame that nobody knows": [frame(0x55, 0, 0, b"x"), status(200)],
        "a push": [frame(5, 4, 1, struct.pack(">I", 2) + block((":method", "GET"))), status(200)],
        "a frame that is too large": [status(200, end=False), data(b"x" * 20000)],
        "settings that are broken": [frame(4, 0, 0, b"abc"), status(200)],
        "a window that grows": [frame(8, 0, 0, struct.pack(">I", 5)), status(200)],
        "fifty thousand bytes of headers": [
            frame(1, 1, 1, block((":status", "200"), ("x", "y" * 10000))),
            *(frame(9, 0, 1, block(("x", "y" * 10000))) for _ in range(4)), frame(9, 4, 1, b"")],
        "half a frame": [status(200)[:12]],
        "nothing": [],
    }.items():  # fmt: skip
        yield Case(f"h2: {name}", get("/", **HTTPS), frames(*parts), tls=both)
    yield Case(
        "h2: 10240 bytes, then nothing", get("/", **HTTPS),
        frames(status(200, end=False), data(b"x" * 10240, end=False), stays=True), tls=both,
    )  # fmt: skip
    yield Case(
        "h2: 10239 bytes, then nothing", get("/", **HTTPS),
        frames(status(200, end=False), data(b"x" * 10239, end=False), stays=True), tls=both,
        timeout=NEVER,
    )  # fmt: skip
    yield Case("h2: no settings", get("/", **HTTPS), frames(status(200), greeting=b""), tls=both)
    yield Case("h2: speaks HTTP/1", get("/", **HTTPS), says(WHOLE), tls=both)
    yield Case(
        "h2: an Upgrade is asked for",
        get("/", **HTTPS, httpHeaders=[{"name": "Upgrade", "value": "x"}]),
        frames(status(200)), tls=both,
    )  # fmt: skip
    yield Case("h2: refused once", get("/", **HTTPS), _refuses(), tls=both)


def _refuses() -> Serve:
    def serve(talk: Talk) -> None:
        refusal = frame(7, 0, 0, struct.pack(">II", 0, 0))
        frames(status(200) if talk.number else refusal)(talk)

    return serve


def message(payload: bytes) -> bytes:
    """A message of gRPC."""
    return b"\0" + struct.pack(">I", len(payload)) + payload


GRPC = ("content-type", "application/grpc")
OPENED = status(200, GRPC, end=False)
SERVING = data(message(b"\x08\x01"), end=False)


def trailer(code: object = 0, *more: tuple[str, str]) -> bytes:
    """What ends an answer of gRPC."""
    return head(("grpc-status", str(code)), *more)


def _grpc() -> Iterator[Case]:
    for name, parts in {
        "serving": [OPENED, SERVING, trailer()],
        "not serving": [OPENED, data(message(b"\x08\x02"), end=False), trailer()],
        "unknown": [OPENED, data(message(b""), end=False), trailer()],
        "service unknown": [OPENED, data(message(b"\x08\x03"), end=False), trailer()],
        "a status that nobody knows": [OPENED, data(message(b"\x08\x63"), end=False), trailer()],
        "unimplemented": [status(200, GRPC, ("grpc-status", "12"))],
        "not found": [status(200, GRPC, ("grpc-status", "5"), ("grpc-message", "no such"))],
        "not found after a message": [OPENED, SERVING, trailer(5)],
        "internal after a message": [OPENED, SERVING, trailer(13, ("grpc-message", "oh%20no"))],
        "a status of letters": [OPENED, SERVING, trailer("x")],
        "a status with a sign": [OPENED, SERVING, trailer("+0")],
        "no status": [OPENED, SERVING, head(("x", "y"))],
        "no trailers": [OPENED, data(message(b"\x08\x01"))],
        "no message": [OPENED, trailer()],
        "trailers only, well": [status(200, GRPC, ("grpc-status", "0"))],
        "two messages": [OPENED, SERVING, SERVING, trailer()],
        "half a message": [OPENED, data(message(b"\x08\x01")[:6], end=False), trailer()],
        "a message in two frames": [
            OPENED, data(b"\0\0\0", end=False), data(b"\0\x02\x08\x01", end=False), trailer()],
        "a compressed message": [
            status(200, GRPC, ("grpc-encoding", "gzip"), end=False),
            data(b"\x01" + message(b"\x08\x01")[1:], end=False), trailer()],
        "compressed by nothing": [
            OPENED, data(b"\x01" + message(b"\x08\x01")[1:], end=False), trailer()],
        "an encoding that is not used": [
            status(200, GRPC, ("grpc-encoding", "gzip"), end=False), SERVING, trailer()],
        "fields that nobody knows": [
            OPENED, data(message(b"\x12\x02hi\x08\x01\x1d1234\x21" + b"8" * 8), end=False),
            trailer()],
        "two statuses in it": [OPENED, data(message(b"\x08\x02\x08\x01"), end=False), trailer()],
        "a message that is none": [OPENED, data(message(b"\xff"), end=False), trailer()],
        "a field that breaks off": [OPENED, data(message(b"\x12\x09hi"), end=False), trailer()],
        "field 0": [OPENED, data(message(b"\x00\x01"), end=False), trailer()],
        "a group": [OPENED, data(message(b"\x13\x14\x08\x01"), end=False), trailer()],
        "a long varint": [OPENED, data(message(b"\x08\x81\x80\x00"), end=False), trailer()],
        "grpc+proto": [status(200, ("content-type", "application/grpc+proto"), end=False),
                       SERVING, trailer()],
        "grpc with a parameter": [
            status(200, ("content-type", "application/grpc;v=1"), end=False), SERVING, trailer()],
        "grpc in capitals": [status(200, ("content-type", "Application/GRPC"), end=False),
                             SERVING, trailer()],
        "grpc-web": [status(200, ("content-type", "application/grpc-web"), end=False),
                     SERVING, trailer()],
        "no content type": [status(200, end=False), SERVING, trailer()],
        "text": [status(200, ("content-type", "text/html"), end=False), data(b"<html>")],
        "404": [status(404)],
        "404 with a content type": [status(404, GRPC, end=False), SERVING, trailer()],
        "no HTTP status": [head(GRPC, end=False), SERVING, trailer()],
        "interim": [status(103, end=False), OPENED, SERVING, trailer()],
        "headers in the middle": [OPENED, head(("x", "y"), end=False), SERVING, trailer()],
        "reset": [frame(3, 0, 1, struct.pack(">I", 8))],
        "reset after the message": [OPENED, SERVING, frame(3, 0, 1, struct.pack(">I", 0))],
        "goes away": [frame(7, 0, 0, struct.pack(">II", 0, 0))],
        "a bad header in base64": [status(200, GRPC, ("x-bin", "!"), end=False), SERVING,
                                   trailer()],
        "padding": [OPENED, frame(0, 8, 1, b"\x02" + message(b"\x08\x01") + b"\0\0"), trailer()],
        "pings": [frame(6, 0, 0, b"12345678"), OPENED, SERVING, trailer()],
        "closes": [],
    }.items():  # fmt: skip
        yield Case(
            f"grpc: {name}", {"grpc": {}}, frames(*parts),
            timeout=NEVER if name == "goes away" else 20,
        )  # fmt: skip
    yield Case("grpc: slow", {"grpc": {}}, frames(OPENED, stays=True), timeout=NEVER)
    yield Case("grpc: nobody listens", {"grpc": {}}, None, timeout=NEVER)
    yield Case("grpc: an HTTP/1 server", {"grpc": {}}, says(WHOLE), timeout=NEVER)
    yield Case("grpc: a TLS server", {"grpc": {}}, says(WHOLE), tls=tls(), timeout=NEVER)
    yield Case("grpc: silent", {"grpc": {}}, lambda talk: talk.wait(), timeout=NEVER)
    yield Case("grpc: IPv6", {"grpc": {}}, frames(OPENED, SERVING, trailer()), host="::1")
    yield Case("grpc: asks for a service", {"grpc": {"service": "my.Service"}}, _by_service())
    yield Case("grpc: a service of 300 letters", {"grpc": {"service": "s" * 300}}, _by_service())
    yield Case("grpc: the second connection is well", {"grpc": {}}, _second())


def _by_service() -> Serve:
    def serve(talk: Talk) -> None:
        talk.send(SETTINGS)
        read = _request(talk)
        well = b"my.Service" in read or b"s" * 300 in read
        talk.send(
            OPENED + data(message(b"\x08\x01" if well else b"\x08\x02"), end=False) + trailer()
        )

    return serve


def _second() -> Serve:
    def serve(talk: Talk) -> None:
        if talk.number:
            frames(OPENED, SERVING, trailer())(talk)

    return serve
