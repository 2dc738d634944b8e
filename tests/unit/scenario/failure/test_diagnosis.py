"""Each broken link is named, and the first one wins."""

from dataclasses import replace

import pytest

from lab.observe.api_objects import Container, Deployment, Event
from lab.observe.parsers import parse_rule
from lab.observe.readings import Chain, Listener, Process, Table
from lab.scenario.failure.diagnosis import diagnose, lacking_rules
from lab.scenario.failure.evidence import EnvoyEvidence, Evidence, PodEvidence

LINES = (
    "-A PREROUTING -p tcp -j ISTIO_INBOUND",
    "-A OUTPUT -j ISTIO_OUTPUT",
    "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
    "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006",
    "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
    "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
)


def nat(*lines: str) -> Table:
    rules = [parse_rule(line) for line in lines]
    names = dict.fromkeys(rule.chain for rule in rules)
    return Table(
        "nat", tuple(Chain(n, None, tuple(r for r in rules if r.chain == n)) for n in names)
    )


RUNS = Container("nginx", "nginx", "running", ready=True, container_id="1")
PROXY = Container("istio-proxy", "proxy", "running", ready=True, container_id="2")
INIT = Container(
    "istio-init",
    "proxy",
    "terminated",
    exit_code=0,
    reason="Completed",
    container_id="3",
    init=True,
)
POD = PodEvidence(
    "jiuxi-1",
    containers=(RUNS, PROXY),
    inits=(INIT,),
    ready=True,
    nat=nat(*LINES),
    listeners=frozenset(
        Listener("0.0.0.0", port) for port in (80, 15000, 15001, 15006, 15020, 15090)
    ),
    processes=(
        Process(1, 0, "1337", "pilot-agent proxy sidecar"),
        Process(7, 1, "1337", "/usr/local/bin/envoy -c x"),
    ),
    envoy=EnvoyEvidence("LIVE", lds=1, cds=1),
)
UP = Deployment("up", 1, 1, 1, 1, 1, current=True)
DOWN = Deployment("down", 1, 1, 1, 0, 0, current=True)
WELL = Evidence("n", True, (POD,), (UP,), (), UP, UP)


def link(**changes: object) -> str | None:
    found = diagnose(replace(WELL, pods=(replace(POD, **changes),)))  # type: ignore[arg-type]
    return found.link if found else None


def test_a_healthy_injected_pod_breaks_no_link() -> None:
    assert diagnose(WELL) is None


def test_a_plain_pod_breaks_no_link_unless_injection_was_expected() -> None:
    plain = PodEvidence("p", (RUNS,), ready=True)
    assert diagnose(replace(WELL, expect_injected=None, pods=(plain,))) is None
    found = diagnose(replace(WELL, pods=(plain,)))
    assert found is not None
    assert found.link == "admission"
    assert "p has no container istio-proxy" in found.evidence


def test_a_refused_pod_is_admission_with_the_servers_words() -> None:
    refused = Event("Warning", "FailedCreate", "ReplicaSet/jiuxi-1", "failed calling webhook: x")
    waiting = replace(UP, replicas=0, available=0)
    found = diagnose(Evidence("n", None, (), (waiting,), (refused,), DOWN, UP))
    assert found is not None
    assert found.link == "admission"
    assert "failed calling webhook: x" in found.evidence
    assert "0 ready replica(s)" in found.hint


def test_an_old_refusal_that_was_overcome_is_not_reported() -> None:
    refused = Event("Warning", "FailedCreate", "ReplicaSet/jiuxi-1", "failed calling webhook: x")
    assert diagnose(replace(WELL, events=(refused,))) is None


def test_a_pod_without_a_node_is_scheduling() -> None:
    assert (
        link(scheduled=False, unscheduled_because="Insufficient cpu", ready=False) == "scheduling"
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ('configmap "istio-ca-root-cert" not found', "discovery"),
        ("the disk is gone", "scheduling"),
    ],
)
def test_a_missing_root_certificate_is_discoverys_and_other_mounts_are_not(
    message: str, expected: str
) -> None:
    def waiting(one: Container) -> Container:
        return replace(
            one,
            state="waiting",
            ready=False,
            container_id="",
            exit_code=None,
            reason="PodInitializing",
        )

    assert expected == link(
        ready=False,
        containers=(waiting(RUNS), waiting(PROXY)),
        inits=(waiting(INIT),),
        events=(Event("Warning", "FailedMount", "Pod/jiuxi-1", message),),
        nat=None,
        listeners=None,
        processes=None,
        envoy=None,
    )


@pytest.mark.parametrize(
    "state",
    [
        {"state": "terminated", "exit_code": 1, "reason": "Error"},
        {"state": "waiting", "reason": "CrashLoopBackOff", "restarts": 3, "exit_code": None},
        {"state": "waiting", "reason": "ImagePullBackOff", "exit_code": None},
        {"state": "running", "exit_code": None},
    ],
)
def test_an_init_container_that_did_not_end_well_is_init(state: dict[str, object]) -> None:
    assert link(inits=(replace(INIT, **state),), ready=False) == "init"  # type: ignore[arg-type]


@pytest.mark.parametrize("left_out", range(len(LINES)))
def test_any_missing_main_rule_is_named(left_out: int) -> None:
    less = nat(*(line for number, line in enumerate(LINES) if number != left_out))
    assert lacking_rules(less)
    assert link(nat=less) == "rules"


def test_rules_flushed_but_chains_left_are_rules() -> None:
    empty = Table("nat", tuple(Chain(chain.name) for chain in nat(*LINES).chains))
    assert len(lacking_rules(empty)) == 4
    assert lacking_rules(nat(*LINES)) == ()


def test_a_dead_or_silent_agent_is_agent() -> None:
    dead = replace(PROXY, state="waiting", reason="CrashLoopBackOff", ready=False, restarts=2)
    assert link(containers=(RUNS, dead)) == "agent"
    assert POD.listeners is not None
    assert link(listeners=frozenset(x for x in POD.listeners if x.port != 15020)) == "agent"


def test_no_updates_or_rejected_ones_are_discovery() -> None:
    assert link(envoy=EnvoyEvidence("PRE_INITIALIZING", 0, 0)) == "discovery"
    assert link(envoy=EnvoyEvidence("LIVE", 2, 2, rejected=1)) == "discovery"
    found = diagnose(replace(WELL, discovery=DOWN))
    assert found is not None
    assert found.link == "discovery"


def test_a_dead_silent_or_half_listening_envoy_is_envoy() -> None:
    agent = (Process(1, 0, "1337", "pilot-agent proxy sidecar"),)
    assert link(processes=agent, envoy=None) == "Envoy"
    zombie = (*agent, Process(7, 1, "1337", "[envoy] <defunct>", ("envoy",)))
    assert link(processes=zombie, envoy=None) == "Envoy"
    assert link(envoy=None) == "Envoy"
    assert link(envoy=EnvoyEvidence("DRAINING", 1, 1)) == "Envoy"
    assert POD.listeners is not None
    assert link(listeners=frozenset(x for x in POD.listeners if x.port != 15006)) == "Envoy"


def test_an_app_that_is_not_ready_is_app_and_says_how_often_it_died() -> None:
    bad = replace(
        RUNS,
        state="waiting",
        ready=False,
        reason="CrashLoopBackOff",
        restarts=4,
        last_exit_code=137,
    )
    found = diagnose(replace(WELL, pods=(replace(POD, containers=(bad, PROXY)),)))
    assert found is not None
    assert found.link == "app"
    assert "after 4 restart(s), last exit code 137" in found.evidence


def test_a_finished_job_breaks_nothing() -> None:
    done = replace(RUNS, state="terminated", exit_code=0, ready=False)
    assert link(finished=True, ready=False, containers=(done, PROXY)) is None


def test_the_first_broken_link_over_all_pods_wins() -> None:
    app = replace(POD, name="a", containers=(replace(RUNS, ready=False), PROXY))
    rules = replace(POD, name="b", nat=Table("nat"))
    found = diagnose(replace(WELL, pods=(app, rules)))
    assert found is not None
    assert (found.link, "pod b" in found.evidence) == ("rules", True)
