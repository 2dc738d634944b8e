"""The control plane as a set of objects: the manifests, completed with what only bring-up knows.

The pod templates carry a digest of image, certificates and configuration: a new one rolls the
pods out by itself. Pure, but for the reading of the files.
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
    """What only bring-up knows."""

    serving: Mapping[str, Serving]
    """By the Service's name."""
    image: str
    """Identifies the control image's content."""
    kubernetes: str
    """Version of the nodes, for instance "1.37.2"."""
    configuration: Mapping[str, Mapping[str, str]]
    """Data of each ConfigMap that is applied, by its name."""


def documents(
    folder: Path, serving: Sequence[Serving], image: str, kubernetes: str
) -> list[Object]:
    """The manifests of `folder` completed with what Known says, and the TLS Secrets.

    Raises DocumentError where the injector's configuration is not one.
    """
    import yaml  # only where something is installed

    read: list[Object] = []
    for file in sorted(folder.glob("*.yaml")):
        found = [one for one in yaml.safe_load_all(file.read_text()) if one]
        _check(found, file)
        read += found
    namespaces = [one for one in read if one["kind"] == "Namespace"]
    others = [one for one in read if one["kind"] != "Namespace"]
    secrets = [secret(one) for one in serving]
    configuration = {
        one["metadata"]["name"]: one["data"] for one in others if one["kind"] == "ConfigMap"
    }
    known = Known({one.service: one for one in serving}, image, kubernetes, configuration)
    return namespaces + secrets + [completed(one, known) for one in others]


def _check(read: Sequence[Object], file: Path) -> None:
    from lab.mesh.injector.settings import config  # loads the injector

    name, key = contract.INJECTOR_CONFIG
    for one in read:
        if one["kind"] == "ConfigMap" and one["metadata"]["name"] == name:
            # Here, not in a webhook that then does not start.
            config.read(one["data"][key], f"{file}, {key}")


def secret(serving: Serving) -> Object:
    """The TLS Secret of one Service."""
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
    """A Deployment with the digest of its content and, the webhook's, with the nodes' version.

    Other kinds stay as they are.
    """
    if document["kind"] != "Deployment":
        return document
    name = document["metadata"]["name"]
    template = document["spec"]["template"]
    own = known.serving.get(name)
    text = known.image + (own.certificate + own.authority if own else "")
    mounted = {one.get("configMap", {}).get("name") for one in template["spec"].get("volumes", ())}
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
