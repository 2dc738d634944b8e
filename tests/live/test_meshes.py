"""One lab that runs our mesh, then real Istio, then ours again: nothing of the other stays.

Counted with kubectl on the whole cluster, not with the code that removes.
"""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from lab.cluster import state
from lab.paths import lab_paths

pytestmark = pytest.mark.live

NAME = "meshes"
KINDS = (
    "namespaces,mutatingwebhookconfigurations,validatingwebhookconfigurations,clusterroles,"
    "clusterrolebindings,customresourcedefinitions,configmaps,deployments,services,pods"
)
OURS = ("sidecar-lab",)


def lab(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lab", *words, "--name", NAME],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def kubectl(*words: str, stdin: str = "") -> str:
    now = state.load(lab_paths(NAME))
    return subprocess.run(
        [now.kubectl, f"--kubeconfig={now.kubeconfig}", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        input=stdin,
    ).stdout


def standing() -> set[str]:
    """kind/namespace/name of everything that either mesh could have made."""
    listed = json.loads(kubectl("get", KINDS, "-A", "-o", "json"))["items"]
    return {
        f"{one['kind']}/{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"
        for one in listed
    }


def named(words: tuple[str, ...]) -> set[str]:
    """Those whose name or namespace begins like one of `words` or holds it."""
    return {one for one in standing() if any(word in one.lower() for word in words)}


def on_trial() -> set[str]:
    """Names of the containers of a pod that a labelled namespace would run."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "trial", "labels": {"sidecar.istio.io/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "none"}]},
    }
    said = kubectl(*("create", "--dry-run=server", "-o", "json", "-f", "-"), stdin=json.dumps(pod))
    return {one["name"] for one in json.loads(said)["spec"]["containers"]}


@pytest.fixture(scope="module", autouse=True)
def one_lab() -> Iterator[None]:
    lab("down")
    lab("up")
    yield
    assert "left over: 0" in lab("down")


def test_istio_takes_the_place_of_ours_and_ours_takes_it_back() -> None:
    before = {one for one in standing() if not one.startswith("Pod/")}
    assert named(OURS)
    assert on_trial() == {"app", "istio-proxy"}

    lab("up", "--mesh", "istio")
    seen = json.loads(lab("status", "--json"))
    assert seen["mesh"] == "istio"
    assert seen["control_plane"] == {"istiod": "ready"}
    assert {"Deployment/istio-system/istiod", "Namespace//istio-system"} <= standing()
    assert named(OURS) == set()
    assert on_trial() == {"app", "istio-proxy"}

    lab("up")
    assert json.loads(lab("status", "--json"))["mesh"] == "sidecar-lab"
    assert on_trial() == {"app", "istio-proxy"}
    after = {one for one in standing() if not one.startswith("Pod/")}
    assert named(("istiod", "istio-system", "istio.io")) == set()
    # The control plane writes its ConfigMap into namespaces on its own time.
    assert {one for one in after ^ before if not one.startswith("ConfigMap/")} == set()
    assert not any("istio-ca-crl" in one for one in after)
