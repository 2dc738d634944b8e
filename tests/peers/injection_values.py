"""Accepted differences of what every pod gets: the lab's mesh is smaller, and a walkthrough's."""

from typing import Final

from lab.mesh import contract
from tests.peers.injection_rows import Row, annotated, both, only_ours, only_theirs, pair

EVERY_POD: Final = (
    # --- what the lab's mesh is not -------------------------------------------------------------
    Row(
        "workload identity",
        r"PROXY\.volumeMounts\./var/run/secrets/(workload-spiffe-uds|credential-uds"
        r"|workload-spiffe-credentials|tokens)"
        r"|pod\.spec\.volumes\.(workload-socket|credential-socket|workload-certs|istio-token)",
        "the lab's discovery is known by its certificate; no pod has an identity or sends a token",
        only_theirs(),
    ),
    Row(
        "revocation list",
        r"PROXY\.volumeMounts\./var/run/secrets/istio/crl|pod\.spec\.volumes\.istio-ca-crl",
        "the lab's root has nothing to revoke",
        only_theirs(),
    ),
    Row(
        "mutual TLS",
        r"pod\.metadata\.labels\.security\.istio\.io/tlsMode",
        "the label says that the pod takes mutual TLS, and the lab has none",
        only_theirs("istio"),
    ),
    Row(
        "environment of Istio's agent",
        r"PROXY\.env\.(CA_ADDR|PILOT_CERT_PROVIDER|ISTIO_CPU_LIMIT|GOMEMLIMIT|GOMAXPROCS)",
        "there is no certificate authority to ask, and the agent is not written in Go",
        only_theirs(),
    ),
    Row(
        "merging of metrics",
        r"PROXY\.env\.ISTIO_PROMETHEUS_ANNOTATIONS",
        "the lab's agent does not scrape the application",
        both(only_theirs(), annotated("prometheus.io/port")),
    ),
    # --- the walkthrough's values ---------------------------------------------------------------
    Row(
        "images",
        r"(PROXY|INIT)\.image",
        "the walkthrough's one image with two processes",
        lambda d: d.ours == contract.PROXY_IMAGE and str(d.theirs).endswith("/proxyv2:latest"),
    ),
    Row(
        "pull policy",
        r"(PROXY|INIT)\.imagePullPolicy",
        "the image is in the node; a registry need not be there",
        only_ours("IfNotPresent"),
    ),
    Row(
        "where the agent is told what",
        r"PROXY\.args\.(--binaryPath|--configPath|--discoveryAddress)",
        "the walkthrough's arguments; Istio's agent has them in its code or in PROXY_CONFIG",
        only_ours(),
    ),
    Row(
        "log levels in words",
        r"PROXY\.args\.(--proxyComponentLogLevel|--log_output_level)|INIT\.iptables\.--log_output_level",
        "the defaults of the lab's programs are these levels; Istio writes them out",
        only_theirs("misc:error", "default:info"),
    ),
    Row(
        "health port",
        r"PROXY\.(startupProbe|readinessProbe)\.httpGet\.port",
        "the walkthrough has five ports; 15021 is a sixth, of newer Istio, that forwards to 15020",
        pair(15020, 15021),
    ),
    Row(
        "readiness sooner",
        r"PROXY\.readinessProbe\.periodSeconds",
        "a lab's reader waits for pods: asked every 2 s, not 15",
        pair(2, 15),
    ),
    Row(
        "smaller requests",
        r"(PROXY|INIT)\.resources\.requests\.(cpu|memory)",
        "many pods of a lab fit a node of two CPUs",
        lambda d: (d.ours, d.theirs) in (("0.01", "0.1"), ("41943040", "134217728")),
    ),
)
