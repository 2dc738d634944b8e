"""The injector's configuration in the cluster: what a change of it does to the next pod.

SIDECAR_LAB_NAME names another lab than the default one; it must run our own mesh.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.cluster import state
from lab.cluster.control_plane import certificates, install
from lab.cluster.control_plane import manifests as mesh_manifests
from lab.cluster.docker import client
from lab.kube.client import KubeApi
from lab.kube.paths import Object
from lab.mesh import contract
from lab.paths import lab_paths, manifests
from lab.progress import Quiet
from tests.live.chosen import NAME

pytestmark = pytest.mark.live

NAMESPACE = "injector-config"
SECONDS = 90.0
POD: Object = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "app"},
    "spec": {"containers": [{"name": "app", "image": contract.NGINX_IMAGE}]},
}


@pytest.fixture(scope="module")
def api() -> Iterator[KubeApi]:
    opened = KubeApi.from_file(lab_paths(NAME).kubeconfig)
    labels = {contract.INJECTION_LABEL: "enabled"}
    metadata = {"name": NAMESPACE, "labels": labels}
    opened.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield opened
    opened.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
    opened.close()


@pytest.fixture
def configure(api: KubeApi, tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Replace one text of the configuration by another, as an edit and `lab up` do."""
    paths = lab_paths(NAME)
    known = state.load(paths)
    serving, _ = certificates.ensure(paths.certificates)

    def bring(folder: Path) -> None:
        wanted = mesh_manifests.documents(
            folder, serving, known.images["control"], known.kubernetes
        )
        with Quiet().task("configuration") as task:
            install.apply(api, wanted, task)
            install.wait_rolled_out(api, wanted, SECONDS, task)
            install.wait_alive(api, client.started_at(known.node), SECONDS, task)

    def change(before: str, after: str) -> None:
        folder = tmp_path / "lab"
        shutil.copytree(manifests() / "lab", folder)
        file = folder / "injector-config.yaml"
        assert before in file.read_text()
        file.write_text(file.read_text().replace(before, after))
        bring(folder)

    yield change
    bring(manifests() / "lab")


def created(api: KubeApi) -> list[str]:
    """Containers of a pod that the API server would store, those of the init phase marked."""
    spec = api.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", POD)["spec"]
    inits = [f"init {one['name']}" for one in spec.get("initContainers", ())]
    return inits + [one["name"] for one in spec["containers"]]


def test_automatic_native_sidecars_go_by_the_nodes_version(
    api: KubeApi, configure: Callable[[str, str], None]
) -> None:
    assert created(api) == ["init istio-init", "app", "istio-proxy"]
    configure("nativeSidecars: disabled", "nativeSidecars: auto")
    assert created(api) == ["init istio-init", "init istio-proxy", "app"]


def test_a_disabled_policy_leaves_pods_plain_and_explain_says_so(
    api: KubeApi, configure: Callable[[str, str], None], tmp_path: Path
) -> None:
    configure("policy: enabled", "policy: disabled")
    assert created(api) == ["app"]
    file = tmp_path / "pod.yaml"
    file.write_text(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: app}\n"
        f"spec:\n  containers:\n  - {{name: app, image: {contract.NGINX_IMAGE}}}\n"
    )
    said = subprocess.run(
        [sys.executable, "-m", "lab", "explain", str(file), "-n", NAMESPACE, "--name", NAME],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "policy" in said.stdout, said.stdout + said.stderr
    assert said.returncode == 1, said.stdout
