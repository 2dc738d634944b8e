"""The allowed differences between our mesh and real Istio, as data: each with its reason.

The chapters read these values from `world.mesh`; no chapter asks for the name of the mesh.
Everything that is not listed here must be the same on both meshes. `Mesh.names` has the values that
replace `{name}` in the commands of steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.mesh import contract
from lab.observe.readings import Listener

EVERYWHERE, EVERYWHERE_6, LOOPBACK = "0.0.0.0", "::", "127.0.0.1"  # noqa: S104
ENVOY, AGENT = "envoy", "pilot-agent"


@dataclass(frozen=True)
class Complaint:
    """A message of kube-inject about one line of a manifest.

    `pattern` is the regular expression of the message: FILE stands for the file's name, LINE for
    the line's number, NEXT for the next line's number. `words` describes the message in the report.
    """

    pattern: str
    words: str


@dataclass(frozen=True)
class Refusal:
    """How kube-inject rejects the manifest that the walkthrough prints, which has mistakes.

    `complaints` maps the text of a line to the message about this line. `writes` is the content of
    the output file after the rejection; None if there is no such file.
    """

    exit_code: int
    complaints: Mapping[str, Complaint]
    writes: str | None


@dataclass(frozen=True)
class Mesh:
    """What chapters must know about one mesh, because it is not the same on the other mesh."""

    name: str
    cli: str
    """The program that has the command kube-inject: `lab` or `istioctl`."""
    control_namespace: str
    injector: str
    """Name of the mesh's MutatingWebhookConfiguration."""
    injector_service: str
    """Name of the Service that the webhook configuration calls, in the control namespace."""
    injector_deployment: str
    listeners: frozenset[Listener]
    """The sockets on which the sidecar listens, with the program that owns each."""
    chain_order: tuple[str, ...]
    """The chains in the order in which istio-init creates them. The order has no effect."""
    program_in: str
    """The field that holds istio-init's program name: `command` or `args`."""
    bootstrap: str
    """Regular expression of the path of the bootstrap file, as it is in Envoy's command line."""
    restarts_per_death: int
    """How many restarts of istio-proxy kubelet counts when Envoy dies once."""
    back_within: float
    """Seconds within which a request must go through Envoy again after Envoy was killed."""
    reconfigured: str
    """KIND/NAME of the object whose annotation changes Envoy's configuration. POD stands for the
    pod's name."""
    reconfiguration: str
    """The merge patch for the object `reconfigured`. COUNT stands for Envoy's number of threads."""
    place_dependent: frozenset[str]
    """Environment variables of istio-proxy whose values kube-inject, unlike the webhook, cannot
    know."""
    inbound_answers: str
    """Pattern of the name of the counter with which Envoy counts successful answers from the pod's
    own application."""
    after_untouched: bytes
    """The bytes that kube-inject adds after a document that it does not change."""
    refusal: Refusal
    proxy_image: str
    """The key of the sidecar's image in `LabAccess.images`."""
    proxy_repository: str
    """The repository of the sidecar's image in Docker."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that are added to the environment of every command."""

    @property
    def names(self) -> dict[str, str]:
        """The placeholders whose values depend on the mesh, with these values."""
        return {
            "cli": self.cli,
            "control": self.control_namespace,
            "inbound_answers": self.inbound_answers,
            "back_within": f"{self.back_within:g}",
            "proxy_repository": self.proxy_repository,
        }


def _listeners(*ports: tuple[str, int, str]) -> frozenset[Listener]:
    return frozenset(
        Listener(address, port, program, None, contract.PROXY_CONTAINER)
        for address, port, program in ports
    )


OURS = Mesh(
    name="sidecar-lab",
    cli="lab",
    control_namespace=contract.CONTROL_NAMESPACE,
    injector=contract.WEBHOOK_CONFIGURATION,
    injector_service=contract.WEBHOOK_SERVICE,
    injector_deployment=contract.WEBHOOK_SERVICE,
    # The five listeners of the walkthrough.
    listeners=_listeners(
        (LOOPBACK, 15000, ENVOY),
        (EVERYWHERE, 15001, ENVOY),
        (EVERYWHERE, 15006, ENVOY),
        (EVERYWHERE, 15020, AGENT),
        (EVERYWHERE, 15090, ENVOY),
    ),
    # The order in which the walkthrough prints them.
    chain_order=contract.CHAINS,
    # The walkthrough's istio-init has a command.
    program_in="command",
    bootstrap=r"/etc/istio/proxy/envoy-rev\d+\.json",
    # The walkthrough's agent restarts Envoy itself, so Kubernetes counts no restart.
    restarts_per_death=0,
    back_within=2,
    # Our agent watches the pod's own annotations.
    reconfigured="pod/POD",
    reconfiguration='{"metadata":{"annotations":{"proxy.istio.io/config":"concurrency: COUNT"}}}',
    place_dependent=frozenset(),
    inbound_answers="cluster.InboundPassthroughCluster.upstream_rq_200$",
    after_untouched=b"",
    refusal=Refusal(
        2,
        {
            "apiVersion: app/v1": Complaint(r"FILE:LINE\b.*app/v1", "names file, line and app/v1"),
            "spec": Complaint(r"FILE:LINE\b.*no colon", "names file, line and the missing colon"),
            "image:nginx:1.14-alpine": Complaint(
                r"FILE:LINE\b.*no blank after the colon", "names file, line and the missing blank"
            ),
        },
        writes=None,
    ),
    proxy_image="proxy",
    proxy_repository="sidecar-lab/proxy",
)

ISTIO = Mesh(
    name="istio",
    cli="istioctl",
    control_namespace="istio-system",
    injector="istio-sidecar-injector",
    injector_service="istiod",
    injector_deployment="istiod",
    # Newer Istio has a sixth port, for health checks, and its agent, in Go, listens on IPv6's
    # wildcard, which takes IPv4 too.
    listeners=_listeners(
        (LOOPBACK, 15000, ENVOY),
        (EVERYWHERE, 15001, ENVOY),
        (EVERYWHERE, 15006, ENVOY),
        (EVERYWHERE_6, 15020, AGENT),
        (EVERYWHERE, 15021, ENVOY),
        (EVERYWHERE, 15090, ENVOY),
    ),
    # Istio has changed the order since the walkthrough was written.
    chain_order=(
        contract.CHAIN_INBOUND,
        contract.CHAIN_REDIRECT,
        contract.CHAIN_IN_REDIRECT,
        contract.CHAIN_OUTPUT,
    ),
    # In current Istio the program is a command of pilot-agent, the image's Entrypoint.
    program_in="args",
    # One file, and a path relative to the container's working directory, /.
    bootstrap=r"etc/istio/proxy/envoy-rev\.json",
    # Since about 1.4 the agent ends with Envoy, and kubelet restarts the container.
    restarts_per_death=1,
    back_within=20,
    # Istio's agent reads the annotation when it starts, so the workload needs new pods.
    reconfigured="deployment/jiuxi",
    reconfiguration='{"spec":{"template":{"metadata":{"annotations":'
    '{"proxy.istio.io/config":"concurrency: COUNT"}}}}}',
    # The manifest has neither the namespace nor the API server's defaults (a port's protocol).
    place_dependent=frozenset({"ISTIO_META_OWNER", "ISTIO_META_POD_PORTS"}),
    # A pod that no Service selects is reached through a cluster that does not count answers. The
    # counters with the listener's name do; a semicolon ends that name.
    inbound_answers="http.InboundPassthroughCluster;.downstream_rq_2xx$",
    # istioctl ends every document with a separator.
    after_untouched=b"---\n",
    # Its YAML parser stops at the first syntax error and names the line after it. istioctl creates
    # the output file before it reads the input.
    refusal=Refusal(
        1,
        {
            "spec": Complaint(
                r"line NEXT: could not find expected ':'", "names the line after, and a colon"
            )
        },
        writes="",
    ),
    proxy_image="docker.io/sidecar-lab/proxyv2:istio",
    proxy_repository="sidecar-lab/istio-proxy",
    # istioctl chooses the kind of sidecar by itself; istiod gets the same setting in
    # lab/cluster/control_plane/istio.py.
    environment={"ENABLE_NATIVE_SIDECARS": "false"},
)

MESHES: Mapping[str, Mesh] = {mesh.name: mesh for mesh in (OURS, ISTIO)}
