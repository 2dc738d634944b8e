"""A quota or LimitRange that the sidecar breaks: the annotation is reckoned from the refusal."""

import pytest

from lab.explain.findings import limits
from lab.explain.findings.causes import Cause
from lab.explain.situation import Situation, Trial
from lab.explain.thought import think
from lab.explain.verdict import Verdict, judge
from lab.mesh.injector.settings import annotations
from lab.mesh.injector.settings.annotations import (
    PROXY_CPU,
    PROXY_CPU_LIMIT,
    PROXY_MEMORY,
    PROXY_MEMORY_LIMIT,
)
from tests.unit.explain.sample import ON, situation, template

FORBIDDEN = 'pods "lab-explain-x" is forbidden: '
USUAL = {
    PROXY_CPU: "10m",
    PROXY_MEMORY: "40Mi",
    PROXY_CPU_LIMIT: "2",
    PROXY_MEMORY_LIMIT: "1Gi",
}
PLAIN = Trial("plain")


def rejected(
    words: str, control: Trial | None = PLAIN, given: dict[str, str] | None = None
) -> Situation:
    trial = Trial("rejected", message=FORBIDDEN + words)
    return situation(template(annotations=given), ON, trial=trial, control=control)


@pytest.mark.parametrize(
    ("words", "cause", "changed"),
    [
        (
            "maximum cpu usage per Container is 500m, but limit is 2",
            Cause.LIMIT_RANGE,
            {PROXY_CPU_LIMIT: "500m"},
        ),
        (
            "[maximum cpu usage per Container is 500m, but limit is 2, "
            "minimum memory usage per Container is 64Mi, but request is 40Mi]",
            Cause.LIMIT_RANGE,
            {PROXY_CPU_LIMIT: "500m", PROXY_MEMORY: "64Mi"},
        ),
        (
            "maximum memory usage per Pod is 1Gi, but limit is 1152Mi",
            Cause.LIMIT_RANGE,
            {PROXY_MEMORY_LIMIT: "896Mi"},
        ),
        (
            "cpu max limit to request ratio per Container is 10, but provided ratio is 200.000000",
            Cause.LIMIT_RANGE,
            {PROXY_CPU: "200m"},
        ),
        (
            "exceeded quota: small, requested: limits.cpu=2100m, used: limits.cpu=0, "
            "limited: limits.cpu=1",
            Cause.QUOTA,
            {PROXY_CPU_LIMIT: "900m"},
        ),
        (
            "exceeded quota: small, requested: limits.memory=1152Mi,pods=1, "
            "used: limits.memory=128Mi,pods=1, limited: limits.memory=1Gi,pods=9",
            Cause.QUOTA,
            {PROXY_MEMORY_LIMIT: "768Mi"},
        ),
    ],
)
def test_the_annotation_that_mends_it_is_named_with_its_value(
    words: str, cause: Cause, changed: dict[str, str]
) -> None:
    given = rejected(words)
    found = judge(given)
    assert (found.verdict, found.cause) == (Verdict.REFUSED, cause)
    (step,) = found.steps
    for name, value in {**USUAL, **changed}.items():
        assert f'"{name}":"{value}"' in step.commands[0]
    change = limits.broken(given, Trial("rejected", message=FORBIDDEN + words))
    assert change is not None
    assert change.change is not None
    # What is proposed is what the injector takes.
    assert think(change.change.apply(given)).refusal is None


def test_what_must_be_specified_is_specified() -> None:
    words = "failed quota: small: must specify limits.cpu for: istio-init,istio-proxy"
    (step,) = judge(rejected(words, given={PROXY_MEMORY: "64Mi"})).steps
    assert f'"{PROXY_CPU_LIMIT}":' in step.commands[0]
    assert f'"{PROXY_MEMORY}":"64Mi"' in step.commands[0]


def test_a_request_above_the_limit_that_fits_is_lowered_with_it() -> None:
    words = "maximum cpu usage per Container is 500m, but limit is 2"
    (step,) = judge(rejected(words, given={PROXY_CPU: "1", PROXY_CPU_LIMIT: "2"})).steps
    assert f'"{PROXY_CPU}":"500m"' in step.commands[0]
    assert f'"{PROXY_CPU_LIMIT}":"500m"' in step.commands[0]


@pytest.mark.parametrize(
    "words",
    [
        "exceeded quota: small, requested: limits.cpu=2100m, used: limits.cpu=1, "
        "limited: limits.cpu=1",
        "exceeded quota: small, requested: pods=1, used: pods=1, limited: pods=1",
        "exceeded quota: small, requested: x, used: =, limited: 1",
    ],
)
def test_where_no_annotation_helps_none_is_proposed(words: str) -> None:
    found = judge(rejected(words))
    assert found.cause is Cause.QUOTA
    assert found.steps[0].commands == ()
    assert "raise ResourceQuota small" in found.steps[0].text


def test_a_pod_that_is_refused_without_a_sidecar_too_is_not_the_sidecars_fault() -> None:
    words = "maximum cpu usage per Container is 500m, but limit is 4"
    found = judge(rejected(words, control=Trial("rejected", message=words)))
    assert found.cause is Cause.REFUSED_ELSEWHERE


def test_without_a_dry_run_the_events_tell() -> None:
    words = FORBIDDEN + "maximum cpu usage per Container is 500m, but limit is 2"
    found = judge(situation(template(), ON, refusals=(words,)))
    assert found.cause is Cause.LIMIT_RANGE
    assert f'"{annotations.PROXY_CPU_LIMIT}":"500m"' in found.steps[0].commands[0]


@pytest.mark.parametrize(
    ("what", "value", "text"),
    [
        ("cpu", 0.5, "500m"),
        ("cpu", 2.0, "2"),
        ("cpu", 0.0109, "10m"),
        ("memory", 2**26, "64Mi"),
        ("memory", 2**31, "2Gi"),
    ],
)
def test_quantities_are_rounded_down_to_what_people_write(
    what: str, value: float, text: str
) -> None:
    assert limits.shown(what, value) == text


def test_a_value_that_is_raised_is_rounded_up_so_that_it_reaches_its_bound() -> None:
    assert limits.shown("cpu", 2 / 3, up=True) == "667m"
    assert limits.shown("cpu", 0.5, up=True) == "500m"
    assert limits.shown("memory", 2**26 + 1000, up=True) == "65Mi"
    words = FORBIDDEN + (
        "cpu max limit to request ratio per Container is 3, but provided ratio is 20.000000"
    )
    found = judge(situation(template(), ON, refusals=(words,)))
    assert f'"{annotations.PROXY_CPU}":"667m"' in found.steps[0].commands[0]
