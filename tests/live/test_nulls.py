"""What a key without a value is to the API server that runs, field by field of its own types."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from lab.cluster import state
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.paths import lab_paths
from tests.live.chosen import NAME
from tests.unit.mesh.manifest import null_cases
from tests.unit.mesh.manifest.null_cases import ABSENT, REFUSED

pytestmark = pytest.mark.live

TABLE: Final = Path(null_cases.__file__).parent / "data" / "nulls.json"
PODS: Final = "/api/v1/namespaces/default/pods?dryRun=All&fieldValidation=Strict"
READINGS: Final = (ABSENT, "", "0", 0, False)
"""What a null may be read as."""


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    made = KubeApi.from_file(Path(state.load(lab_paths(NAME)).kubeconfig), timeout=30)
    yield made
    made.close()


def said(api: KubeApi, pod: dict[str, Any]) -> str:
    """What the API server makes of a pod, without what it draws anew each time; or REFUSED."""
    try:
        made = api.request("POST", PODS, pod)
    except ApiError as refused:
        if refused.status not in (400, 422):
            raise
        return REFUSED
    for key in ("uid", "creationTimestamp", "managedFields"):
        made["metadata"].pop(key, None)
    return re.sub(r"kube-api-access-\w+", "", json.dumps(made, sort_keys=True))


def reading(api: KubeApi, path: null_cases.Path) -> Any:
    """How a null at `path` is read: as REFUSED, or as the first value that gives the same pod."""
    found = said(api, null_cases.changed(path, None))
    if found == REFUSED:
        return REFUSED
    for value in READINGS:
        if said(api, null_cases.changed(path, value)) == found:
            return value
    raise AssertionError(f"{path}: a null is read as none of {READINGS}")


def test_the_table_of_nulls_is_what_the_api_server_says(api: KubeApi) -> None:
    types = api.request("GET", "/openapi/v3/api/v1")["components"]["schemas"]
    found = {null_cases.shown(one): reading(api, one) for one in null_cases.paths(types)}
    assert found == json.loads(TABLE.read_text())["read"]
    assert len(found) > 290
