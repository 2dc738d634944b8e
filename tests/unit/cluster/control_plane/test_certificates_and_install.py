"""Certificates that hold, are kept while they are good, and reach the manifests."""

import datetime
import shutil
from pathlib import Path

import pytest
from cryptography import x509

from lab.cluster.control_plane import certificates, install
from lab.cluster.control_plane import manifests as mesh_manifests
from lab.kube.paths import Object, path_of
from lab.mesh import contract
from lab.mesh.errors import DocumentError
from lab.mesh.injector.settings import config
from lab.mesh.injector.settings.pod_settings import Settings
from lab.paths import manifests

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def test_the_authority_signs_each_service_under_its_names(tmp_path: Path) -> None:
    serving, made = certificates.ensure(tmp_path, NOW)
    assert made == ["ca", *certificates.SERVICES]
    authority = x509.load_pem_x509_certificate(serving[0].authority.encode())
    for one in serving:
        leaf = x509.load_pem_x509_certificate(one.certificate.encode())
        leaf.verify_directly_issued_by(authority)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert f"{one.service}.sidecar-lab.svc" in names.get_values_for_type(x509.DNSName)
    for key in tmp_path.rglob("*.key"):
        assert key.stat().st_mode & 0o077 == 0


def test_what_is_sound_is_kept(tmp_path: Path) -> None:
    first, _ = certificates.ensure(tmp_path, NOW)
    assert certificates.ensure(tmp_path, NOW) == (first, [])


def test_a_certificate_near_its_end_is_made_anew_by_the_same_authority(tmp_path: Path) -> None:
    first, _ = certificates.ensure(tmp_path, NOW)
    later, made = certificates.ensure(tmp_path, NOW + datetime.timedelta(days=340))
    assert made == list(certificates.SERVICES)
    assert later[0].authority == first[0].authority


@pytest.mark.parametrize(
    ("file", "made"),
    [
        ("ca.crt", ["ca", *certificates.SERVICES]),
        ("ca.key", ["ca", *certificates.SERVICES]),
        (f"{contract.DISCOVERY_SERVICE}/tls.crt", [contract.DISCOVERY_SERVICE]),
        (f"{contract.DISCOVERY_SERVICE}/tls.key", [contract.DISCOVERY_SERVICE]),
    ],
)
@pytest.mark.parametrize("how", ["missing", "cut off"])
def test_what_is_damaged_is_made_anew_with_all_that_hangs_on_it(
    tmp_path: Path, file: str, made: list[str], how: str
) -> None:
    certificates.ensure(tmp_path, NOW)
    damaged = tmp_path / file
    if how == "missing":
        damaged.unlink()
    else:
        damaged.write_text(damaged.read_text()[:100])
    assert certificates.ensure(tmp_path, NOW)[1] == made


def test_a_certificate_of_another_authority_is_not_kept(tmp_path: Path) -> None:
    certificates.ensure(tmp_path / "a", NOW)
    certificates.ensure(tmp_path / "b", NOW)
    for name in ("ca.crt", "ca.key"):
        (tmp_path / "a" / name).write_text((tmp_path / "b" / name).read_text())
    assert certificates.ensure(tmp_path / "a", NOW)[1] == list(certificates.SERVICES)


def wanted(folder: Path, image: str = "control:1") -> list[Object]:
    serving, _ = certificates.ensure(folder, NOW)
    return mesh_manifests.documents(manifests() / "lab", serving, image, "1.37.2")


def test_the_namespace_comes_first_and_every_kind_can_be_applied(tmp_path: Path) -> None:
    made = wanted(tmp_path)
    assert made[0]["kind"] == "Namespace"
    assert len({path_of(one) for one in made}) == len(made)


def test_the_webhooks_trust_is_left_to_its_controller(tmp_path: Path) -> None:
    made = wanted(tmp_path)
    hooks = next(one for one in made if one["kind"] == "MutatingWebhookConfiguration")["webhooks"]
    for one in hooks:
        # An `up` that wrote either would undo a rotation.
        assert "caBundle" not in one["clientConfig"]
        assert (one["failurePolicy"], one["sideEffects"]) == ("Fail", "None")
    secrets = [one["metadata"]["name"] for one in made if one["kind"] == "Secret"]
    assert secrets == [contract.DISCOVERY_SERVICE]


def digests(made: list[Object]) -> list[str]:
    return [
        one["spec"]["template"]["metadata"]["annotations"][mesh_manifests.CONTENT_ANNOTATION]
        for one in made
        if one["kind"] == "Deployment"
    ]


def test_pods_roll_out_when_image_or_certificate_changes_and_only_then(tmp_path: Path) -> None:
    before = digests(wanted(tmp_path / "a"))
    assert digests(wanted(tmp_path / "a")) == before
    assert set(digests(wanted(tmp_path / "a", "control:2"))).isdisjoint(before)
    # The webhook takes a new certificate up by itself: only discovery's pods change.
    assert len(set(digests(wanted(tmp_path / "b"))) - set(before)) == 1


def test_the_webhooks_roll_out_when_the_injectors_configuration_changes(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    shutil.copytree(manifests() / "lab", folder)
    serving, _ = certificates.ensure(tmp_path, NOW)
    before = mesh_manifests.documents(folder, serving, "control:1", "1.37.2")
    file = folder / "injector-config.yaml"
    file.write_text(file.read_text().replace("policy: enabled", "policy: disabled"))
    after = mesh_manifests.documents(folder, serving, "control:1", "1.37.2")
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert [one["kind"] for one in changed] == ["ConfigMap", "Deployment"]
    assert changed[1]["metadata"]["name"] == contract.WEBHOOK_SERVICE


def test_a_bad_configuration_of_the_injector_is_refused_before_anything_is_applied(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "manifests"
    shutil.copytree(manifests() / "lab", folder)
    file = folder / "injector-config.yaml"
    file.write_text(file.read_text().replace("policy: enabled", "policy: perhaps"))
    serving, _ = certificates.ensure(tmp_path, NOW)
    with pytest.raises(DocumentError) as refused:
        mesh_manifests.documents(folder, serving, "control:1", "1.37.2")
    assert refused.value.message == (
        f"{file}, injector.yaml, field policy: must be one of enabled, disabled"
    )


def test_the_injectors_configuration_says_the_defaults_and_the_webhook_knows_the_nodes_version(
    tmp_path: Path,
) -> None:
    made = {(one["kind"], one["metadata"]["name"]): one for one in wanted(tmp_path)}
    name, key = contract.INJECTOR_CONFIG
    text = made["ConfigMap", name]["data"][key]
    assert config.read(text, key) == Settings()
    auto = text.replace("nativeSidecars: disabled", "nativeSidecars: auto")
    assert config.read(auto, key, kubelets=["1.37.2"]).native_sidecar
    pod = made["Deployment", contract.WEBHOOK_SERVICE]["spec"]["template"]["spec"]
    (webhook,) = pod["containers"]
    assert "--kubelet-version=1.37.2" in webhook["args"]
    (mount,) = [one for one in webhook["volumeMounts"] if one["name"] == "config"]
    assert f"--config={mount['mountPath']}/{key}" in webhook["args"]


def test_the_control_plane_has_the_least_rights(tmp_path: Path) -> None:
    for one in wanted(tmp_path):
        if one["kind"] != "Deployment":
            continue
        spec = one["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["allowPrivilegeEscalation"] is False
            assert container["readinessProbe"]["periodSeconds"] == 1


def deployment(generation: int, **status: int) -> Object:
    return {"metadata": {"generation": generation}, "spec": {"replicas": 2}, "status": status}


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (None, "does not exist"),
        (deployment(2, observedGeneration=1), "not yet processed"),
        (deployment(1, observedGeneration=1, updatedReplicas=1), "1/2 updated"),
        (deployment(1, observedGeneration=1, updatedReplicas=2), "0/2 available"),
    ],
)
def test_a_deployment_that_is_not_there_yet_says_why(seen: Object | None, says: str) -> None:
    assert says in install.not_rolled_out(seen)


def test_a_deployment_that_runs_its_newest_pods_is_rolled_out() -> None:
    whole = deployment(1, observedGeneration=1, updatedReplicas=2, availableReplicas=2)
    assert install.not_rolled_out(whole) == ""


def test_while_a_pod_of_the_one_before_runs_a_deployment_is_not_rolled_out() -> None:
    counts = {"observedGeneration": 1, "updatedReplicas": 2, "availableReplicas": 2}
    assert "1 old pods are still there" in install.not_rolled_out(
        deployment(1, **counts, replicas=3)
    )


def test_a_pod_in_trouble_is_put_in_a_sentence() -> None:
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
    died = {"state": {}, "lastState": {"terminated": {"exitCode": 3}}}
    pods = [{"metadata": {"name": "p"}, "status": {"containerStatuses": [waiting, died]}}]
    assert install.pod_problems(pods) == [
        "p: ErrImagePull not found",
        "p: its last run ended with exit code 3",
    ]


SINCE = "2026-01-01T00:00:10.5Z"


def pod(began: str | None, ready: bool = True) -> Object:
    state = {"running": {"startedAt": began}} if began else {"waiting": {}}
    status = {"name": "c", "ready": ready, "state": state}
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}}


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (pod("2026-01-01T00:00:09Z"), "not started again"),
        (pod(None), "not started again"),
        (pod("2026-01-01T00:00:11Z", ready=False), "not ready"),
        ({"metadata": {"name": "p"}}, "no container"),
    ],
)
def test_a_pod_as_it_was_before_the_node_stopped_does_not_count(seen: Object, says: str) -> None:
    assert says in install.not_alive(seen, SINCE)


def test_a_pod_that_ends_is_waited_for_until_it_has() -> None:
    ending = pod("2026-01-01T00:00:10Z")
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:12Z"
    assert "is being deleted" in install.not_alive(ending, SINCE)


def test_a_pod_that_began_again_counts() -> None:
    assert install.not_alive(pod("2026-01-01T00:00:10Z"), SINCE) == ""
