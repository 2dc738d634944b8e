"""Makes the Kubernetes objects of real Istio, with Istio's own istioctl and the lab's settings.

With these settings, Istio runs with an Envoy that Istio did not build, and behaves as the
walkthrough describes. Comments in the code give the reason for each setting.
"""

from pathlib import Path
from typing import Any, Final

from lab.cluster.build import cache
from lab.cluster.control_plane.istio_names import NAMESPACE, PART_OF
from lab.cluster.control_plane.manifests import CONTENT_ANNOTATION
from lab.cluster.images import istio_images, istio_programs
from lab.command import run
from lab.kube.paths import Object
from lab.progress import Task

SETTINGS: Final = {
    "profile": "minimal",  # istiod alone: the walkthrough has no gateway
    "values.global.hub": istio_images.HUB,
    "values.global.tag": istio_images.TAG,
    # Vanilla Envoy has none of the filters that only Istio's own build of it carries.
    "meshConfig.enablePrometheusMerge": "false",
    "values.telemetry.enabled": "false",
    "values.pilot.env.PILOT_ENABLE_METADATA_EXCHANGE": "false",
    "values.pilot.env.PILOT_ENABLE_ALPN_FILTER": "false",
    # The walkthrough's sidecar is a container beside the app; an annotation selects a native one.
    "values.pilot.env.ENABLE_NATIVE_SIDECARS": "false",
    # The lab reads Envoy's log and counters, as in our mesh.
    "meshConfig.accessLogFile": "/dev/stdout",
    "meshConfig.accessLogFormat": (
        '[%START_TIME%] "%REQ(:METHOD)% %REQ(:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS% '
        'cluster="%UPSTREAM_CLUSTER_RAW%" destination=%DOWNSTREAM_LOCAL_ADDRESS%'
    ),
    "meshConfig.defaultConfig.proxyStatsMatcher.inclusionRegexps[0]": ".*",
    # A deleted pod drains for one second, as in our mesh, not for five.
    "meshConfig.defaultConfig.terminationDrainDuration": "1s",
    # The node has two cores: no second replica, and no request of two gigabytes.
    "values.pilot.autoscaleEnabled": "false",
    "values.pilot.resources.requests.cpu": "50m",
    "values.pilot.resources.requests.memory": "128Mi",
    "values.global.proxy.resources.requests.cpu": "10m",
    "values.global.proxy.resources.requests.memory": "32Mi",
}


def arguments(settings: dict[str, str] = SETTINGS) -> list[str]:
    """Returns the arguments of `istioctl manifest generate` that pass the settings to it."""
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def manifest(binaries: istio_programs.IstioBinaries, task: Task | None = None) -> Path:
    """Returns the path of Istio's manifest in the cache; generates the manifest if needed.

    The file is YAML with several documents. Raises CommandError, which holds istioctl's output,
    when istioctl fails.
    """
    inputs = cache.Inputs("istio-manifest", {"istio": binaries.version, **SETTINGS})

    def generate(folder: Path) -> cache.Facts:
        generated = run([binaries.istioctl, "manifest", "generate", *arguments()], timeout=60)
        (folder / "istio.yaml").write_text(generated.stdout)
        return {"istio": binaries.version}

    return cache.obtain(inputs, generate, task=task).path / "istio.yaml"


def documents(binaries: istio_programs.IstioBinaries, images: dict[str, str]) -> list[Object]:
    """Returns all objects of Istio, in the order in which they must be applied.

    `images` maps the reference of each image of Istio to a text that changes with the image's
    content. The text of the pilot image is put into each Deployment, so that a changed pilot image
    starts new pods.
    """
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = manifest(binaries).read_text()
    generated = [document for document in yaml.load_all(text, loader) if document]
    return [namespace(), *(_adapted(document, images) for document in generated)]


def namespace() -> Object:
    """Returns the Namespace object of Istio's control plane, which istioctl does not generate."""
    labels = dict([PART_OF.split("=")])
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": labels},
    }


def _adapted(document: Object, images: dict[str, str]) -> Object:
    """Returns a Deployment changed for the lab; returns any other object unchanged.

    The changed Deployment has the annotation that identifies the image's content, and it replaces
    its pods faster.
    """
    if document["kind"] != "Deployment":
        return document
    spec = document["spec"]
    template = spec["template"]
    metadata = template["metadata"]
    content = {CONTENT_ANNOTATION: images.get(istio_images.PILOT_IMAGE, "")}
    annotated = {**metadata, "annotations": {**metadata.get("annotations", {}), **content}}
    containers = [_probed_often(container) for container in template["spec"]["containers"]]
    pod = {**template["spec"], "containers": containers, "terminationGracePeriodSeconds": 1}
    # The old pod ends before the new one starts: two would take turns holding the lease.
    strategy = {"type": "Recreate"}
    changed = {**spec, "strategy": strategy, "template": {"metadata": annotated, "spec": pod}}
    return {**document, "spec": changed}


def _probed_often(container: Object) -> Object:
    """Returns the container with a readiness probe each second, so that `lab up` waits less."""
    probe = {**container.get("readinessProbe", {}), "initialDelaySeconds": 0, "periodSeconds": 1}
    return {**container, "readinessProbe": probe}
