"""`lab explain` where a quota or LimitRange does not take the sidecar: its annotation mends it."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lab.mesh import contract
from lab.scenario.lab_access import LabAccess
from tests.live.explained import Space, Told, deployment, opened, pod_spec, space_of

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def lab() -> Iterator[LabAccess]:
    yield from opened()


@pytest.fixture
def space(lab: LabAccess) -> Iterator[Space]:
    for made in space_of(lab):
        made.label(f"{contract.INJECTION_LABEL}=enabled")
        yield made


def mended(space: Space, told: Told) -> None:
    space.mend(told)
    space.wait_ready()
    assert {one.code for one in space.explain("deploy/web")} == {0}


def refused(space: Space, cause: str) -> Told:
    space.apply(deployment())
    space.wait_refused()
    told = space.template()
    assert (told.code, told.cause, told.verdict) == (1, cause, "cannot be created")
    print(f"{cause}: {told.told['sentence']}")
    return told


@pytest.mark.parametrize(
    "limit",
    [
        {"max": {"cpu": "500m"}},
        {"max": {"memory": "512Mi"}},
        {"min": {"memory": "64Mi"}},
        {"maxLimitRequestRatio": {"cpu": "10"}},
    ],
    ids=["max cpu", "max memory", "min memory", "ratio"],
)
def test_a_sidecar_that_breaks_a_limit_range(space: Space, limit: Mapping[str, Any]) -> None:
    # The application fits by itself: these are its defaults, too.
    own = {"default": {"cpu": "100m", "memory": "128Mi"}}
    own["defaultRequest"] = {"cpu": "50m", "memory": "64Mi"}
    made = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits"},
        "spec": {"limits": [{"type": "Container", **own, **limit}]},
    }
    space.apply(made)
    told = refused(space, "limit-range")
    assert "sidecar.istio.io/proxy" in told.told["steps"][0]["text"]
    mended(space, told)


@pytest.mark.parametrize(
    "hard",
    [{"limits.cpu": "1"}, {"limits.memory": "512Mi"}, {"limits.memory": "144Mi"}],
    ids=["cpu", "memory", "too little"],
)
def test_a_sidecar_that_breaks_a_quota(space: Space, hard: Mapping[str, str]) -> None:
    own = {"default": {"cpu": "100m", "memory": "128Mi"}}
    own["defaultRequest"] = {"cpu": "1m", "memory": "64Mi"}
    for kind, spec in (
        ("LimitRange", {"limits": [{"type": "Container", **own}]}),
        ("ResourceQuota", {"hard": dict(hard)}),
    ):
        made = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "small"}, "spec": spec}
        space.apply(made)
    told = refused(space, "quota")
    assert "small" in told.told["sentence"]
    if hard == {"limits.memory": "144Mi"}:
        assert "raise ResourceQuota small" in told.told["steps"][0]["text"]
        return
    space.mend(told)
    space.wait_ready()
    # The pod is sound; a second one beside it has no room, so of the template that is said.
    told_of = {one.told["origin"]: one.verdict for one in space.explain("deploy/web")}
    assert told_of == {"template": "cannot be created", "live": "injected"}


def test_a_pod_that_breaks_a_limit_by_itself_is_not_the_sidecars_fault(space: Space) -> None:
    limits = {"type": "Container", "max": {"memory": "64Mi"}}
    made = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits"},
        "spec": {"limits": [limits]},
    }
    space.apply(made)
    container = {"name": "web", "image": contract.NGINX_IMAGE}
    container["resources"] = {"limits": {"memory": "1Gi"}}  # type: ignore[assignment]
    space.apply(deployment(spec=pod_spec(containers=[container])))
    space.wait_refused()
    assert space.template().cause == "refused-elsewhere"
