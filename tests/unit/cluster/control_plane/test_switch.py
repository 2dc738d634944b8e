"""What is removed when one mesh takes the other's place, and what Istio is installed from."""

from typing import Any, cast

import pytest

from lab.cluster import cluster_step
from lab.cluster.control_plane import istio, switch
from lab.cluster.control_plane.switch import Mesh
from lab.cluster.images import istio_images, istio_programs
from lab.cluster.versions import DEFAULT
from lab.errors import ClusterError
from lab.kube.client import KubeApi
from lab.kube.paths import Object
from lab.mesh import contract
from lab.progress import Quiet

OURS: list[Object] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": contract.CONTROL_NAMESPACE}},
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "sidecar-lab-discovery"},
    },
]
ROLES = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
HOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class Cluster:
    """An API server's objects by path; those in `stuck` never go."""

    def __init__(self, *paths: str, stuck: tuple[str, ...] = ()) -> None:
        self.paths = dict.fromkeys(paths)
        self.stuck = stuck
        self.deleted: list[str] = []

    def find(self, path: str) -> Object | None:
        return {} if path in self.paths else None

    def request(self, method: str, path: str, *_: Any, **__: Any) -> Object:
        if method == "DELETE":
            self.deleted.append(path)
            if path not in self.stuck:
                self.paths.pop(path, None)
            return {}
        prefix = path.partition("?")[0]
        if prefix == "/api/v1/configmaps":
            maps = [one.split("/") for one in self.paths if "/configmaps/" in one]
            return {"items": [{"metadata": {"namespace": m[4], "name": m[6]}} for m in maps]}
        found = [one for one in self.paths if one.startswith(f"{prefix}/istio")]
        return {"items": [{"metadata": {"name": one.rpartition("/")[2]}} for one in found]}


def remove(there: Cluster, mesh: Mesh, seconds: float = 5.0) -> int:
    with Quiet().task("test") as task:
        return switch.remove(cast(KubeApi, there), mesh, OURS, seconds, task)


def spread(name: str) -> str:
    return f"/api/v1/namespaces/app/configmaps/{name}"


def test_istio_goes_with_its_webhooks_first_and_what_it_spread_last() -> None:
    mine = spread("settings")
    system = "/api/v1/namespaces/istio-system"
    there = Cluster(
        mine,
        spread("istio-ca-crl"),
        spread(contract.CA_CONFIG_MAP),
        system,
        f"{ROLES}/istiod",
        f"{HOOKS}/istio-sidecar-injector",
        f"{ROLES}/sidecar-lab-discovery",
    )
    assert remove(there, Mesh.ISTIO) == 5
    assert set(there.paths) == {mine, f"{ROLES}/sidecar-lab-discovery"}
    assert there.deleted[0] == f"{HOOKS}/istio-sidecar-injector"
    assert system in there.deleted[:3]
    assert set(there.deleted[3:]) == {spread(name) for name in switch.SPREAD}


def test_ours_goes_by_its_own_documents() -> None:
    there = Cluster(f"/api/v1/namespaces/{contract.CONTROL_NAMESPACE}", f"{ROLES}/istiod")
    there.paths[f"{ROLES}/sidecar-lab-discovery"] = None
    assert remove(there, Mesh.OURS) == 2
    assert set(there.paths) == {f"{ROLES}/istiod"}


def test_where_the_other_mesh_never_was_nothing_is_removed() -> None:
    """The ConfigMap of the mesh that runs stays, too."""
    there = Cluster(spread(contract.CA_CONFIG_MAP))
    assert remove(there, Mesh.ISTIO) == 0
    assert there.deleted == []


def test_what_does_not_go_is_named() -> None:
    stuck = f"{ROLES}/istiod"
    with pytest.raises(ClusterError, match="clusterroles/istiod"):
        remove(Cluster(stuck, stuck=(stuck,)), Mesh.ISTIO, seconds=0.0)


def test_only_a_deployment_is_adapted_and_a_new_image_changes_its_template() -> None:
    service: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "istiod"}}
    assert istio._adapted(service, {}) is service
    container = {"name": "discovery", "readinessProbe": {"initialDelaySeconds": 1}}
    template = {"metadata": {"annotations": {"a": "b"}}, "spec": {"containers": [container]}}
    deployment: Object = {"kind": "Deployment", "spec": {"template": template}}
    one, two = (
        istio._adapted(deployment, {istio_images.PILOT_IMAGE: tag})["spec"]["template"]
        for tag in ("pilot:1", "pilot:2")
    )
    assert one["metadata"] != two["metadata"]
    assert one["metadata"]["annotations"]["a"] == "b"
    (probed,) = one["spec"]["containers"]
    assert probed["readinessProbe"] == {"initialDelaySeconds": 0, "periodSeconds": 1}


def test_every_setting_reaches_istioctl_once() -> None:
    words = istio.arguments({"a": "1", "b[0]": ".*"})
    assert words == ["--set", "a=1", "--set", "b[0]=.*"]
    assert len(istio.arguments()) == 2 * len(istio.SETTINGS)


def test_images_are_loaded_only_where_their_content_differs() -> None:
    assert not cluster_step.lacks({"proxy": "p:1", "more": "m"}, {"proxy": "p:1"})
    assert cluster_step.lacks({"proxy": "p:1"}, {"proxy": "p:2"})
    assert cluster_step.lacks({}, {"proxy": "p:1"})
    assert not cluster_step.lacks({}, {})


def test_programs_depend_on_the_architecture_and_the_template_does_not() -> None:
    wanted = istio_programs.inputs(DEFAULT, "amd64")
    assert set(wanted) == {"istioctl", "istio", "template"}
    assert wanted["istio"].key != istio_programs.inputs(DEFAULT, "arm64")["istio"].key
    assert wanted["template"].key == istio_programs.inputs(DEFAULT, "arm64")["template"].key


def test_the_two_meshes_are_each_others_other() -> None:
    assert [switch.other(one) for one in Mesh] == list(reversed(Mesh))
    assert switch.TRAITS[Mesh.ISTIO].namespace != switch.TRAITS[Mesh.OURS].namespace
