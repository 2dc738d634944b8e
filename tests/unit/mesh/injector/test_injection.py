"""What a pod gets."""

import json

import pytest

from lab.mesh import contract
from lab.mesh.injector import inject as injection
from lab.mesh.injector import probes, uninject
from lab.mesh.injector.settings.pod_settings import Settings
from tests.unit.mesh.injector.pods import OWNER, annotated, container, inject, names, pod


def test_the_init_container_has_a_command_the_proxy_has_args_and_both_one_image() -> None:
    made = inject(pod())
    init, proxy = container(made, "istio-init"), container(made, "istio-proxy")
    assert init["command"] == [
        "istio-iptables", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*",
        "-x", "", "-b", "*", "-d", "15090,15021,15020",
    ]  # fmt: skip
    assert "args" not in init
    assert "command" not in proxy
    assert proxy["args"][:4] == [
        "proxy",
        "sidecar",
        "--domain",
        "$(POD_NAMESPACE).svc.cluster.local",
    ]
    assert init["image"] == proxy["image"] == contract.PROXY_IMAGE


def test_rights_are_the_least_that_the_work_needs() -> None:
    made = inject(pod())
    init = container(made, "istio-init")["securityContext"]
    proxy = container(made, "istio-proxy")["securityContext"]
    for context in (init, proxy):
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"]["drop"] == ["ALL"]
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert init["capabilities"]["add"] == ["NET_ADMIN", "NET_RAW"]
    assert "add" not in proxy["capabilities"]
    assert (proxy["runAsUser"], proxy["runAsGroup"], proxy["runAsNonRoot"]) == (1337, 1337, True)


def test_every_mount_has_its_volume() -> None:
    made = inject(pod(volumes=[{"name": "mine"}]))
    mounts = {m["name"] for m in container(made, "istio-proxy")["volumeMounts"]}
    assert mounts | {"mine"} == {v["name"] for v in made["spec"]["volumes"]}


@pytest.mark.parametrize(
    ("wish", "containers", "inits"),
    [
        ({}, ["app", "istio-proxy"], ["user", "istio-init"]),
        ({"NATIVE_SIDECAR": "true"}, ["app"], ["istio-init", "istio-proxy", "user"]),
        ({"PROXY_CONFIG": "holdApplicationUntilProxyStarts: true"}, ["istio-proxy", "app"],
         ["user", "istio-init"]),
        ({"INTERCEPTION_MODE": "NONE"}, ["app", "istio-proxy"], ["user"]),
    ],
)  # fmt: skip
def test_the_order_of_containers(
    wish: dict[str, str], containers: list[str], inits: list[str]
) -> None:
    template = annotated(**wish)
    template["spec"]["initContainers"] = [{"name": "user"}]
    made = inject(template)
    assert names(made, "containers") == containers
    assert names(made, "initContainers") == inits


def test_a_native_sidecar_keeps_running_and_a_held_application_waits() -> None:
    native = container(inject(annotated(NATIVE_SIDECAR="true")), "istio-proxy")
    assert native["restartPolicy"] == "Always"
    held = container(inject(annotated(PROXY_CONFIG='{"holdApplicationUntilProxyStarts": true}')),
                     "istio-proxy")  # fmt: skip
    assert held["lifecycle"]["postStart"]["exec"]["command"] == ["pilot-agent", "wait"]


def test_exclusions_become_arguments_of_the_iptables_program() -> None:
    made = inject(annotated(
        EXCLUDE_INBOUND_PORTS="9090, 15020", EXCLUDE_OUTBOUND_PORTS="3306",
        INCLUDE_OUTBOUND_PORTS="80", EXCLUDE_OUTBOUND_CIDRS="10.0.0.0/8",
        INCLUDE_OUTBOUND_CIDRS="", EXCLUDE_INTERFACES="eth1", KUBEVIRT_INTERFACES="tap0",
        INCLUDE_INBOUND_PORTS="80,81",
    ))  # fmt: skip
    command = container(made, "istio-init")["command"][1:]
    flags = dict(zip(command[::2], command[1::2], strict=True))
    assert flags == {
        "-p": "15001", "-z": "15006", "-u": "1337", "-m": "REDIRECT", "-i": "",
        "-x": "10.0.0.0/8", "-b": "80,81", "-d": "15090,15021,15020,9090", "-q": "80",
        "-o": "3306", "-k": "tap0", "-c": "eth1",
    }  # fmt: skip


def test_any_resource_annotation_drops_all_default_resources() -> None:
    made = inject(annotated(PROXY_CPU="100m"))
    assert container(made, "istio-proxy")["resources"] == {"requests": {"cpu": "100m"}}


def test_a_users_own_proxy_container_wins_over_ours() -> None:
    own = {
        "name": "istio-proxy", "image": "auto", "resources": {"limits": {"cpu": "9"}},
        "env": [{"name": "TRUST_DOMAIN", "value": "td"}, {"name": "MORE", "value": "x"}],
        "volumeMounts": [{"name": "mine", "mountPath": "/mine"}],
    }  # fmt: skip
    made = inject({"spec": {"containers": [own, {"name": "app"}]}})
    proxy = container(made, "istio-proxy")
    assert proxy["image"] == contract.PROXY_IMAGE
    assert proxy["resources"]["limits"] == {"cpu": "9", "memory": "1Gi"}
    env = {e["name"]: e.get("value") for e in proxy["env"]}
    assert (env["TRUST_DOMAIN"], env["MORE"], env["ISTIO_META_CLUSTER_ID"]) == (
        "td",
        "x",
        "Kubernetes",
    )
    assert len(proxy["volumeMounts"]) == 5
    assert names(made, "containers") == ["app", "istio-proxy"]
    assert inject(made) == made


def test_probes_go_through_the_agent_and_named_ports_are_resolved() -> None:
    app = {
        "name": "app",
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/r", "port": "web"}, "timeoutSeconds": 3},
        "livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 5},
        "startupProbe": {"grpc": {"port": 9000, "service": "s"}},
    }
    made = inject({"spec": {"containers": [app, {"name": "e", "livenessProbe": {"exec": {}}}]}})
    changed = container(made, "app")
    for probe, end in probes.PATHS.items():
        assert changed[probe]["httpGet"] == {"path": end.format("app"), "port": 15020}
    assert changed["livenessProbe"]["periodSeconds"] == 5
    env = {e["name"]: e.get("value") for e in container(made, "istio-proxy")["env"]}
    assert json.loads(env["ISTIO_KUBE_APP_PROBERS"]) == {
        "/app-health/app/readyz": {"httpGet": {"path": "/r", "port": 8080}, "timeoutSeconds": 3},
        "/app-health/app/livez": {"tcpSocket": {"port": 8080}},
        "/app-health/app/startupz": {"grpc": {"port": 9000, "service": "s"}},
    }
    assert container(made, "e")["livenessProbe"] == {"exec": {}}


def test_lifecycle_hooks_over_http_go_through_the_agent_and_commands_stay() -> None:
    hooks = {"preStop": {"httpGet": {"path": "/bye", "port": 8080}}, "postStart": {"exec": {}}}
    made = inject({"spec": {"containers": [{"name": "app", "lifecycle": hooks}]}})
    changed = container(made, "app")["lifecycle"]
    assert changed["preStop"] == {"httpGet": {"path": "/app-lifecycle/app/prestopz", "port": 15020}}
    assert changed["postStart"] == {"exec": {}}
    assert inject(made) == made
    assert uninject.strip(made)["spec"]["containers"][0]["lifecycle"] == hooks


def test_probes_stay_when_asked_or_when_they_ask_elsewhere() -> None:
    probe = {"httpGet": {"port": 80}}
    template = annotated(REWRITE_PROBES="false")
    template["spec"]["containers"][0]["livenessProbe"] = probe
    assert container(inject(template), "app")["livenessProbe"] == probe
    for target in ({"port": "unknown"}, {"port": 15020}, {"port": 80, "host": "10.0.0.1"}):
        app = {"name": "app", "livenessProbe": {"httpGet": target}}
        assert container(inject({"spec": {"containers": [app]}}), "app") == app


def test_labels_and_annotations_that_a_mesh_reader_looks_for() -> None:
    metadata = inject(pod())["metadata"]
    assert metadata["labels"] == {
        "app": "web",
        "service.istio.io/canonical-name": "web",
        "service.istio.io/canonical-revision": "latest",
    }
    assert metadata["annotations"]["kubectl.kubernetes.io/default-container"] == "app"
    assert metadata["annotations"]["prometheus.io/port"] == "15020"
    status = json.loads(metadata["annotations"][contract.STATUS_ANNOTATION])
    assert (status["initContainers"], status["containers"]) == (["istio-init"], ["istio-proxy"])


def test_a_user_of_the_proxys_own_uid_is_warned() -> None:
    result = injection.inject(pod(securityContext={"runAsUser": 1337}), "d", OWNER, Settings())
    assert "runs as 1337" in result.warnings[0]
