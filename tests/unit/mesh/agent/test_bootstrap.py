"""The bootstrap: accepted by real Envoy, stable, and refused with the field's name."""

import dataclasses
import json
import string
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.agent import bootstrap
from lab.mesh.agent import settings as agent_settings
from lab.mesh.agent.envoy_settings import EnvoySettings, PodIdentity
from lab.mesh.agent.settings import Flags, Inputs
from lab.mesh.errors import BootstrapError
from lab.mesh.grammar import proxy_grammar

POD = PodIdentity(
    "web-1", "shop", ("10.0.0.7", "fd00::7"), labels={"app": "web"}, app_containers="nginx"
)
ENV = {"POD_NAME": "web-1", "POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.7"}


def made(env: dict[str, str] | None = None, annotations: str = "", **flags: Any) -> Any:
    inputs = Inputs(Flags(**flags), {**ENV, **(env or {})}, annotations=annotations)
    return agent_settings.decide(inputs)


def test_envoy_accepts_it(envoy_program: Path, tmp_path: Path) -> None:
    file = tmp_path / "bootstrap.json"
    settings = EnvoySettings(runtime={"a.b": 1, "c": True})
    file.write_text(bootstrap.render(bootstrap.bootstrap(POD, settings)))
    argv = bootstrap.envoy_arguments(str(envoy_program), str(file), settings)
    done = subprocess.run(
        [*argv, "--mode", "validate"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr


def test_node_names_the_pod_as_discovery_reads_it() -> None:
    node = bootstrap.node(POD, EnvoySettings())
    assert node["id"] == "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local"
    assert node["cluster"] == "web.shop"
    assert node["metadata"]["INSTANCE_IPS"] == "10.0.0.7,fd00::7"
    assert node["metadata"]["LABELS"] == {"app": "web"}
    assert node["metadata"]["WORKLOAD_NAME"] == "web-1"


def test_admin_is_on_loopback_and_only_statistics_leave_it() -> None:
    document = bootstrap.bootstrap(POD, EnvoySettings())
    assert document["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    (listener,) = document["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    assert [route["match"] for route in host["routes"]] == [{"path": "/stats/prometheus"}]


def test_order_of_labels_changes_no_byte() -> None:
    some, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}
    texts = {
        bootstrap.render(
            bootstrap.bootstrap(dataclasses.replace(POD, labels=labels), EnvoySettings())
        )
        for labels in (some, other)
    }
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"admin_port": 0}, "adminPort"),
        ({"stats_port": 70000}, "statsPort"),
        ({"stats_port": 15000}, "statsPort"),
        ({"concurrency": -1}, "concurrency"),
        ({"concurrency": 1000}, "concurrency"),
        ({"drain_seconds": -1}, "drainDuration"),
        ({"max_connections": 0}, "maxConnections"),
        ({"xds_socket": "XDS"}, "xdsSocket"),
        ({"xds_socket": "/" + "x" * 107}, "xdsSocket"),
        ({"log_level": "loud"}, "proxyLogLevel"),
        ({"component_log_level": "misc"}, "proxyComponentLogLevel"),
        ({"component_log_level": "misc:loud"}, "proxyComponentLogLevel"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(BootstrapError, match=f"^{field}: "):
        bootstrap.bootstrap(POD, EnvoySettings(**settings))


@pytest.mark.parametrize(
    ("env", "field"),
    [
        ({"POD_NAME": "Not A Name"}, "POD_NAME"),
        ({"POD_NAMESPACE": "a~b"}, "POD_NAMESPACE"),
        ({"INSTANCE_IP": "10.0.0"}, "INSTANCE_IP"),
        ({"INSTANCE_IPS": "10.0.0.7,x"}, "INSTANCE_IP"),
        ({"PROXY_CONFIG": '{"concurency": 2}'}, "PROXY_CONFIG: field 'concurency'"),
        ({"PROXY_CONFIG": '{"drainDuration": "soon"}'}, "drainDuration"),
        ({"PROXY_CONFIG": '{"discoveryAddress": "somewhere"}'}, "discoveryAddress"),
        ({"ISTIO_KUBE_APP_PROBERS": "{"}, "ISTIO_KUBE_APP_PROBERS"),
        (
            {"ISTIO_KUBE_APP_PROBERS": '{"/app-health/a/livez":{"httpGet":{"port":"http"}}}'},
            "ISTIO_KUBE_APP_PROBERS /app-health/a/livez: httpGet.port",
        ),
    ],
)
def test_a_bad_variable_is_named(env: dict[str, str], field: str) -> None:
    with pytest.raises(BootstrapError) as refused:
        made(env)
    assert refused.value.message.startswith(field)


def test_annotation_beats_proxy_config_beats_flag() -> None:
    told = {"PROXY_CONFIG": '{"concurrency": 3, "serviceCluster": "b"}'}
    plan = made(told, 'proxy.istio.io/config="concurrency: 4"\n', concurrency=5, domain="d")
    assert (plan.envoy.concurrency, plan.envoy.service_cluster, plan.envoy.domain) == (4, "b", "d")


def test_an_annotation_in_exotic_yaml_is_left_to_the_injector_at_the_start() -> None:
    told = {**ENV, "PROXY_CONFIG": '{"concurrency": 3}'}
    inputs = Inputs(Flags(), told, annotations='proxy.istio.io/config="{concurrency: 3}"\n')
    plan = agent_settings.decide(inputs, starting=True)
    assert plan.envoy.concurrency == 3
    assert plan.passed_over.startswith("annotation proxy.istio.io/config")
    with pytest.raises(BootstrapError, match="not JSON"):
        agent_settings.decide(inputs)


@pytest.mark.parametrize(
    "exotic",
    [
        "proxyStatsMatcher:\\n  inclusionPrefixes: [a]",
        "proxyStatsMatcher:\\n  inclusionPrefixes:\\n  - a",
        "proxyStatsMatcher: {inclusionPrefixes: [a]}",
    ],
)
def test_a_list_in_the_annotation_does_not_end_the_agent(exotic: str) -> None:
    told = {**ENV, "PROXY_CONFIG": '{"proxyStatsMatcher": {"inclusionPrefixes": ["a"]}}'}
    inputs = Inputs(Flags(), told, annotations=f'proxy.istio.io/config="{exotic}"\n')
    assert agent_settings.decide(inputs, starting=True).passed_over


def test_meta_variables_and_proxy_metadata_become_node_metadata() -> None:
    config = {"proxyMetadata": {"ISTIO_META_FAST": True, "OTHER": "x"}}
    plan = made({"ISTIO_META_WORKLOAD_NAME": "web", "PROXY_CONFIG": json.dumps(config)})
    metadata = json.loads(plan.bootstrap)["node"]["metadata"]
    assert metadata["FAST"] == "true"
    assert metadata["WORKLOAD_NAME"] == "web"
    assert "OTHER" not in metadata


@given(
    name=st.text(max_size=20) | st.text(string.ascii_lowercase + "-.", max_size=20),
    ip=st.text(max_size=12) | st.ip_addresses().map(str),
    level=st.sampled_from([*proxy_grammar.LOG_LEVELS, "", "x"]),
    labels=st.dictionaries(st.text(), st.text(), max_size=3),
)
def test_any_input_gives_json_or_a_named_refusal(
    name: str, ip: str, level: str, labels: dict[str, str]
) -> None:
    pod = PodIdentity(name, "shop", (ip,), labels=labels)
    try:
        document = bootstrap.bootstrap(pod, EnvoySettings(log_level=level))
    except BootstrapError as refused:
        said = refused.message.split(":")[0]
    else:
        assert json.loads(bootstrap.render(document)) == document
        return
    assert said in ("POD_NAME", "INSTANCE_IP", "proxyLogLevel")


def test_a_users_bootstrap_goes_to_envoy_as_it_is(tmp_path: Path, envoy_program: Path) -> None:
    file = tmp_path / "custom_bootstrap.json"
    file.write_text('{"stats_flush_interval": "7s"}')
    inputs = agent_settings.read(Flags(), {**ENV, "ISTIO_BOOTSTRAP_OVERRIDE": str(file)})
    plan = agent_settings.decide(inputs)
    base = tmp_path / "envoy.json"
    base.write_text(plan.bootstrap)
    argv = plan.arguments(str(envoy_program), base)
    assert argv[-2:] == ["--config-yaml", file.read_text()]
    checked = subprocess.run(
        [*argv, "--mode", "validate"], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stderr
    assert agent_settings.decide(agent_settings.read(Flags(), ENV)).envoy.override == ""


def test_a_bootstrap_that_is_not_there_or_too_long_is_named(tmp_path: Path) -> None:
    for file, says in ((tmp_path / "none", "there is no file"), (tmp_path / "long", "more than")):
        (tmp_path / "long").write_text(" " * 200_000)
        with pytest.raises(BootstrapError, match=f"ISTIO_BOOTSTRAP_OVERRIDE: .*{says}"):
            agent_settings.read(Flags(), {**ENV, "ISTIO_BOOTSTRAP_OVERRIDE": str(file)})
