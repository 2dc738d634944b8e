"""What a pod's annotations and own containers change about its sidecar, and how it is undone."""

from typing import Any

import pytest

from lab.mesh import contract
from lab.mesh.grammar import probe_settings
from lab.mesh.injector import inject as injection
from lab.mesh.injector import uninject
from lab.mesh.injector.settings.pod_settings import Owner, Settings
from tests.unit.mesh.injector.pods import OWNER, annotated, container, inject, names, pod


def environment(template: dict[str, Any], name: str = "istio-proxy") -> dict[str, Any]:
    return {e["name"]: e.get("value") for e in container(template, name).get("env", [])}


def flag(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_a_native_sidecar_is_told_to_drain_before_the_application_ends() -> None:
    native = container(inject(annotated(NATIVE_SIDECAR="true", STATUS_PORT="15030")), "istio-proxy")
    assert native["lifecycle"]["preStop"]["exec"]["command"] == [
        "pilot-agent", "request", "--agentPort", "15030", "POST", "/drain",
    ]  # fmt: skip
    assert "lifecycle" not in container(inject(pod()), "istio-proxy")


def test_a_wish_that_is_neither_true_nor_false_leaves_the_sidecar_to_the_mesh() -> None:
    for native in (True, False):
        made = inject(annotated(NATIVE_SIDECAR="maybe"), Settings(native_sidecar=native))
        assert ("istio-proxy" in names(made, "initContainers")) is native


@pytest.mark.parametrize(
    "wish", [{"INTERCEPTION_MODE": "TPROXY"}, {"PROXY_CONFIG": "interceptionMode: TPROXY"}]
)
def test_tproxy_needs_root_and_the_right_to_bind_foreign_addresses(wish: dict[str, str]) -> None:
    made = inject(annotated(**wish))
    context = container(made, "istio-proxy")["securityContext"]
    assert (context["runAsUser"], context["runAsNonRoot"]) == (0, False)
    assert context["capabilities"] == {"add": ["NET_ADMIN"], "drop": ["ALL"]}
    assert flag(container(made, "istio-init")["command"], "-m") == "TPROXY"
    assert environment(made)["ISTIO_META_INTERCEPTION_MODE"] == "TPROXY"


@pytest.mark.parametrize(("mode", "uid"), [("REDIRECT", 4711), ("TPROXY", 0)])
def test_the_rules_spare_the_user_that_a_user_chose(mode: str, uid: int) -> None:
    template = annotated(INTERCEPTION_MODE=mode)
    own = {"name": "istio-proxy", "securityContext": {"runAsUser": 4711}}
    template["spec"]["containers"].append(own)
    made = inject(template)
    assert flag(container(made, "istio-init")["command"], "-u") == "4711"
    assert container(made, "istio-proxy")["securityContext"]["runAsUser"] == uid
    assert container(made, "istio-init")["securityContext"]["runAsUser"] == 0


def test_settings_in_the_annotation_beat_those_of_a_container_and_both_come_back() -> None:
    kept = '{"containers": [{"name": "istio-proxy", "tty": true, "image": "mine"}]}'
    template = annotated(OVERRIDES=kept)
    own = {"name": "istio-proxy", "image": "theirs", "stdin": True}
    template["spec"]["containers"].insert(0, own)
    made = inject(template)
    proxy = container(made, "istio-proxy")
    assert (proxy["image"], proxy["tty"], "stdin" in proxy) == ("mine", True, False)
    assert uninject.strip(made) == template


def test_another_port_of_the_agent_is_used_throughout() -> None:
    for wish in ({"STATUS_PORT": "15030"}, {"PROXY_CONFIG": "statusPort: 15030"}):
        template = annotated(**wish)
        template["spec"]["containers"][0]["livenessProbe"] = {"tcpSocket": {"port": 80}}
        made = inject(template)
        proxy = container(made, "istio-proxy")
        assert flag(proxy["args"], "--agentPort") == "15030"
        assert proxy["readinessProbe"]["httpGet"]["port"] == 15030
        assert container(made, "app")["livenessProbe"]["httpGet"]["port"] == 15030
        assert "15030" in flag(container(made, "istio-init")["command"], "-d").split(",")
        assert made["metadata"]["annotations"]["prometheus.io/port"] == "15030"


def test_without_a_port_of_the_agent_nobody_asks_it() -> None:
    template = annotated(STATUS_PORT="0")
    template["spec"]["containers"][0]["livenessProbe"] = {"tcpSocket": {"port": 80}}
    made = inject(template)
    assert not {"startupProbe", "readinessProbe"} & container(made, "istio-proxy").keys()
    assert container(made, "app")["livenessProbe"] == {"tcpSocket": {"port": 80}}
    assert flag(container(made, "istio-init")["command"], "-d") == "15090,15021"
    assert "prometheus.io/port" not in made["metadata"]["annotations"]


def test_log_levels_reach_agent_and_envoy() -> None:
    made = inject(annotated(
        LOG_LEVEL="debug", COMPONENT_LOG_LEVEL="http:trace", AGENT_LOG_LEVEL="default:warn"
    ))  # fmt: skip
    arguments = container(made, "istio-proxy")["args"]
    assert flag(arguments, "--proxyLogLevel") == "debug"
    assert flag(arguments, "--proxyComponentLogLevel") == "http:trace"
    assert flag(arguments, "--log_output_level") == "default:warn"


def test_proxy_metadata_reaches_both_containers_but_dns_capture_only_the_agent() -> None:
    config = "proxyMetadata: {ISTIO_OUTBOUND_OWNER_GROUPS: 100, ISTIO_META_DNS_CAPTURE: true}"
    template = annotated(PROXY_CONFIG=config)
    result = injection.inject(template, "d", OWNER, Settings())
    made = dict(result.template)
    assert environment(made, "istio-init") == {"ISTIO_OUTBOUND_OWNER_GROUPS": "100"}
    assert environment(made)["ISTIO_META_DNS_CAPTURE"] == "true"
    assert "ISTIO_META_DNS_CAPTURE is left out" in result.warnings[0]


def test_volumes_of_the_user_and_a_bootstrap_are_mounted() -> None:
    made = inject(annotated(
        USER_VOLUME='{"data": {"emptyDir": {}}}', BOOTSTRAP_OVERRIDE="mine",
        USER_VOLUME_MOUNT='{"data": {"mountPath": "/data", "readOnly": true}}',
    ))  # fmt: skip
    volumes = {volume["name"]: volume for volume in made["spec"]["volumes"]}
    mounts = {m["mountPath"]: m["name"] for m in container(made, "istio-proxy")["volumeMounts"]}
    assert volumes["data"] == {"name": "data", "emptyDir": {}}
    assert volumes[mounts["/etc/istio/custom-bootstrap"]]["configMap"] == {"name": "mine"}
    assert mounts["/data"] == "data"
    file = environment(made)["ISTIO_BOOTSTRAP_OVERRIDE"]
    assert file == "/etc/istio/custom-bootstrap/custom_bootstrap.json"


def test_labels_name_workload_and_network_and_a_long_name_is_cut_to_a_label() -> None:
    template = pod()
    template["metadata"]["labels"] = {
        "service.istio.io/workload-name": "named", "topology.istio.io/network": "far",
    }  # fmt: skip
    owner = Owner("x" * 62 + "-y", "Deployment", "apps/v1")
    made = dict(injection.inject(template, "d", owner, Settings()).template)
    told = environment(made)
    assert (told["ISTIO_META_WORKLOAD_NAME"], told["ISTIO_META_NETWORK"]) == ("named", "far")
    assert made["metadata"]["labels"]["service.istio.io/canonical-name"] == "x" * 62
    nameless = dict(injection.inject(pod(), "d", Owner(""), Settings()).template)
    assert not {"ISTIO_META_WORKLOAD_NAME", "ISTIO_META_OWNER"} & environment(nameless).keys()


def test_metrics_stay_the_applications_when_asked() -> None:
    made = inject(annotated(MERGE_METRICS="false"))
    assert not [key for key in made["metadata"]["annotations"] if key.startswith("prometheus.io/")]


def test_ports_of_probes_come_back_by_their_names() -> None:
    app = {
        "name": "app",
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": "web"}},
        "livenessProbe": {"tcpSocket": {"port": 8080}},
        "startupProbe": {"tcpSocket": {"port": "8080"}},
    }
    template = {"metadata": {}, "spec": {"containers": [app]}}
    assert uninject.strip(inject(template)) == template


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": True}]}},
        {"httpGet": {"port": 80, "httpHeaders": [{"name": "A", "value": "b\n"}]}},
        {"httpGet": {"port": 80, "scheme": "FTP"}},
        {"httpGet": {"port": 80, "protocol": "HTTP2"}},
        {"httpGet": {"port": 80, "httpHeaders": [{"name": "host", "value": "\u00fc"}]}},
        {"grpc": {"port": 9, "mode": "TLS"}},
        {"httpGet": {"port": 70000}},
        {"tcpSocket": {"port": 0}},
        {"tcpSocket": {"port": 80}, "timeoutSeconds": "soon"},
        {"tcpSocket": {"port": 80}, "timeoutSeconds": -1},
        {"grpc": {"port": "web"}},
    ],
)
def test_a_probe_that_no_agent_can_ask_stays_for_the_api_server_to_judge(probe: Any) -> None:
    template = pod()
    template["spec"]["containers"][0]["livenessProbe"] = probe
    template["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": 80}]
    made = inject(template)
    assert container(made, "app")["livenessProbe"] == probe
    assert "ISTIO_KUBE_APP_PROBERS" not in environment(made)


def test_what_is_handed_to_the_agent_it_can_read() -> None:
    app = {
        "name": "app",
        "livenessProbe": {"httpGet": {"port": 80, "httpHeaders": [{"name": "A"}]}},
        "readinessProbe": {"tcpSocket": {"port": "80"}, "timeoutSeconds": 0},
        "startupProbe": {"grpc": {"port": 9, "service": ""}, "timeoutSeconds": 7},
    }
    made = inject({"spec": {"containers": [app]}})
    read = probe_settings.probes(environment(made)["ISTIO_KUBE_APP_PROBERS"])
    assert {probe.kind: probe.timeout for probe in read.values()} == {
        "http": 1.0, "tcp": 1.0, "grpc": 7.0,
    }  # fmt: skip


def test_a_volume_named_as_ours_is_replaced_and_comes_back() -> None:
    mine = {"name": "istio-envoy", "emptyDir": {"sizeLimit": "1Mi"}}
    made = inject(pod(volumes=[mine]))
    assert [v["name"] for v in made["spec"]["volumes"]].count("istio-envoy") == 1
    assert uninject.strip(made)["spec"]["volumes"] == [mine]


def test_what_cannot_be_undone_is_said() -> None:
    template = pod()
    template["metadata"]["annotations"] = {contract.STATUS_ANNOTATION: "no JSON"}
    assert "lists nothing" in uninject.not_undone(template)[0]
    probe = {"httpGet": {"path": "/app-health/app/livez", "port": 15020}}
    template["spec"]["containers"][0]["livenessProbe"] = probe
    template["metadata"]["annotations"] = {
        contract.STATUS_ANNOTATION: '{"containers": ["istio-proxy"]}'
    }
    assert uninject.not_undone(template) == [
        "another injector injected this pod: the labels and annotations it added stay",
        "the original livenessProbe of container app is not known",
    ]
