"""A pod that is injected and does not work: each cause from what an API server said of one."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lab.explain.findings.causes import Cause
from lab.explain.situation import Situation
from lab.explain.symptoms import Symptoms
from lab.explain.verdict import Verdict, judge
from lab.mesh import contract
from lab.mesh.injector.settings import annotations
from tests.unit.explain import recorded as seen
from tests.unit.explain.recorded import (
    FETCH,
    INIT,
    INITIALIZING,
    PROXY,
    RUNNING,
    ended,
    event,
    injected,
    shown,
    status,
    waiting,
)
from tests.unit.explain.sample import KEY, ON, live, service, situation

DISCOVERY = (contract.CONTROL_NAMESPACE, contract.DISCOVERY_SERVICE)
DONE = status(INIT, ended(0), ready=True)
STARTING = status(PROXY, RUNNING)
WEB = status("web", RUNNING, ready=True)


def of(pod: Mapping[str, Any], *events: Mapping[str, Any], log: str = "", **more: Any) -> Situation:
    logs = {PROXY: log, **more.pop("logs", {})}
    symptoms = shown(pod, *events, logs=logs, **{k: more.pop(k) for k in ("age",) if k in more})
    return situation(live(pod), ON, symptoms=replace(symptoms, **more))


def running(*more: dict[str, Any], **pod: Any) -> dict[str, Any]:
    """Rules are made, the proxy is not ready."""
    return injected(statuses=(DONE, STARTING, *(more or (WEB,))), **pod)


PULL = 'Failed to pull image "nowhere.invalid/proxy:1": no such host'
MOUNT = 'MountVolume.SetUp failed for volume "{}" : configmap "nowhere" not found'
UNSCHEDULED = (
    {"type": "PodScheduled", "status": "False", "message": "0/1 nodes: 1 Insufficient cpu."},
)

CASES: list[tuple[str, Cause, str, Situation]] = [
    ("15001", Cause.MESH_PORT, "port 15001", of(running(), log=seen.PORT_15001)),
    ("15000", Cause.MESH_PORT, "Envoy's admin", of(running(), log=seen.PORT_15000)),
    ("15020", Cause.MESH_PORT, "the agent", of(running(), log=seen.PORT_15020)),
    ("15020 Istio", Cause.MESH_PORT, "the agent", of(running(), log=seen.PORT_15020_ISTIO)),
    (
        "moved",
        Cause.MESH_PORT,
        "port 15029",
        of(
            running(annotations={annotations.STATUS_PORT: "15029"}),
            log=seen.PORT_15020.replace("15020", "15029"),
        ),
    ),
    (
        "late",
        Cause.MESH_PORT,
        "container web ends with code 1",
        of(
            injected(statuses=(DONE, status(PROXY, RUNNING, ready=True),
                               status("web", waiting("CrashLoopBackOff"), last=ended(1),
                                      restarts=2))),
            logs={"web": seen.LATE},
        ),
    ),
    (
        "late, another program",
        Cause.MESH_PORT,
        "port 15006",
        of(
            injected(statuses=(DONE, status(PROXY, RUNNING, ready=True),
                               status("web", ended(1), restarts=1))),
            logs={"web": seen.NODE_LATE},
        ),
    ),
    (
        "declared",
        Cause.MESH_PORT,
        "container web listens",
        of(
            running(spec={"containers": [{"name": "web", "ports": [{"containerPort": 15001}]}]}),
            log=seen.PORT_15001,
        ),
    ),
    (
        "dnsPolicy",
        Cause.DNS_POLICY,
        "dnsPolicy Default",
        of(running(spec={"dnsPolicy": "Default"}), log=seen.NO_NAME),
    ),
    (
        "no name, the policy is sound",
        Cause.DISCOVERY,
        "Name or service not known",
        of(running(), log=seen.NO_NAME),
    ),
    ("refused", Cause.DISCOVERY, "Connection refused", of(running(), log=seen.REFUSED)),
    (
        "discovery without pods",
        Cause.DISCOVERY,
        "has no ready pod",
        replace(
            of(running(), log=seen.REFUSED),
            services={KEY: service(), DISCOVERY: service(ready={15012: 0})},
        ),
    ),
    (
        "no discovery",
        Cause.DISCOVERY,
        "there is no Service",
        replace(of(running()), services={DISCOVERY: service(exists=False)}),
    ),
    ("killed", Cause.MEMORY, "its limit of 1Gi", of(running(), log=seen.KILLED)),
    (
        "OOMKilled",
        Cause.MEMORY,
        "is killed for it",
        of(injected(statuses=(DONE, status(PROXY, RUNNING, last=ended(137, "OOMKilled"),
                                           restarts=1, ready=True), WEB))),
    ),
    (
        "image",
        Cause.IMAGE,
        "nowhere.invalid",
        of(
            injected({annotations.PROXY_IMAGE: "nowhere.invalid/proxy:1"},
                     statuses=(status(INIT, waiting("ImagePullBackOff", "Back-off")),
                               status(PROXY, INITIALIZING))),
            event("Failed", PULL, INIT),
        ),
    ),
    (
        "image of the mesh",
        Cause.IMAGE,
        "ErrImageNeverPull",
        of(injected(statuses=(status(INIT, waiting("ErrImageNeverPull")),))),
    ),
    (
        "rules",
        Cause.INIT_FAILED,
        "no rule can be read or set here",
        of(
            injected(statuses=(status(INIT, waiting("CrashLoopBackOff"), last=ended(3),
                                      restarts=1), status(PROXY, INITIALIZING))),
            logs={INIT: seen.CRASHED},
        ),
    ),
    (
        "bootstrap",
        Cause.VOLUME,
        'configmap "nowhere" not found',
        of(
            injected({annotations.BOOTSTRAP_OVERRIDE: "nowhere"},
                     statuses=(status(INIT, INITIALIZING),)),
            event("FailedMount", MOUNT.format("custom-bootstrap-volume")),
        ),
    ),
    (
        "root certificate",
        Cause.VOLUME,
        "no pod of discovery is ready",
        replace(
            of(injected(statuses=(status(INIT, INITIALIZING),)),
               event("FailedMount", MOUNT.format("istiod-ca-cert"))),
            services={DISCOVERY: service(ready={15012: 0})},
        ),
    ),
    (
        "no node",
        Cause.UNSCHEDULED,
        "istio-proxy requests 10m of cpu",
        of(injected(conditions=UNSCHEDULED)),
    ),
    (
        "init container",
        Cause.INIT_BEFORE_PROXY,
        "init container fetch",
        of(
            injected(inits=(FETCH,),
                     statuses=(DONE, status("fetch", waiting("CrashLoopBackOff"), last=ended(7),
                                            restarts=1), status(PROXY, INITIALIZING))),
        ),
    ),
    (
        "init container that waits",
        Cause.INIT_BEFORE_PROXY,
        "does not end",
        of(injected(inits=(FETCH,), statuses=(DONE, status("fetch", RUNNING)))),
    ),
    ("endpoints", Cause.CONFIGURATION_REFUSED, "the endpoints", of(running(), log=seen.ENDPOINTS)),
    (
        "cluster",
        Cause.CONFIGURATION_REFUSED,
        "(of ext.shop.svc.cluster.local): no such policy",
        of(running(), log=seen.CLUSTER),
    ),
    (
        "discovery tells",
        Cause.CONFIGURATION_REFUSED,
        "listener broken",
        of(running(), logs={"discovery": "x refused LDS: y\nweb-1 refused LDS: Error adding/"
                                         "updating listener(s) broken: no address"}, age=5.0),
    ),
    (
        "crashes",
        Cause.NOT_READY,
        "ended with code 1 and is started again: bad things",
        of(
            injected(statuses=(DONE, status(PROXY, waiting("CrashLoopBackOff"), last=ended(1),
                                            restarts=3), WEB)),
            log="error: bad things\n",
        ),
    ),
    (
        "cannot be made",
        Cause.NOT_READY,
        "CreateContainerConfigError",
        of(injected(statuses=(status(INIT, waiting("CreateContainerConfigError", "no secret")),))),
    ),
    (
        "not ready for long",
        Cause.NOT_READY,
        "is not ready after 60 s: Startup probe failed",
        of(running(), event("Unhealthy", "Startup probe failed: 503", PROXY)),
    ),
    (
        "ports",
        Cause.OUTBOUND_PORTS,
        "narrows nothing",
        of(
            injected({annotations.INCLUDE_OUTBOUND_PORTS: "8080"},
                     statuses=(DONE, status(PROXY, RUNNING, ready=True), WEB)),
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("cause", "words", "given"), [one[1:] for one in CASES], ids=[one[0] for one in CASES]
)
def test_a_fault_of_an_injected_pod_is_named(cause: Cause, words: str, given: Situation) -> None:
    found = judge(given)
    assert (found.verdict, found.cause) == (Verdict.FAULTY, cause), found
    assert found.verdict.exit_code == 3
    assert words in found.sentence
    assert found.steps
    (marked,) = (one for one in found.lines if one.decides)
    assert (marked.key, marked.answer) == ("works", "no")


SOUND: list[tuple[str, dict[str, Any], Mapping[str, Any]]] = [
    ("ready", injected(statuses=(DONE, status(PROXY, RUNNING, ready=True), WEB)), {}),
    ("young", running(), {"age": 3.0}),
    (
        "a start-up's messages",
        injected(statuses=(DONE, status(PROXY, RUNNING, ready=True), WEB)),
        {"log": seen.NO_NAME},
    ),
    (
        "an application that fails for its own reasons",
        injected(statuses=(DONE, status(PROXY, RUNNING, ready=True),
                           status("web", ended(1), restarts=4))),
        {"logs": {"web": "bind() to 0.0.0.0:8080 failed (98: Address already in use)\n"}},
    ),
    (
        "an init container of the proxy's user",
        injected(inits=({**FETCH, "securityContext": {"runAsUser": contract.PROXY_UID}},),
                 statuses=(DONE, status("fetch", RUNNING))),
        {"age": 3.0},
    ),
    (
        "an init container before the rules",
        injected(spec={"initContainers": [FETCH]},
                 statuses=(status("fetch", RUNNING), status(INIT, INITIALIZING))),
        {"age": 3.0},
    ),
    (
        "ports beside ranges",
        injected({annotations.INCLUDE_OUTBOUND_PORTS: "80",
                  annotations.INCLUDE_OUTBOUND_CIDRS: "10.0.0.0/8"}),
        {},
    ),
    (
        "another pod's words",
        running(),
        {"age": 3.0, "logs": {"discovery": "web-2 refused LDS: no"}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "more"), [one[1:] for one in SOUND], ids=[s[0] for s in SOUND])
def test_a_sound_pod_is_accused_of_nothing(pod: dict[str, Any], more: Mapping[str, Any]) -> None:
    assert judge(of(pod, **more)).verdict is Verdict.INJECTED


def test_nothing_is_said_of_the_health_of_a_pod_that_was_not_examined() -> None:
    assert judge(situation(live(running()), ON)).verdict is Verdict.INJECTED


def test_the_taken_port_is_not_told_a_second_time_as_a_refused_listener() -> None:
    assert judge(of(running(), log=seen.PORT_15001)).others == ()


def test_refused_configuration_is_told_only_while_envoy_lacks_it() -> None:
    from lab.explain.symptoms import updates

    counted = updates(seen.STATISTICS)
    ready = injected(
        statuses=(DONE, status(PROXY, RUNNING, ready=True), WEB),
        conditions=({"type": "Ready", "status": "True"},),
    )
    lacking = judge(of(ready, log=seen.ENDPOINTS, updates=counted,
                       holders={"db.example.com": "EndpointSlice shop/ext-1"}))  # fmt: skip
    assert lacking.cause is Cause.CONFIGURATION_REFUSED
    for words in (
        "of outbound|80||ext:",
        "is in EndpointSlice shop/ext-1",
        "keeps its previous",
    ):
        assert words in lacking.sentence
    # The last success with clusters was 6 ms before the refusal.
    assert judge(of(ready, log=seen.CLUSTER, updates=counted)).verdict is Verdict.FAULTY
    later = tuple(replace(one, time=one.time + 60) for one in counted)
    assert judge(of(ready, log=seen.CLUSTER, updates=later)).verdict is Verdict.INJECTED


@pytest.mark.parametrize(
    ("log", "spec", "edit"),
    [
        (seen.PORT_15020, {}, {"annotations": {annotations.STATUS_PORT: "15029"}}),
        (seen.KILLED, {}, {"annotations": {annotations.PROXY_MEMORY_LIMIT: "2048Mi"}}),
    ],
)
def test_a_mend_by_annotation_is_a_command(
    log: str, spec: Mapping[str, Any], edit: Mapping[str, Any]
) -> None:
    (step,) = judge(of(running(spec=spec), log=log)).steps
    assert json.dumps({"metadata": edit}, separators=(",", ":")) in step.commands[0]


def test_the_order_of_init_containers_is_mended_where_it_is_the_users_own() -> None:
    pod = injected(
        inits=(FETCH,),
        statuses=(DONE, status("fetch", ended(7), restarts=1), status(PROXY, INITIALIZING)),
    )
    (step,) = judge(of(pod)).steps
    assert step.commands[0].index('"name":"fetch"') < step.commands[0].index('"name":"istio-init"')
    plain = {**pod, "spec": {**pod["spec"], "initContainers": [{"name": INIT, "image": "p"}]}}
    from lab.explain.situation import Holder

    held = replace(of(pod), subject=live(pod, holder=Holder("Deployment", "web", {}, plain)))
    (other,) = judge(held).steps
    assert annotations.NATIVE_SIDECAR in other.commands[0]


def test_texts_of_others_reach_the_reader_in_one_line_without_control_characters() -> None:
    log = "error: \x1b[2J\x07 gone\u202e" + "x" * 5000 + "\n"
    crashed = status(PROXY, waiting("CrashLoopBackOff"), last=ended(1), restarts=3)
    found = judge(of(injected(statuses=(DONE, crashed)), log=log))
    assert found.sentence.isprintable()
    assert len(found.sentence) < 600


@pytest.mark.parametrize(
    "odd",
    [
        {"status": None},
        {"status": {"containerStatuses": [{"name": 7, "state": [], "restartCount": "x"}]}},
        {"status": {"containerStatuses": "all", "conditions": [None, {"type": "Ready"}]}},
        {"status": {"initContainerStatuses": [{"state": {"terminated": {"exitCode": "0"}}}]}},
    ],
)
def test_a_status_of_odd_types_is_no_crash(odd: Mapping[str, Any]) -> None:
    assert isinstance(shown({**injected(), **odd}), Symptoms)


def test_what_mends_itself_once_discovery_is_back_is_not_made_anew() -> None:
    gone = {DISCOVERY: service(ready={15012: 0})}
    (step,) = judge(replace(of(running(), log=seen.REFUSED), services=gone)).steps
    assert step.commands
    assert "web-1" not in " ".join(step.commands)
