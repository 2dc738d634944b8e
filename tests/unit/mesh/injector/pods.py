"""Pods to inject, and the two ways to have it done: directly, and through the webhook's answer."""

import base64
import json
from pathlib import Path
from typing import Any

from lab.mesh.injector import inject as injection
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.pod_settings import Owner, Settings
from lab.mesh.webhook import review as admission

MANIFESTS = Path(__file__).parents[4] / "manifests"
OWNER = Owner("web", "Deployment", "apps/v1")


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app"}], **spec},
    }


def annotated(**values: str) -> dict[str, Any]:
    template = pod()
    template["metadata"]["annotations"] = {getattr(annotations, k): v for k, v in values.items()}
    return template


def inject(template: dict[str, Any], settings: Settings | None = None) -> dict[str, Any]:
    return dict(injection.inject(template, "default", OWNER, settings or Settings()).template)


def container(template: dict[str, Any], name: str) -> dict[str, Any]:
    spec = template["spec"]
    found = [c for c in [*spec["containers"], *spec.get("initContainers", [])] if c["name"] == name]
    assert len(found) == 1
    return dict(found[0])


def names(template: dict[str, Any], group: str) -> list[str]:
    return [c["name"] for c in template["spec"].get(group, [])]


def apply_patch(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902, written here so that the patch is not checked by the code that made it."""
    result = json.loads(json.dumps(document))  # nothing shared inside
    for operation in operations:
        keys = [k.replace("~1", "/").replace("~0", "~") for k in operation["path"].split("/")[1:]]
        holder = result
        for key in keys[:-1]:
            holder = holder[int(key)] if isinstance(holder, list) else holder[key]
        last: Any = int(keys[-1]) if isinstance(holder, list) else keys[-1]
        if operation["op"] == "remove":
            del holder[last]
        elif operation["op"] == "add" and isinstance(holder, list):
            assert last <= len(holder)
            holder.insert(last, operation["value"])
        else:
            assert operation["op"] == "add" or last in holder or isinstance(holder, list)
            holder[last] = operation["value"]
    return result


def review(template: Any, namespace: str = "default") -> bytes:
    request = {"uid": "u", "kind": {"kind": "Pod"}, "namespace": namespace, "object": template}
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(body).encode()


def admit(template: Any, settings: Settings | None = None) -> Any:
    response = admission.answer(review(template), settings or Settings()).review["response"]
    if "patch" not in response:
        return template
    return apply_patch(template, json.loads(base64.b64decode(response["patch"])))
