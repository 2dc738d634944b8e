"""Answers an AdmissionReview. Does no I/O: program.py is the HTTP server.

The answer holds a JSON patch that turns the pod into the one that `inject.inject` returns. A pod
that cannot be injected is refused with a message; a body that is not an AdmissionReview raises
AdmissionError.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lab.mesh.errors import AdmissionError, SidecarLabError
from lab.mesh.injector import inject
from lab.mesh.injector.owners import owner_of
from lab.mesh.injector.settings.pod_settings import Owner, Settings
from lab.mesh.webhook import json_patch

API_VERSION: Final = "admission.k8s.io/v1"
MAX_BODY: Final = 6 * 1024 * 1024
"""Largest size of a request in bytes. The API server accepts objects of up to 3 MiB, and a review
holds at most two objects."""


@dataclass(frozen=True)
class ReviewResponse:
    """The AdmissionReview to send, and what to log about it.

    `verdict`: "injected", "not injected" or "refused". `why`: the reason, in a sentence. `pod`: the
    pod's namespace/name, "" if the request holds no pod.
    """

    review: dict[str, Any]
    verdict: str
    why: str
    pod: str


def check_request(content_type: str, body_length: int) -> None:
    """Raise AdmissionError (400, 413, 415) if the body's length or the content type is wrong."""
    if body_length == 0:
        raise AdmissionError("the body is empty; expected an AdmissionReview")
    if body_length > MAX_BODY:
        raise too_long()
    if content_type.partition(";")[0].strip().lower() != "application/json":
        problem = f"content type {content_type!r}; expected application/json"
        raise AdmissionError(problem, status=415)


def too_long() -> AdmissionError:
    """Return the error for a body of more than MAX_BODY bytes (413)."""
    return AdmissionError(f"the body has more than {MAX_BODY} bytes", status=413)


def answer(body: bytes, settings: Settings) -> ReviewResponse:
    """Return the response to a review. Raises AdmissionError (400) if `body` is not a review."""
    request = _request(body)
    uid = request["uid"]
    pod, namespace = request.get("object"), request.get("namespace") or "default"
    kind = request.get("kind")
    if not isinstance(kind, Mapping) or kind.get("kind") != "Pod":
        why = "only pods are injected"
        return ReviewResponse(_review({"uid": uid, "allowed": True}), "not injected", why, "")
    if not isinstance(pod, dict) or not isinstance(namespace, str):
        return _refused(uid, "the request holds no pod", "")
    name = _name(pod, namespace)
    try:
        result = inject.inject(pod, namespace, _owner(pod), settings)
        patch = ""
        if result.decision.inject:
            patch = json.dumps(json_patch.diff(pod, result.template), separators=(",", ":"))
    except SidecarLabError as error:
        hint = f" ({error.hint})" if error.hint else ""
        return _refused(uid, error.message + hint, name)
    except RecursionError:
        return _refused(uid, "pod, field spec: nested too deep", name)
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if result.warnings:
        response["warnings"] = list(result.warnings)
    if not result.decision.inject:
        return ReviewResponse(_review(response), "not injected", result.decision.sentence, name)
    response["patchType"] = "JSONPatch"
    response["patch"] = base64.b64encode(patch.encode()).decode()
    return ReviewResponse(_review(response), "injected", result.decision.sentence, name)


def _request(body: bytes) -> Mapping[str, Any]:
    try:
        review = json.loads(body)
    except (ValueError, RecursionError) as bad:
        raise AdmissionError(f"the body is not JSON: {bad}") from bad
    if not isinstance(review, dict) or review.get("kind") != "AdmissionReview":
        raise AdmissionError("the body is not an AdmissionReview")
    if review.get("apiVersion") != API_VERSION:
        problem = f"apiVersion {review.get('apiVersion')!r}; expected {API_VERSION!r}"
        raise AdmissionError(problem)
    request = review.get("request")
    if not isinstance(request, dict):
        raise AdmissionError("the AdmissionReview has no request")
    if not isinstance(request.get("uid"), str) or not request["uid"]:
        raise AdmissionError("the AdmissionReview's request has no uid")
    return request


def _owner(pod: dict[str, Any]) -> Owner:
    """Return the pod's owner; Owner("") if its fields are ill-typed, which injection reports."""
    try:
        return owner_of(pod)
    except (AttributeError, TypeError):
        return Owner("")


def _name(pod: Mapping[str, Any], namespace: str) -> str:
    metadata = pod.get("metadata")
    fields = metadata if isinstance(metadata, dict) else {}
    return f"{namespace}/{fields.get('name') or fields.get('generateName') or '?'}"


def _refused(uid: str, message: str, pod: str) -> ReviewResponse:
    status = {"message": f"sidecar injection: {message}", "reason": "Invalid", "code": 422}
    response = {"uid": uid, "allowed": False, "status": status}
    return ReviewResponse(_review(response), "refused", message, pod)


def _review(response: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}
