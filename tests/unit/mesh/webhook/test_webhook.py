"""The webhook as a process: real TLS, real signals, real files."""

import json
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


def write_certificate(folder: Path, serial: int) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    form, none = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "tls.key").write_bytes(key.private_bytes(encoding, form, none))
    (folder / "tls.crt").write_bytes(certificate.public_bytes(encoding))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], object], wanted: object, seconds: float = 15) -> None:
    deadline, seen = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        try:
            seen = condition()
        except OSError as error:
            seen = repr(error)
        if seen == wanted:
            return
        time.sleep(0.05)
    pytest.fail(f"last seen: {seen!r}, wanted {wanted!r}")


class Webhook:
    def __init__(self, folder: Path) -> None:
        self.port, self.health_port = free_port(), free_port()
        argv = [sys.executable, "-m", "lab.mesh.webhook", "--port", str(self.port)]
        argv += ["--health-port", str(self.health_port), "--cert-dir", str(folder)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def health(self, path: str) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.health_port, timeout=5)
        connection.request("GET", path)
        response = connection.getresponse()
        found = response.status, response.read().decode()
        connection.close()
        return found

    def connect(self) -> HTTPSConnection:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return HTTPSConnection("127.0.0.1", self.port, timeout=5, context=context)

    def post(self, body: bytes, kind: str = "application/json", path: str = "/inject") -> int:
        connection = self.connect()
        connection.request("POST", path, body, {"Content-Type": kind})
        status = connection.getresponse().status
        connection.close()
        return status

    def serial(self) -> int:
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain,
            self.connect()._context.wrap_socket(plain) as tls,  # type: ignore[attr-defined]
        ):
            certificate = tls.getpeercert(binary_form=True)
        return x509.load_der_x509_certificate(certificate).serial_number


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_certificate(tmp_path, 1)
    return tmp_path


@pytest.fixture
def webhook(folder: Path) -> Iterator[Webhook]:
    running = Webhook(folder)
    try:
        until(lambda: running.health("/readyz")[0], 200)
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.communicate()


def review(pod: object) -> bytes:
    request = {"uid": "u", "kind": {"kind": "Pod"}, "namespace": "ns", "object": pod}
    return json.dumps(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    ).encode()


POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}


def test_reviews_are_answered_and_bad_requests_get_their_status(webhook: Webhook) -> None:
    assert webhook.post(review(POD)) == 200
    assert webhook.post(b"") == 400
    assert webhook.post(b"no json") == 400
    assert webhook.post(review(POD), "text/plain") == 415
    assert webhook.post(review(POD), path="/elsewhere") == 404
    assert webhook.health("/healthz") == (200, "ok\n")
    assert 'reviews_total{verdict="injected"} 1' in webhook.health("/metrics")[1]


def test_a_body_without_end_is_413(webhook: Webhook) -> None:
    assert webhook.post(b" " * (6 * 1024 * 1024 + 1)) == 413


def test_a_chunked_body_without_end_is_413(webhook: Webhook) -> None:
    connection = webhook.connect()
    kind = {"Content-Type": "application/json"}
    chunks = (b" " * 65536 for _ in range(97))
    connection.request("POST", "/inject", chunks, kind, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_that_is_announced_as_too_long_is_413_before_it_is_sent(webhook: Webhook) -> None:
    connection = webhook.connect()
    connection.putrequest("POST", "/inject")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(6 * 1024 * 1024 + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, b"6291456 bytes" in answer.read()) == (413, True)
    connection.close()


def test_a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not(
    webhook: Webhook, folder: Path
) -> None:
    kept = webhook.connect()
    kept.request("POST", "/inject", review(POD), {"Content-Type": "application/json"})
    assert kept.getresponse().read()
    assert webhook.serial() == 1
    write_certificate(folder, 2)
    until(webhook.serial, 2)
    (folder / "tls.key").write_text("torn")
    other = folder / "other"
    other.mkdir()
    write_certificate(other, 3)
    shutil.copy(other / "tls.crt", folder / "tls.crt")
    assert webhook.serial() == 2
    shutil.copy(other / "tls.key", folder / "tls.key")
    until(webhook.serial, 3)
    kept.request("POST", "/inject", review(POD), {"Content-Type": "application/json"})
    assert kept.getresponse().status == 200
    kept.close()


def test_sigterm_ends_readiness_first_serves_on_and_exits_0(webhook: Webhook) -> None:
    webhook.process.send_signal(signal.SIGTERM)
    until(lambda: webhook.health("/readyz")[0], 503, seconds=0.9)
    assert webhook.post(review(POD)) == 200
    assert webhook.process.wait(timeout=15) == 0
    out = webhook.process.communicate()[0]
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert events == ["ready", "stopping", "review", "stopped"]


def test_no_certificate_is_an_error_with_a_hint(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "lab.mesh.webhook", "--cert-dir", str(tmp_path / "none")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no certificate")
    assert "hint: " in done.stderr


def test_a_configuration_that_cannot_be_used_is_an_error_before_it_listens(folder: Path) -> None:
    config = folder / "injector.yaml"
    config.write_text("policy: perhaps")
    argv = [sys.executable, "-m", "lab.mesh.webhook", "--cert-dir", str(folder)]
    argv += ["--config", str(config)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert "injector.yaml, field policy: must be one of enabled, disabled" in done.stderr
