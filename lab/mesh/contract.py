"""Defines names and numbers that several parts must agree on, each with its reason and source.

Names that a reader of the walkthrough sees are Istio's; all others are this project's.
Source of the Istio values: its injection template, istio-iptables and pilot-agent.
"""

from typing import Final

# --- ports (TCP, in the pod's network namespace) ---------------------------------------
ENVOY_ADMIN_PORT: Final = 15000
"""Envoy's admin interface. Bound to 127.0.0.1: it can change and stop the proxy."""
OUTBOUND_PORT: Final = 15001
"""Envoy's outbound capture listener, the target of ISTIO_REDIRECT."""
INBOUND_PORT: Final = 15006
"""Envoy's inbound capture listener, the target of ISTIO_IN_REDIRECT."""
TUNNEL_PORT: Final = 15008
"""Reserved by Istio for HBONE; the redirection rules do not capture it."""
AGENT_PORT: Final = 15020
"""The agent's port for health, metrics and the application's rewritten probes."""
ENVOY_HEALTH_PORT: Final = 15021
"""Health port of newer Istio. The rules exclude it from capture; this lab does not open it."""
ENVOY_STATS_PORT: Final = 15090
"""Envoy's Prometheus statistics, open to scrapers."""
ENVOY_PORTS: Final = frozenset({ENVOY_ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT, ENVOY_STATS_PORT})
"""Ports on which Envoy listens; no other program of the pod can listen on them."""
SIDECAR_PORTS: Final = ENVOY_PORTS | {AGENT_PORT}
"""The ports of agent and Envoy: the walkthrough's "five more ports"."""
DISCOVERY_PORT: Final = 15012
"""Port of the discovery Service: xDS over TLS."""
WEBHOOK_PORT: Final = 8443
"""The webhook's HTTPS port in its pod; its Service listens on 443."""
CONTROL_HEALTH_PORT: Final = 8080
"""Plain HTTP /healthz, /readyz and /metrics of webhook and discovery."""

# --- identities ------------------------------------------------------------------------
PROXY_UID: Final = 1337
"""User id of agent and Envoy. The rules never redirect this user's traffic as outbound traffic."""
PROXY_GID: Final = 1337
INBOUND_PASSTHROUGH_SOURCE: Final = "127.0.0.6"
"""Source address of Envoy's connections to the application; the rules recognise them by it."""

# --- iptables --------------------------------------------------------------------------
CHAIN_REDIRECT: Final = "ISTIO_REDIRECT"
CHAIN_IN_REDIRECT: Final = "ISTIO_IN_REDIRECT"
CHAIN_INBOUND: Final = "ISTIO_INBOUND"
CHAIN_OUTPUT: Final = "ISTIO_OUTPUT"
CHAINS: Final = (CHAIN_REDIRECT, CHAIN_IN_REDIRECT, CHAIN_INBOUND, CHAIN_OUTPUT)
"""The four chains, in the order in which the walkthrough prints them."""

# --- containers, images ----------------------------------------------------------------
INIT_CONTAINER: Final = "istio-init"
PROXY_CONTAINER: Final = "istio-proxy"
PROXY_IMAGE: Final = "docker.io/sidecar-lab/proxy:lab"
"""Image of istio-proxy (ENTRYPOINT: the agent) and istio-init. It is part of the node image."""
CONTROL_IMAGE: Final = "docker.io/sidecar-lab/control:lab"
"""Image of the webhook and of discovery."""
NGINX_IMAGE: Final = "docker.io/sidecar-lab/nginx:lab"
"""Image of the walkthrough's application."""
PILOT_AGENT_PATH: Final = "/usr/local/bin/pilot-agent"
"""Path of the agent, the ENTRYPOINT of the proxy image."""
PROBES_VARIABLE: Final = "ISTIO_KUBE_APP_PROBERS"
"""Environment variable in which the injector passes the application's own probes to the agent."""
IPTABLES_PROGRAM: Final = "istio-iptables"
"""The init container's `command`; on PATH as /usr/local/bin/istio-iptables."""
ENVOY_PATH: Final = "/usr/local/bin/envoy"
CONFIG_DIR: Final = "/etc/istio/proxy"
"""Writable folder (emptyDir) for the generated bootstrap and the xDS socket."""
XDS_SOCKET: Final = "/etc/istio/proxy/XDS"
"""Socket at which Envoy speaks xDS to the agent, which passes the bytes to discovery."""
POD_INFO_DIR: Final = "/etc/istio/pod"
"""Folder of the downward API volume, with the files `labels` and `annotations`."""
ROOT_CERT_DIR: Final = "/var/run/secrets/istio"
ROOT_CERT_FILE: Final = "/var/run/secrets/istio/root-cert.pem"

# --- namespaces, labels, annotations ---------------------------------------------------
CONTROL_NAMESPACE: Final = "sidecar-lab"
WEBHOOK_SERVICE: Final = "sidecar-lab-webhook"
WEBHOOK_PATH: Final = "/inject"
DISCOVERY_SERVICE: Final = "sidecar-lab-discovery"
DISCOVERY_ADDRESS: Final = f"{DISCOVERY_SERVICE}.{CONTROL_NAMESPACE}.svc:{DISCOVERY_PORT}"
WEBHOOK_CONFIGURATION: Final = "sidecar-lab-injector"
"""Name of the MutatingWebhookConfiguration."""
INJECTOR_CONFIG: Final = ("sidecar-lab-injector", "injector.yaml")
"""ConfigMap in the control namespace, and the key in it that holds the webhook's settings."""
CA_CONFIG_MAP: Final = "istio-ca-root-cert"
"""ConfigMap with the root certificate. Discovery keeps one in each namespace that is not in
IGNORED_NAMESPACES."""
CA_CONFIG_MAP_KEY: Final = "root-cert.pem"
INJECTION_LABEL: Final = "istio-injection"
"""Namespace label; if it is `enabled`, the API server calls the webhook for new pods."""
INJECT_POD_LABEL: Final = "sidecar.istio.io/inject"
STATUS_ANNOTATION: Final = "sidecar.istio.io/status"
"""Pod annotation that lists, as JSON, what an injection added. A second injection removes these
parts first."""
IGNORED_NAMESPACES: Final = frozenset(
    {"kube-system", "kube-public", "kube-node-lease", "local-path-storage"}
)
CLUSTER_DOMAIN: Final = "cluster.local"
ROTATE_ANNOTATION: Final = "sidecar-lab/rotate"
"""Annotation of the webhook's Secret: a new value requests a new certificate and CA."""
ROTATED_ANNOTATION: Final = "sidecar-lab/rotated"
"""Annotation of the same Secret: the last value of ROTATE_ANNOTATION that was fulfilled."""


def dns_names(service: str) -> tuple[str, ...]:
    """Returns the DNS names by which clients reach a Service of the control plane."""
    base = f"{service}.{CONTROL_NAMESPACE}"
    return (f"{base}.svc", f"{base}.svc.{CLUSTER_DOMAIN}", base, service)
