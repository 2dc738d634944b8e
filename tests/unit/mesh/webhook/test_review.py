"""A review in, its answer out."""

from typing import Any

import pytest

from lab.mesh.errors import AdmissionError, DocumentError
from lab.mesh.injector import files
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.manifest import documents
from lab.mesh.webhook import review as admission
from tests.unit.mesh.injector.pods import MANIFESTS, admit, annotated, inject, review


@pytest.mark.parametrize(
    ("content_type", "length", "status"),
    [("application/json", 0, 400), ("text/plain", 5, 415), ("", 5, 415),
     ("application/json", admission.MAX_BODY + 1, 413)],
)  # fmt: skip
def test_bad_requests_get_their_status(content_type: str, length: int, status: int) -> None:
    with pytest.raises(AdmissionError) as caught:
        admission.check_request(content_type, length)
    assert caught.value.status == status


def test_a_content_type_with_a_character_set_is_json_too() -> None:
    admission.check_request("application/json; charset=utf-8", 5)


@pytest.mark.parametrize(
    "body", [b"x", b"[]", b"{}", b'{"kind":"AdmissionReview"}', b"[" * 100_000, b"\xff",
             b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{}}'],
)  # fmt: skip
def test_a_body_that_is_no_review_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(AdmissionError) as caught:
        admission.answer(body, Settings())
    assert caught.value.status == 400


def test_a_bad_annotation_is_refused_by_name_in_the_answer() -> None:
    answer = admission.answer(review(annotated(PROXY_CPU="lots")), Settings())
    response = answer.review["response"]
    assert response["allowed"] is False
    assert response["uid"] == "u"
    assert "sidecar.istio.io/proxyCPU" in response["status"]["message"]


def test_a_pod_of_a_deployment_is_named_by_it_and_the_same_as_the_clis() -> None:
    text = (MANIFESTS / "jiuxi-deployment.yaml").read_bytes()
    plain = documents.read(text, "f")[0].value
    injected = files.inject_files([("f", text)], Settings()).files[0][0].value
    hashed = {"pod-template-hash": "5d59f98"}
    owner = {
        "kind": "ReplicaSet",
        "name": "jiuxi-5d59f98",
        "controller": True,
        "apiVersion": "apps/v1",
    }

    def created(template: dict[str, Any]) -> dict[str, Any]:
        metadata = template["metadata"]
        labels = {**metadata["labels"], **hashed}
        owned = {
            **metadata,
            "labels": labels,
            "generateName": "jiuxi-5d59f98-",
            "ownerReferences": [owner],
        }
        return {"metadata": owned, "spec": template["spec"]}

    by_webhook = admit(created(plain["spec"]["template"]))
    assert by_webhook == created(injected["spec"]["template"])
    assert admit(by_webhook) == by_webhook


def test_a_field_of_the_wrong_type_is_named() -> None:
    with pytest.raises(DocumentError, match=r"spec\.containers\[0\]\.name"):
        inject({"spec": {"containers": [{"name": 3}]}})
