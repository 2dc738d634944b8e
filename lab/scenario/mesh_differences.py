"""What rightly differs between our mesh and real Istio, as data: each entry with its reason.

The chapters read `world.mesh`; none asks which mesh it is on. What is not here must be the same
on both. Names that a step shows as `{name}` are in `names`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.mesh import contract
from lab.observe.readings import Listener

EVERYWHERE, EVERYWHERE_6, LOOPBACK = "0.0.0.0", "::", "127.0.0.1"  # noqa: S104
ENVOY, AGENT = "envoy", "pilot-agent"


@dataclass(frozen=True)
class Complaint:
    """What kube-inject says of a line: a pattern, and what that is in words.

    In the pattern FILE, LINE and NEXT stand for the file's name and the line's number and the next.
    """

    pattern: str
    words: str


@dataclass(frozen=True)
class Refusal:
    """How kube-inject refuses the walkthrough's manifest as printed.

    `complaints`: a line of the file → what is said of it. `writes` is what the output file then
    holds, None when there is none.
    """

    exit_code: int
    complaints: Mapping[str, Complaint]
    writes: str | None


@dataclass(frozen=True)
class Mesh:
    """One mesh as the chapters meet it."""

    name: str
    cli: str
    """Program whose command is kube-inject. Istio's users call istioctl."""
    control_namespace: str
    injector: str
    """Name of the MutatingWebhookConfiguration."""
    injector_service: str
    """Service that the webhook configuration calls, in the control namespace."""
    injector_deployment: str
    listeners: frozenset[Listener]
    """What the sidecar listens on, and which of its programs does."""
    chains_as_made: tuple[str, ...]
    """The order in which istio-init's log makes the chains. It decides nothing."""
    program_in: str
    """Where istio-init's program name stands: `command` or `args`."""
    bootstrap: str
    """Pattern of Envoy's start configuration in its command line."""
    restarts_per_death: int
    """Restarts of istio-proxy that kubelet counts when Envoy dies."""
    back_within: float
    """Seconds until a request goes through Envoy again after Envoy was killed."""
    reconfigured: str
    """Which object's annotations are changed to give a running workload another configuration."""
    reconfiguration: str
    """The merge patch that does it, with COUNT for the number of worker threads."""
    place_dependent: frozenset[str]
    """Environment of istio-proxy that kube-inject cannot know as the webhook does."""
    inbound_answers: str
    """Pattern of Envoy's counter of good answers of the pod's own application."""
    after_untouched: bytes
    """What kube-inject puts after a document that it does not touch."""
    refusal: Refusal
    proxy_image: str
    """Key of the sidecar's image among the lab's images."""
    proxy_repository: str
    """The same image's repository in Docker."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of every command."""

    @property
    def names(self) -> dict[str, str]:
        """Names that commands may show."""
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
    # The walkthrough's five.
    listeners=_listeners(
        (LOOPBACK, 15000, ENVOY),
        (EVERYWHERE, 15001, ENVOY),
        (EVERYWHERE, 15006, ENVOY),
        (EVERYWHERE, 15020, AGENT),
        (EVERYWHERE, 15090, ENVOY),
    ),
    # As the walkthrough prints them.
    chains_as_made=contract.CHAINS,
    # The walkthrough's istio-init has a command.
    program_in="command",
    bootstrap=r"/etc/istio/proxy/envoy-rev\d+\.json",
    # The walkthrough's agent looks after Envoy itself: Kubernetes sees nothing.
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
    # Sorted otherwise since the walkthrough was written.
    chains_as_made=(
        contract.CHAIN_INBOUND,
        contract.CHAIN_REDIRECT,
        contract.CHAIN_IN_REDIRECT,
        contract.CHAIN_OUTPUT,
    ),
    # Today the program is a command of pilot-agent, the image's Entrypoint.
    program_in="args",
    # One file, and a path relative to the container's working directory, /.
    bootstrap=r"etc/istio/proxy/envoy-rev\.json",
    # Since about 1.4 the agent ends with Envoy, and kubelet starts the container anew.
    restarts_per_death=1,
    back_within=20,
    # Istio's agent reads the annotation when it starts: the workload's pods are made anew.
    reconfigured="deployment/jiuxi",
    reconfiguration='{"spec":{"template":{"metadata":{"annotations":'
    '{"proxy.istio.io/config":"concurrency: COUNT"}}}}}',
    # The file names neither the namespace nor what the API server fills in (a port's protocol).
    place_dependent=frozenset({"ISTIO_META_OWNER", "ISTIO_META_POD_PORTS"}),
    # A pod that no Service selects is reached by a cluster without counters of answers; the
    # listener's are those of its name, which ends by a semicolon to tell it from what follows.
    inbound_answers="http.InboundPassthroughCluster;.downstream_rq_2xx$",
    # istioctl ends every document with a separator.
    after_untouched=b"---\n",
    # Its YAML reader stops at the first mistake that is one of syntax, and names the line after
    # it; the output file is made before the input is read.
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
    # istioctl decides by itself between the two kinds of sidecar; istiod was told, see
    # lab/cluster/control_plane/istio.py.
    environment={"ENABLE_NATIVE_SIDECARS": "false"},
)

MESHES: Mapping[str, Mesh] = {one.name: one for one in (OURS, ISTIO)}
