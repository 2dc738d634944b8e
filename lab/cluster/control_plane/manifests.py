"""Makes our control plane's Kubernetes objects from the manifests and from values of `lab up`.

Each pod template gets a digest of image, certificates and configuration, so that a change of one of
them starts new pods. Except for reading the manifests, this module does no I/O.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.control_plane.certificates import Serving
from lab.kube.paths import Object
from lab.mesh import contract

CONTENT_ANNOTATION = "sidecar-lab/content"


@dataclass(frozen=True)
class Known:
    """Holds the values that `completed` puts into the Deployments, as digests or as arguments.

    Only `configuration` is read from the manifests; the other values come from `lab up`.
    """

    serving: Mapping[str, Serving]
    """Maps the name of a Service to the serving certificate of that Service."""
    image: str
    """A text that changes with the content of the image `control`."""
    kubernetes: str
    """The version of Kubernetes on the nodes, for instance "1.37.2"."""
    configuration: Mapping[str, Mapping[str, str]]
    """Maps the name of each ConfigMap in the manifests to the data of that ConfigMap."""


def documents(
    folder: Path, serving: Sequence[Serving], image: str, kubernetes: str
) -> list[Object]:
    """Returns all objects of our control plane, in the order in which they must be applied.

    These are the objects of the manifests in `folder`, and one Secret for each certificate in
    `serving`. Each Deployment is changed by the function `completed`. Raises DocumentError
    when the injector's configuration is not valid.
    """
    import yaml  # loaded only when something is installed

    # libyaml where there is one: each `lab up` reads the manifests, ten times as fast.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    objects: list[Object] = []
    for file in sorted(folder.glob("*.yaml")):
        in_file = [document for document in yaml.load_all(file.read_text(), loader) if document]
        _check(in_file, file)
        objects += in_file
    namespaces = [obj for obj in objects if obj["kind"] == "Namespace"]
    others = [obj for obj in objects if obj["kind"] != "Namespace"]
    secrets = [secret(pair) for pair in serving]
    configuration = {
        obj["metadata"]["name"]: obj["data"] for obj in others if obj["kind"] == "ConfigMap"
    }
    known = Known({pair.service: pair for pair in serving}, image, kubernetes, configuration)
    return namespaces + secrets + [completed(obj, known) for obj in others]


def _check(objects: Sequence[Object], file: Path) -> None:
    """Raises DocumentError when the injector's configuration among `objects` is not valid."""
    from lab.mesh.injector.settings import config  # loads the injector

    name, key = contract.INJECTOR_CONFIG
    for obj in objects:
        if obj["kind"] == "ConfigMap" and obj["metadata"]["name"] == name:
            # Checked before it is applied: with a bad configuration, the webhook would not start.
            config.read(obj["data"][key], f"{file}, {key}")


def secret(serving: Serving) -> Object:
    """Returns the Secret with the certificate and key of one Service."""
    data = {
        "tls.crt": serving.certificate,
        "tls.key": serving.key,
        "ca.crt": serving.authority,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": serving.service, "namespace": contract.CONTROL_NAMESPACE},
        "data": {key: base64.b64encode(text.encode()).decode() for key, text in data.items()},
    }


def completed(document: Object, known: Known) -> Object:
    """Returns a Deployment with a digest in its pod template; returns any other object unchanged.

    The digest changes when the image changes, when a ConfigMap that the pods mount changes, and
    when the serving certificate of the Service with the Deployment's name changes. The container of
    the webhook's Deployment also gets the argument --kubelet-version with the nodes' version of
    Kubernetes.
    """
    if document["kind"] != "Deployment":
        return document
    name = document["metadata"]["name"]
    template = document["spec"]["template"]
    own = known.serving.get(name)
    text = known.image + (own.certificate + own.authority if own else "")
    volumes = template["spec"].get("volumes", ())
    mounted = {volume.get("configMap", {}).get("name") for volume in volumes}
    used = [data for map_name, data in known.configuration.items() if map_name in mounted]
    text += json.dumps(used, sort_keys=True) if used else ""
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    marked = {**template["metadata"], "annotations": {CONTENT_ANNOTATION: digest}}
    pod = template["spec"]
    if name == contract.WEBHOOK_SERVICE:
        (webhook,) = pod["containers"]
        version = f"--kubelet-version={known.kubernetes}"
        pod = {**pod, "containers": [{**webhook, "args": [*webhook["args"], version]}]}
    spec = {**document["spec"], "template": {"metadata": marked, "spec": pod}}
    return {**document, "spec": spec}
