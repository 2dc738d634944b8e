"""What annotations add to a pod goes together with it, or is refused by the annotation's name."""

from collections import Counter
from typing import Any, Final

import pytest

from lab.mesh import contract
from lab.mesh.errors import AnnotationError, DocumentError
from lab.mesh.injector.settings import annotations
from tests.unit.mesh.injector import additions
from tests.unit.mesh.injector.pods import annotated, container, inject, pod

EXAMPLES: Final = 1000
BY: Final = (annotations.USER_VOLUME, annotations.USER_VOLUME_MOUNT, annotations.OVERRIDES)


def goes_together(template: dict[str, Any]) -> None:
    """By code of the test's own: what an API server looks at first."""
    spec = template["spec"]
    volumes = [volume["name"] for volume in spec["volumes"]]
    assert len(volumes) == len(set(volumes)), "two volumes of one name"
    for name in (contract.PROXY_CONTAINER, contract.INIT_CONTAINER):
        made = container(template, name)
        mounts = made.get("volumeMounts") or []
        assert {mount["name"] for mount in mounts} <= set(volumes), "a mount without its volume"
        paths = [mount["mountPath"] for mount in mounts]
        assert len(paths) == len(set(paths)), "two mounts at one path"
        assert made["image"]
        ports = [port["name"] for port in made.get("ports") or [] if port.get("name")]
        assert len(ports) == len(set(ports)), "two ports of one name"


def test_what_is_added_goes_together_with_the_pod_or_is_refused_by_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused: Counter[tuple[str, str]] = Counter()
    taken: Counter[str] = Counter()
    for number in range(EXAMPLES):
        template = additions.pod(number)
        given = template["metadata"]["annotations"]
        try:
            made = inject(template)
        except AnnotationError as error:
            assert error.annotation in given  # noqa: PT017  a refusal is as good as a pod
            reason = error.message.partition(": ")[2].rpartition(" (value")[0]
            refused[error.annotation, reason.rpartition("] ")[2]] += 1
            continue
        except DocumentError as error:
            assert "spec.volumes[0]" in error.message  # noqa: PT017
            refused["", "a volume of the pod"] += 1
            continue
        goes_together(made)
        assert inject(made) == made
        taken.update(name for name in BY if name in given)
    count = sum(refused.values())
    with capsys.disabled():
        print(f"\nadded: {EXAMPLES} pods, {count} refused for {len(refused)} reasons")
    assert 3 * count >= EXAMPLES
    assert len(refused) >= 20
    assert all(taken[name] >= 20 for name in BY), taken


@pytest.mark.parametrize("listed", [True, False])
def test_a_list_of_volumes_and_mounts_is_as_good_as_an_object(listed: bool) -> None:
    volume = '{"certs": {"emptyDir": {"medium": "Memory"}}}'
    mount = '{"certs": {"mountPath": "/etc/certs"}}'
    if listed:
        volume = '[{"name": "certs", "emptyDir": {"medium": "Memory"}}]'
        mount = '[{"name": "certs", "mountPath": "/etc/certs"}]'
    made = inject(annotated(USER_VOLUME=volume, USER_VOLUME_MOUNT=mount))
    assert made["spec"]["volumes"][-1] == {"name": "certs", "emptyDir": {"medium": "Memory"}}
    proxy = container(made, contract.PROXY_CONTAINER)
    assert proxy["volumeMounts"][-1] == {"name": "certs", "mountPath": "/etc/certs"}


def test_one_volume_may_be_mounted_at_two_paths_and_an_entry_names_itself() -> None:
    mounts = (
        '[{"name": "istio-data", "mountPath": "/a"}, {"name": "istio-data", "mountPath": "/b"}]'
    )
    proxy = container(inject(annotated(USER_VOLUME_MOUNT=mounts)), contract.PROXY_CONTAINER)
    assert [m["mountPath"] for m in proxy["volumeMounts"]][-2:] == ["/a", "/b"]
    made = inject(annotated(USER_VOLUME='{"key": {"name": "own", "emptyDir": {}}}'))
    assert made["spec"]["volumes"][-1]["name"] == "own"


def test_an_override_that_mounts_no_volume_is_refused_by_name() -> None:
    own = (
        '{"containers": [{"name": "istio-proxy", '
        '"volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}'
    )
    with pytest.raises(AnnotationError, match="the pod has no volume 'data'") as caught:
        inject(annotated(OVERRIDES=own))
    assert caught.value.annotation == annotations.OVERRIDES
    template = annotated(OVERRIDES=own)
    template["spec"]["volumes"] = [{"name": "data", "emptyDir": {}}]
    inject(template)
    inject(annotated(OVERRIDES=own, USER_VOLUME='{"data": {"emptyDir": {}}}'))


def test_an_unmasked_proc_needs_users_of_the_pods_own() -> None:
    own = '{"containers": [{"name": "istio-proxy", "securityContext": {"procMount": "Unmasked"}}]}'
    with pytest.raises(AnnotationError, match="must be Default unless the pod sets hostUsers"):
        inject(annotated(OVERRIDES=own))
    template = annotated(OVERRIDES=own)
    template["spec"]["hostUsers"] = False
    proxy = container(inject(template), contract.PROXY_CONTAINER)
    assert proxy["securityContext"]["procMount"] == "Unmasked"


def test_a_volume_that_the_mesh_would_take_from_an_application_is_refused_by_field() -> None:
    template = pod(volumes=[{"name": "istio-data", "hostPath": {"path": "/data"}}])
    inject(template)  # nobody mounts it
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "istio-data", "mountPath": "/d"}]
    with pytest.raises(DocumentError, match=r"spec\.volumes\[0\]\.name: 'istio-data' is a volume"):
        inject(template)


def test_a_volume_of_the_annotation_never_replaces_another_of_the_pod() -> None:
    template = annotated(USER_VOLUME='{"conf": {"emptyDir": {}}}')
    template["spec"]["volumes"] = [{"name": "conf", "configMap": {"name": "c"}}]
    with pytest.raises(AnnotationError, match="the pod has another volume 'conf' already"):
        inject(template)
    template["spec"]["volumes"] = [{"name": "conf"}]  # which is an empty folder, too
    assert [v["name"] for v in inject(template)["spec"]["volumes"]].count("conf") == 1
