"""Observation on the running lab: what is seen from outside is what the reader's tools print."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.command import run
from lab.mesh import contract
from lab.observe.cluster import Cluster, WaitError
from lab.observe.observer.container import container_name
from lab.observe.parsers import (
    parse_ifconfig,
    parse_init_log,
    parse_iptables_list,
    parse_netstat,
    parse_ps,
    parse_route,
)
from lab.observe.pod import Pod
from lab.observe.readings import ports, seen_from, sockets
from lab.paths import lab_paths, manifests
from lab.scenario.failure.bundle import write_bundle
from lab.scenario.failure.diagnosis import Broken
from lab.scenario.failure.gather import first_broken
from lab.scenario.lab_access import LabAccess, open_lab
from tests.live.chosen import NAME

pytestmark = pytest.mark.live
APP = {"app": "jiuxi"}
MANIFEST = manifests() / "jiuxi-deployment.yaml"


@dataclass
class Space:
    """A namespace of one test's own, and kubectl in it."""

    lab: LabAccess
    name: str

    @property
    def cluster(self) -> Cluster:
        return self.lab.cluster

    def kubectl(self, *words: str) -> str:
        argv = [self.lab.kubectl or "kubectl", "--kubeconfig", self.lab.kubeconfig, "-n", self.name]
        return run([*argv, *words], timeout=60).stdout

    def exec(self, pod: Pod, container: str, *argv: str) -> str:
        return self.kubectl("exec", pod.name, "-c", container, "--", *argv)


@pytest.fixture(scope="module")
def lab() -> Iterator[LabAccess]:
    opened = open_lab(lab_paths(NAME))
    yield opened
    opened.cluster.close()


def space_of(lab: LabAccess, *labels: str) -> Iterator[Space]:
    space = Space(lab, f"observe-{uuid.uuid4().hex[:6]}")
    space.kubectl("create", "namespace", space.name)
    try:
        if labels:
            space.kubectl("label", "namespace", space.name, *labels)
        yield space
    finally:
        space.kubectl("delete", "namespace", space.name, "--wait=false")


@pytest.fixture(scope="module")
def plain(lab: LabAccess) -> Iterator[Space]:
    yield from space_of(lab)


@pytest.fixture(scope="module")
def meshed(lab: LabAccess) -> Iterator[Space]:
    yield from space_of(lab, f"{contract.INJECTION_LABEL}=enabled")


def deployed(space: Space) -> Pod:
    space.kubectl("apply", "-f", str(MANIFEST))
    (pod,) = space.cluster.wait_rollout(space.name, "jiuxi", timeout=60)
    return pod


@pytest.fixture(scope="module")
def plain_pod(plain: Space) -> Pod:
    return deployed(plain)


@pytest.fixture(scope="module")
def meshed_pod(meshed: Space) -> Pod:
    return deployed(meshed)


def test_a_plain_pod_reads_as_kubectl_and_netstat_say(plain: Space, plain_pod: Pod) -> None:
    row = plain.kubectl("get", "pod", plain_pod.name, "--no-headers").split()
    assert row[1:4] == [plain_pod.ready, plain_pod.status, "0"]
    assert plain_pod.ready == "1/1"
    assert plain_pod.template_hash is not None
    assert plain_pod.template_hash in plain_pod.name
    seen = plain_pod.listeners()
    assert sockets(seen) == {("0.0.0.0", 80)}
    assert {one.program for one in seen} == {"nginx"}
    printed = parse_netstat(plain.exec(plain_pod, "nginx", "netstat", "-ntlp"))
    assert printed == seen_from(seen, "nginx")
    assert plain_pod.nat().user_chains == frozenset()
    assert first_broken(plain.cluster, plain.name, expect_injected=False) is None


def test_interfaces_routes_and_processes_agree_with_the_containers_tools(
    plain: Space, plain_pod: Pod
) -> None:
    assert plain_pod.interfaces() == parse_ifconfig(plain.exec(plain_pod, "nginx", "ifconfig"))
    assert plain_pod.routes() == parse_route(plain.exec(plain_pod, "nginx", "route", "-n"))
    printed = parse_ps(plain.exec(plain_pod, "nginx", "ps", "-ef"))
    assert {one for one in printed if one.program != "ps"} == set(plain_pod.processes("nginx"))
    assert plain_pod.interfaces()[0].address == plain_pod.ip


def test_requests_and_connections_start_in_the_pods_network(plain_pod: Pod) -> None:
    assert plain_pod.http("http://127.0.0.1/").status == 200
    assert plain_pod.connect(plain_pod.ip, 80).open
    assert plain_pod.connect(plain_pod.ip, 81).outcome == "refused"


def test_an_injected_pod_has_five_more_ports_and_its_rules(meshed: Space, meshed_pod: Pod) -> None:
    assert meshed_pod.ready == "2/2"
    assert meshed_pod.init(contract.INIT_CONTAINER).done
    seen = meshed_pod.listeners()
    assert ports(seen) == {80} | contract.SIDECAR_PORTS
    for container in ("nginx", contract.PROXY_CONTAINER):
        printed = parse_netstat(meshed.exec(meshed_pod, container, "netstat", "-ntlp"))
        assert printed == seen_from(seen, container)
    assert meshed_pod.netns("nginx") == meshed_pod.netns(contract.PROXY_CONTAINER)
    nat = meshed_pod.nat()
    assert nat.user_chains == set(contract.CHAINS)
    assert set(parse_init_log(meshed_pod.logs(contract.INIT_CONTAINER)).nat.rules) == set(nat.rules)
    assert parse_iptables_list(meshed_pod.run(["iptables", "-nvL", "-t", "nat"]).stdout) == nat
    assert meshed_pod.container("nginx").image_id != meshed_pod.container("istio-proxy").image_id


def test_envoy_of_an_injected_pod_answers_on_loopback(meshed: Space, meshed_pod: Pod) -> None:
    envoy = meshed_pod.envoy()
    info = envoy.server_info()
    assert info.state == "LIVE"
    assert meshed_pod.name in info.node["id"]
    assert {15001, 15006} <= {one.port for one in envoy.listeners()}
    assert envoy.bootstrap()["node"]["id"] == info.node["id"]
    assert envoy.clusters()
    assert envoy.stat("server.live") == 1
    programs = [one.program for one in meshed_pod.processes(contract.PROXY_CONTAINER)]
    assert "envoy" in programs
    assert first_broken(meshed.cluster, meshed.name, expect_injected=True) is None


def test_the_first_broken_link_of_a_pod_without_rules_is_rules(
    meshed: Space, meshed_pod: Pod
) -> None:
    rules = meshed_pod.run(["iptables-save", "-t", "nat"]).stdout
    restore = ["iptables", "-t", "nat", "-I", "OUTPUT", "-j", contract.CHAIN_OUTPUT]
    assert "ISTIO_OUTPUT" in rules
    removed = ["iptables", "-t", "nat", "-D", "OUTPUT", "-j", contract.CHAIN_OUTPUT]
    assert meshed_pod.run(removed).returncode == 0
    try:
        broken = first_broken(meshed.cluster, meshed.name)
        assert broken is not None
        assert (broken.link, "OUTPUT" in broken.evidence) == ("rules", True)
    finally:
        assert meshed_pod.run(restore).returncode == 0


def test_a_bundle_of_an_injected_pod_is_whole(
    meshed: Space, meshed_pod: Pod, tmp_path: Path
) -> None:
    made = write_bundle(meshed.cluster, meshed.name, tmp_path / "3.2", about="step 3.2")
    assert made.missing == ()
    mine = {file for file in made.files if file.startswith(meshed_pod.name)}
    for part in ("pod.yaml", "rules.txt", "sockets.txt", "routes.txt", "envoy/config_dump.txt"):
        assert f"{meshed_pod.name}/{part}" in mine
    assert any(file.startswith("control/") and file.endswith(".log") for file in made.files)
    assert "ISTIO_REDIRECT" in (tmp_path / "3.2" / meshed_pod.name / "rules.txt").read_text()


def test_an_app_that_dies_is_the_broken_link_and_its_last_words_are_kept(
    lab: LabAccess, tmp_path: Path
) -> None:
    for space in space_of(lab):
        space.kubectl(
            *("run", "bad", f"--image={contract.NGINX_IMAGE}", "--image-pull-policy=IfNotPresent"),
            *("--command", "--", "sh", "-c", "echo last words; exit 3"),
        )
        space.cluster.wait_pod(
            space.name,
            "bad",
            lambda pod: any(
                one["restartCount"] and one["state"].get("waiting")
                for one in pod.get("status", {}).get("containerStatuses") or ()
            ),
            what="a restart and a back-off",
        )
        broken = first_broken(space.cluster, space.name)
        assert isinstance(broken, Broken)
        assert broken.link == "app"
        assert "last exit code 3" in broken.evidence
        write_bundle(space.cluster, space.name, tmp_path / "x")
        log = tmp_path / "x" / "bad" / "logs" / "bad.previous.log"
        assert log.read_text() == "last words\n"


def test_a_wait_that_fails_says_what_it_last_saw(plain: Space, plain_pod: Pod) -> None:
    with pytest.raises(WaitError, match=rf"{plain_pod.name} 1/1 Running") as raised:
        plain.cluster.wait_ready(plain.name, APP, count=2, timeout=0.5)
    assert len(raised.value.last) == 1


def test_a_replaced_pod_is_gone_for_its_handle(lab: LabAccess) -> None:
    for space in space_of(lab):
        old = deployed(space)
        space.kubectl("delete", "pod", old.name, "--wait=false")
        space.cluster.wait_gone(space.name, old.name)
        assert not old.exists()
        (new,) = space.cluster.wait_rollout(space.name, "jiuxi")
        assert new.uid != old.uid


def test_the_observer_is_started_again_when_it_was_removed(lab: LabAccess, plain_pod: Pod) -> None:
    before = plain_pod.listeners()
    run(["docker", "rm", "--force", container_name(lab.name)], timeout=60)
    assert plain_pod.listeners() == before
