"""Another injector in the chapter's namespace: its certificate, its pod and its Service."""

import base64
import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lab.mesh.contract import CONTROL_IMAGE
from lab.scenario import World

PROGRAM = "other-injector.py"
NAME = "other"

POD = """\
apiVersion: v1
kind: Pod
metadata: {name: other, labels: {app: other}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: other
    image: IMAGE
    imagePullPolicy: IfNotPresent
    command: [python3, /program/other-injector.py, /tls]
    readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
    volumeMounts:
    - {name: program, mountPath: /program}
    - {name: tls, mountPath: /tls}
  volumes:
  - {name: program, configMap: {name: other}}
  - {name: tls, secret: {secretName: other, defaultMode: 0444}}
---
apiVersion: v1
kind: Service
metadata: {name: other}
spec:
  selector: {app: other}
  ports: [{port: 443, targetPort: 8443}]
"""


def certificate(name: str) -> tuple[str, str]:
    """Create a self-signed certificate for the DNS name `name`, valid for an hour from now.

    Returns the certificate and its private key as texts in PEM.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return signed.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def running(world: World) -> str:
    """Run the other injector in the chapter's namespace; return its `caBundle` in base64."""
    pem, key = certificate(f"{NAME}.{world.ns}.svc")
    world.take(f"webhooks/{PROGRAM}")
    world.write("other.crt", pem)
    world.write("other.key", key)
    world.kubectl("create", "configmap", NAME, f"--from-file={PROGRAM}")
    world.kubectl("create", "secret", "tls", NAME, "--cert=other.crt", "--key=other.key")
    world.apply(POD.replace("IMAGE", CONTROL_IMAGE))
    world.ready(f"app={NAME}")
    return base64.b64encode(pem.encode()).decode()
