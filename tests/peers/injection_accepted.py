"""Where our injector and Istio's rightly differ: each row with its reason."""

from typing import Final

from lab.mesh import contract
from lab.mesh.injector.settings import annotations as names
from tests.peers import injection_early
from tests.peers.injection_rows import (
    Row,
    annotated,
    both,
    kept_probe,
    kind,
    namespace_filled_in,
    of_another_host,
    one_of,
    only_ours,
    only_theirs,
    pair,
    refusing,
    without_auto,
    zeros,
)
from tests.peers.injection_values import EVERY_POD
from tests.peers.meaning import ABSENT

ROWS: Final = (
    *EVERY_POD,
    # --- ours is stricter or says more ----------------------------------------------------------
    Row(
        "least rights",
        r"(PROXY|INIT)\.securityContext\.(seccompProfile|readOnlyRootFilesystem)",
        "nothing of ours needs more; Pod Security's restricted level asks for a seccomp profile",
        lambda d: d.ours in ({"type": "RuntimeDefault"}, True) and d.theirs in (ABSENT, False),
    ),
    Row(
        "the root is only read",
        r"PROXY\.volumeMounts\./var/run/secrets/istio\.readOnly",
        "nobody writes to a ConfigMap",
        only_ours(True),
    ),
    Row(
        "status says more",
        r"pod\.metadata\.annotations\.sidecar\.istio\.io/status"
        r"\.(labels|annotations|probePorts|places|replacedVolumes)",
        "from it `--uninject` gives back what was there",
        only_ours(),
    ),
    Row(
        "status lists our volumes",
        r"pod\.metadata\.annotations\.sidecar\.istio\.io/status\.volumes",
        "the volumes differ, for the reasons above",
        lambda d: set(d.ours) <= {*d.theirs, "istiod-ca-cert"},
    ),
    Row(
        "container of the logs",
        r"pod\.metadata\.annotations\.kubectl\.kubernetes\.io/default-logs-container",
        "kubectl reads default-container for logs, too, and no longer looks at this one",
        only_theirs(),
    ),
    Row(
        "owner",
        r"PROXY\.env\.ISTIO_META_OWNER\.value",
        "kubelet fills in the namespace, which a template does not know",
        namespace_filled_in,
    ),
    Row(
        "zeros of a status",
        r"object\.status",
        "Go writes counters that nobody gave",
        lambda d: d.ours is ABSENT and zeros(d),
    ),
    # --- what becomes of a pod ------------------------------------------------------------------
    Row(
        "a workload in a system namespace",
        "injected",
        "its pods land there, and the webhook would not inject them; istioctl asks the template "
        "for a namespace, not the workload",
        both(
            lambda d: not d.ours,
            lambda d: d.given["metadata"].get("namespace") in contract.IGNORED_NAMESPACES,
        ),
    ),
    Row(
        "a CronJob's pods that decline",
        "injected",
        "labels of its pods are in the pods' template; istioctl reads the Jobs' template",
        both(kind("CronJob"), lambda d: not d.ours),
    ),
    Row(
        "a CronJob's annotations",
        r"object\.spec\.jobTemplate\.metadata|pod\.metadata\.(labels|annotations)\..*",
        "labels and annotations belong to the pods; istioctl puts them on the Jobs",
        both(kind("CronJob"), lambda d: ABSENT in (d.ours, d.theirs)),
    ),
    Row(
        "a native sidecar by chance",
        "PROXY|pod.spec.order of (containers|initContainers)"
        r"|pod\.metadata\.annotations\.sidecar\.istio\.io/status\.(containers|initContainers)",
        "true and false are wishes; anything else leaves it to the mesh, in Istio's template "
        "anything else is true",
        annotated(names.NATIVE_SIDECAR, "maybe"),
    ),
    Row(
        "an image without a slash",
        "(PROXY|INIT).image",
        "who names an image means it; Istio's template passes over names without a slash",
        both(annotated(names.PROXY_IMAGE, "proxy:9"), lambda d: d.ours == "proxy:9"),
    ),
    Row(
        "image: auto is kept",
        r"pod\.metadata\.annotations\.proxy\.istio\.io/overrides\.(containers|initContainers)",
        "the annotation holds what the user wrote, so that it can be given back",
        lambda d: without_auto(d.ours) == d.theirs != d.ours,
    ),
    Row(
        "an override of a container that is not there",
        r"PROXY\.env\.ISTIO_META_APP_CONTAINERS\.value",
        "neither adds it to the pod; Istio's injector counts it as the application's all the same",
        both(annotated(names.OVERRIDES), pair("app", "app,other")),
    ),
    Row(
        "overrides where they stood",
        r"pod\.metadata\.annotations\.proxy\.istio\.io/overrides\.(containers|initContainers)",
        "a container of the user is kept under the list it came from; Istio's under the one it "
        "goes to",
        both(annotated(names.NATIVE_SIDECAR, "true"), lambda d: ABSENT in (d.ours, d.theirs)),
    ),
    Row(
        "a volume with our name",
        r"pod\.spec\.volumes\.istio-envoy\.emptyDir\.sizeLimit",
        "our volumes are as we need them; Istio's are merged with what the user wrote",
        only_theirs("5242880"),
    ),
    Row(
        "DNS capture",
        "INIT.env",
        "redirecting DNS to an agent that does not answer it would cut the pod off; it is told",
        only_theirs({"ISTIO_META_DNS_CAPTURE": {"value": "true"}}),
    ),
    Row(
        "the rules' log level",
        r"INIT\.iptables\.--log_output_level",
        "the lab's iptables program has one level",
        both(only_theirs(), annotated(names.AGENT_LOG_LEVEL)),
    ),
    Row(
        "names of the agent's own commands",
        r"PROXY\.lifecycle\.preStop\.exec\.command",
        "each agent is asked to drain by its own arguments",
        pair(
            ["pilot-agent", "request", "POST", "/drain"],
            ["pilot-agent", "request", "--debug-port=15020", "POST", "drain"],
        ),
    ),
    # --- probes ---------------------------------------------------------------------------------
    Row(
        "headers of probes",
        r"pod\.spec\.containers\.app\.(\w+Probe|lifecycle\.\w+)\.httpGet\.httpHeaders",
        "the agent knows them and sends them; to itself they mean nothing",
        only_theirs(),
    ),
    Row(
        "probes that cannot be handed over",
        r"pod\.spec\.containers\.app\.\w+Probe\.(httpGet|tcpSocket)(\.path|\.port)?",
        "probes of another host do not come through this pod, those of a port that it does not "
        "name or of the agent have nobody to be asked: they stay as they are",
        both(kind("Pod"), kept_probe),
    ),
    *injection_early.ROWS,
    Row(
        "probes of another host are not handed over",
        r"PROXY\.env\.ISTIO_KUBE_APP_PROBERS",
        "what stays with kubelet is not told to the agent",
        both(only_theirs(), of_another_host),
    ),
    Row(
        "probes without an agent's port",
        r"pod\.spec\.containers\.app\.livenessProbe\.httpGet\.(path|port)"
        r"|PROXY\.env\.ISTIO_KUBE_APP_PROBERS"
        r"|pod\.metadata\.annotations\.prometheus\.io/(path|port|scrape)",
        "port 0 says that nobody asks the agent; Istio sends probes to port 0",
        annotated(names.STATUS_PORT, "0"),
    ),
    Row(
        "another port of the agent",
        r"PROXY\.args\.--agentPort|PROXY\.(startupProbe|readinessProbe)\.httpGet\.port"
        r"|INIT\.iptables\.-d|pod\.metadata\.annotations\.prometheus\.io/port",
        "the agent listens where the pod says, is asked there, and the rules spare that port",
        both(
            lambda d: "15030" in str(d.ours),
            one_of(annotated(names.STATUS_PORT, "15030"), annotated(names.PROXY_CONFIG)),
        ),
    ),
    Row(
        "the pod's own Prometheus",
        r"pod\.metadata\.annotations\.prometheus\.io/(path|port|scrape)",
        "a pod that says where to scrape it is not overruled, since metrics are not merged",
        annotated("prometheus.io/port", "9102"),
    ),
    # --- what is no pod, or no good one ---------------------------------------------------------
    Row(
        "a custom resource called Job",
        r"object\.spec\.(minAvailable|tasks|template)",
        "only batch/v1 is Kubernetes' Job; istioctl takes any API's, and drops its fields",
        lambda d: d.given.get("apiVersion") == "batch.example.com/v1alpha1",
    ),
    Row(
        "DeploymentConfig",
        r"object\.spec\.(template\..*|test)",
        "not among the kinds that the lab injects: its cluster does not serve it",
        kind("DeploymentConfig"),
    ),
    Row(
        "an API that is gone",
        "refused",
        "no API server since 1.16 takes it; said before it is applied, with what to write",
        refusing("there is no Deployment in 'extensions/v1beta1'"),
    ),
    Row(
        "fields that are not known",
        r"pod\.spec\.(notYetKnown|containers\.app\.alsoNew)",
        "a newer API may know them; istioctl drops what its own version does not",
        only_ours(),
    ),
    Row(
        "mistakes that a reader forgives",
        "refused",
        "a number for a text kubectl refuses; of a key given twice it keeps the last and says "
        "nothing, though that is most often a slip",
        refusing("given twice", "must be text, and is the number"),
    ),
    Row(
        "no template",
        "refused",
        "the API server refuses it; istioctl injects a sidecar with no application",
        refusing("field spec.template: is missing"),
    ),
    Row(
        "values that the API server or a program would refuse",
        "refused",
        "told when the manifest is written, not by a pod that cannot start",
        refusing(
            "annotation sidecar.istio.io/proxyCPU: must be a quantity",
            "periodSeconds: must be a whole number from 1",
            "includeOutboundPorts: expected a port",
            "port: Envoy listens on",
            "sidecar.istio.io/logLevel: expected one of",
            "componentLogLevel: expected components of Envoy",
            "agentLogLevel: expected default:LEVEL",
            "must be the name of a ConfigMap",
            "userVolume: must be JSON, volumes by name",
            "'noSuchField' is not part of a ProxyConfig",
            "proxyCPULimit: must not be less than",
            "'istio-envoy' is a volume of the mesh",
            "something else is mounted at '/etc/istio/proxy' already",
            "the pod has no volume 'mine'",
            "metadata.annotations: with the sidecar's own, the annotations are",
            "secret.secretName is missing",
            "imagePullPolicy must be one of",
        ),
    ),
    Row(
        "Windows",
        "refused",
        "no sidecar runs there: neither its image nor iptables",
        refusing("the sidecar does not run on Windows"),
    ),
    Row(
        "the pod's own budget",
        "(PROXY|INIT).resources",
        "where the whole pod has resources, defaults of one container may exceed them",
        both(only_theirs(), lambda d: "resources" in d.given["spec"]),
    ),
    Row(
        "templates",
        "refused",
        "the lab has one template, for sidecars; Istio brings several, for gateways and the like",
        refusing("there is no template 'gateway'"),
    ),
)
