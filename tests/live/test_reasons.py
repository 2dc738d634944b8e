"""Each reason for a difference from Istio, asked of the program that it speaks of.

A reason that says what kubectl, an API server, kubelet or Istio do is shown by them; one that only
says what this mesh is meant to be has no other program to ask, and is listed as such.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from lab.cluster import state
from lab.cluster.images.istio_programs import IstioBinaries, istio_binaries
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.mesh import contract
from lab.mesh.injector.settings import annotations as names
from lab.mesh.manifest import yaml_reader
from lab.mesh.workloads import WORKLOADS
from lab.paths import lab_paths
from lab.progress import Quiet
from tests.live.chosen import NAME
from tests.peers.injection_accepted import ROWS
from tests.peers.istioctl import Answer, Injector
from tests.peers.pods import pod

pytestmark = pytest.mark.live

SPACE: Final = "reasons"
RESTRICTED: Final = "reasons-restricted"
"""Namespaces of these tests; the second takes only pods of the restricted level."""
Object = dict[str, Any]


class World(NamedTuple):
    """The programs to ask: an API server with its kubectl, and Istio's."""

    kubectl: list[str]
    api: KubeApi
    injector: Injector
    istio: IstioBinaries

    def kube(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """kubectl in the tests' namespace."""
        return subprocess.run(
            [*self.kubectl, *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def inside(self, container: str, command: str) -> subprocess.CompletedProcess[str]:
        """A shell's command in the pod that runs."""
        where = ("claims", "-n", "default", "-c", container)
        return self.kube("exec", *where, "--", "sh", "-c", command)

    def refused(self, value: Object, space: str = SPACE) -> str:
        """What the API server says against an object, "" when it would take it."""
        workload = WORKLOADS[value["kind"]]
        path = f"{workload.api}/namespaces/{space}/{workload.plural}?dryRun=All"
        try:
            self.api.request("POST", path, value)
        except ApiError as error:
            return error.message
        return ""

    def asked(self, value: Object | str) -> Answer:
        """What istioctl kube-inject answers."""
        text = value if isinstance(value, str) else json.dumps(value)
        return self.injector.inject(text.encode())

    def theirs(self, value: Object) -> Object:
        """The object that istioctl makes of one."""
        answer = self.asked(value)
        assert answer.refusal is None
        made: Object = yaml_reader.read(answer.output.partition("\n---")[0]).value
        return made


def proxy(value: Object) -> Object:
    spec = value["spec"]
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    spec = spec.get("template", {}).get("spec", spec)
    both = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    return next(one for one in both if one["name"] == contract.PROXY_CONTAINER)


def is_injected(value: Object) -> bool:
    return '"name": "istio-proxy"' in json.dumps(value)


def annotated(name: str, value: str) -> Object:
    return pod(annotations={name: value})


def workload(kind: str, **more: Any) -> Object:
    one = WORKLOADS[kind]
    value: Object = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": "nginx"}], "restartPolicy": "Always"},
    }
    for key in reversed(one.template):
        value = {key: value}
    value["spec"] |= {"selector": {"matchLabels": {"app": "web"}}} if kind != "CronJob" else {}
    value["metadata"] = {"name": "web"}
    return {"apiVersion": one.api_version, "kind": kind, **value, **more}


# --- what Istio's own programs and charts say -----------------------------------------------------


def _told_in_code(world: World) -> None:
    arguments = proxy(world.theirs(pod()))["args"]
    assert not {"--binaryPath", "--configPath", "--discoveryAddress"} & set(arguments)
    program = world.istio.pilot_agent.read_bytes()
    assert b"/usr/local/bin/envoy" in program
    assert b"./etc/istio/proxy" in program


def _levels(world: World) -> None:
    arguments = proxy(world.theirs(pod()))["args"]
    assert "--proxyLogLevel=warning" in arguments
    assert "--proxyComponentLogLevel=misc:error" in arguments
    assert "--log_output_level=default:info" in arguments


def _health_port(world: World) -> None:
    theirs = proxy(world.theirs(pod()))
    assert theirs["readinessProbe"]["httpGet"]["port"] == 15021
    template = world.istio.bootstrap_template.read_text()
    listener = template[template.index("envoy_status_port") :]
    assert '"cluster": "agent"' in listener


def _prometheus(world: World) -> None:
    given = pod(annotations={"prometheus.io/port": "9102"})
    found = world.theirs(given)["metadata"]["annotations"]
    assert found["prometheus.io/port"] == "15020"


def _zeros(world: World) -> None:
    assert world.theirs(workload("DaemonSet"))["status"]["desiredNumberScheduled"] == 0


def _system_namespace(world: World) -> None:
    there = workload("Deployment")
    there["metadata"]["namespace"] = "kube-system"
    assert is_injected(world.theirs(there))
    there["spec"]["template"]["metadata"]["namespace"] = "kube-system"
    assert not is_injected(world.theirs(there))
    assert not is_injected(world.theirs(pod(namespace="kube-system")))


def _cron_declines(world: World) -> None:
    job = workload("CronJob")
    template = job["spec"]["jobTemplate"]
    template["spec"]["template"]["metadata"]["labels"] = {contract.INJECT_POD_LABEL: "false"}
    assert is_injected(world.theirs(job))
    template["metadata"] = {"labels": {contract.INJECT_POD_LABEL: "false"}}
    assert not is_injected(world.theirs(job))


def _cron_annotations(world: World) -> None:
    template = world.theirs(workload("CronJob"))["spec"]["jobTemplate"]
    assert contract.STATUS_ANNOTATION in template["metadata"]["annotations"]
    inside = template["spec"]["template"]["metadata"].get("annotations") or {}
    assert contract.STATUS_ANNOTATION not in inside


def _native_by_chance(world: World) -> None:
    made = world.theirs(annotated(names.NATIVE_SIDECAR, "maybe"))
    assert proxy(made) in made["spec"]["initContainers"]


def _without_slash(world: World) -> None:
    assert proxy(world.theirs(annotated(names.PROXY_IMAGE, "proxy:9")))["image"] != "proxy:9"
    assert proxy(world.theirs(annotated(names.PROXY_IMAGE, "a/b:9")))["image"] == "a/b:9"


def _overrides_where(world: World) -> None:
    own = {"name": contract.PROXY_CONTAINER, "image": "auto", "tty": True}
    given = pod(annotations={names.NATIVE_SIDECAR: "true"})
    given["spec"]["containers"].append(own)
    kept = json.loads(world.theirs(given)["metadata"]["annotations"][names.OVERRIDES])
    assert list(kept) == ["initContainers"]


def _volume_merged(world: World) -> None:
    given = pod({"volumes": [{"name": "istio-envoy", "emptyDir": {"sizeLimit": "5Mi"}}]})
    made = world.theirs(given)["spec"]["volumes"]
    found = next(one for one in made if one["name"] == "istio-envoy")
    assert set(found["emptyDir"]) == {"medium", "sizeLimit"}


def _drain_words(world: World) -> None:
    made = proxy(world.theirs(annotated(names.NATIVE_SIDECAR, "true")))
    command = made["lifecycle"]["preStop"]["exec"]["command"]
    assert command == ["pilot-agent", "request", "--debug-port=15020", "POST", "drain"]


def _port_zero(world: World) -> None:
    given = annotated(names.STATUS_PORT, "0")
    given["spec"]["containers"][0]["livenessProbe"] = {"httpGet": {"port": 80}}
    probe = world.theirs(given)["spec"]["containers"][0]["livenessProbe"]
    assert probe["httpGet"]["port"] == 0


def _foreign_job(world: World) -> None:
    job = {**workload("Job"), "apiVersion": "batch.example.com/v1alpha1"}
    job["spec"]["tasks"] = [{"name": "one"}]
    made = world.theirs(job)
    assert is_injected(made)
    assert "tasks" not in made["spec"]


def _unknown_fields(world: World) -> None:
    made = world.theirs(pod({"notYetKnown": 1}))
    assert is_injected(made)
    assert "notYetKnown" not in made["spec"]


def _templates(world: World) -> None:
    assert world.asked(annotated(names.TEMPLATES, "gateway")).refusal is None


def _windows(world: World) -> None:
    assert world.istio.pilot_agent.read_bytes()[:4] == b"\x7fELF"
    there = pod({"nodeSelector": {"kubernetes.io/os": "windows"}})
    image = proxy(world.theirs(there))["image"]
    assert image == proxy(world.theirs(pod()))["image"]  # the one image that there is


# --- what an API server says ----------------------------------------------------------------------


def _restricted(world: World) -> None:
    said = world.refused(pod(), RESTRICTED)
    assert "restricted" in said
    assert "seccompProfile" in said


def _no_deployment_config(world: World) -> None:
    with pytest.raises(ApiError) as found:
        world.api.request("GET", "/apis/apps.openshift.io/v1")
    assert found.value.status == 404


def _gone(world: World) -> None:
    with pytest.raises(ApiError) as found:
        world.api.request("GET", "/apis/extensions/v1beta1")
    assert found.value.status == 404
    old = json.dumps({**workload("Deployment"), "apiVersion": "extensions/v1beta1"})
    done = world.kube("apply", "--dry-run=server", "-f", "-", text=old)
    assert "no matches for kind" in done.stderr


def _no_template(world: World) -> None:
    bare = workload("Deployment")
    del bare["spec"]["template"]
    assert "spec.template" in world.refused(bare)
    made = world.theirs(bare)["spec"]["template"]["spec"]
    assert [one["name"] for one in made["containers"]] == [contract.PROXY_CONTAINER]


def _budget(world: World) -> None:
    within = pod({"resources": {"limits": {"cpu": "100m"}}})
    within["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "2"}}
    assert "must be less than or equal to pod limits of 100m" in world.refused(within)


def _forgiven(world: World) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {x: '1'}\n"
    twice = text + "  labels: {x: '2'}\n"
    for how in ("apply", "create"):
        taken = world.kube(how, "--dry-run=server", "-o", "json", "-f", "-", text=twice)
        assert taken.returncode == 0
        assert json.loads(taken.stdout)["metadata"]["labels"] == {"x": "2"}
        assert not taken.stderr
        number = world.kube(how, "--dry-run=server", "-f", "-", text=text.replace("'1'", "1"))
        assert number.returncode != 0
        assert "cannot unmarshal number" in number.stderr


def _values(world: World) -> None:
    def with_app(**fields: Any) -> Object:
        given = pod({"volumes": [{"name": "v", "emptyDir": {}}]})
        given["spec"]["containers"][0] |= fields
        return given

    mount = {"name": "v", "mountPath": "/v"}
    limits = {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}
    for given, said in (
        (with_app(resources={"limits": {"cpu": "lots"}}), "quantities must match"),
        (with_app(resources=limits), "must be less than or equal to cpu limit"),
        (with_app(volumeMounts=[mount, mount]), "must be unique"),
        (with_app(volumeMounts=[{**mount, "name": "mine"}]), "Not found"),
        (pod({"volumes": [{"name": "v", "configMap": {"name": ""}}]}), "Required value"),
        (pod({"volumes": [{"name": "v"}, {"name": "v"}]}), "Duplicate value"),
        (pod(annotations={"a": "x" * 262_145}), "Too long"),
        (with_app(livenessProbe={"exec": {"command": ["a"]}, "periodSeconds": -1}), "greater than"),
    ):
        assert said in world.refused(given)
    rules = "*nat\\n-A OUTPUT -p tcp --dport nosuch -j RETURN\\nCOMMIT\\n"
    for command, said in (
        ("envoy --log-level loud -c /dev/null", "loud"),
        ("envoy --component-log-level http -c /dev/null", "component"),
        (f"printf '{rules}' | iptables-restore --test --noflush", "nosuch"),
    ):
        done = world.inside("proxy", command)
        assert done.returncode != 0
        assert said in done.stdout + done.stderr


# --- what kubelet and kubectl do with a pod that runs ---------------------------------------------

_KUBECTL: Final = "kubectl.kubernetes.io/"
RUNNING: Final[Object] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "claims", "labels": {contract.INJECT_POD_LABEL: "false"}},
    "spec": {
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "c", "configMap": {"name": "kube-root-ca.crt"}}],
        "containers": [
            {
                "name": name,
                "image": contract.NGINX_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", f"echo {name} in $OWNER; sleep 3600"],
                "env": [
                    {"name": "SPACE",
                     "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
                    {"name": "OWNER", "value": "namespaces/$(SPACE)/pods"},
                ],
                "volumeMounts": [{"name": "c", "mountPath": "/c"}],
            }
            for name in ("first", "second")
        ]
        + [
            {
                "name": "proxy",
                "image": contract.PROXY_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sleep", "3600"],
                "securityContext": {"runAsUser": 0, "capabilities": {"add": ["NET_ADMIN"]}},
            }
        ],
    },
}  # fmt: skip


def _default_container(world: World, key: str) -> str:
    there = ("pod", "claims", "-n", "default")
    for name in ("default-container", "default-logs-container"):
        world.kube("annotate", *there, f"{_KUBECTL}{name}-")
    world.kube("annotate", *there, f"{_KUBECTL}{key}=second")
    return world.kube("logs", "claims", "-n", "default").stdout


def _logs(world: World) -> None:
    assert _default_container(world, "default-container").startswith("second in")
    assert _default_container(world, "default-logs-container").startswith("first in")


def _owner(world: World) -> None:
    said = world.kube("logs", "claims", "-n", "default", "-c", "first").stdout
    assert said == "first in namespaces/default/pods\n"


def _read_only(world: World) -> None:
    done = world.inside("first", "echo x > /c/new")
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


CHECKS: Final[dict[str, Callable[[World], None]]] = {
    "where the agent is told what": _told_in_code,
    "log levels in words": _levels,
    "health port": _health_port,
    "the pod's own Prometheus": _prometheus,
    "zeros of a status": _zeros,
    "a workload in a system namespace": _system_namespace,
    "a CronJob's pods that decline": _cron_declines,
    "a CronJob's annotations": _cron_annotations,
    "a native sidecar by chance": _native_by_chance,
    "an image without a slash": _without_slash,
    "overrides where they stood": _overrides_where,
    "a volume with our name": _volume_merged,
    "names of the agent's own commands": _drain_words,
    "probes without an agent's port": _port_zero,
    "a custom resource called Job": _foreign_job,
    "fields that are not known": _unknown_fields,
    "templates": _templates,
    "Windows": _windows,
    "least rights": _restricted,
    "DeploymentConfig": _no_deployment_config,
    "an API that is gone": _gone,
    "no template": _no_template,
    "the pod's own budget": _budget,
    "mistakes that a reader forgives": _forgiven,
    "values that the API server or a program would refuse": _values,
    "container of the logs": _logs,
    "owner": _owner,
    "the root is only read": _read_only,
}
OURS_ALONE: Final = frozenset({
    "workload identity", "revocation list", "mutual TLS", "environment of Istio's agent",
    "merging of metrics", "images", "pull policy", "readiness sooner", "smaller requests",
    "status says more", "status lists our volumes", "image: auto is kept", "DNS capture",
    "the rules' log level", "headers of probes", "probes that cannot be handed over",
    "probes of another host are not handed over", "another port of the agent",
})  # fmt: skip
"""Reasons that say what this mesh is or does, and nothing of another program."""


def test_every_reason_of_the_table_is_asked_or_speaks_of_this_mesh_alone() -> None:
    assert {row.name for row in ROWS} == CHECKS.keys() | OURS_ALONE
    assert not CHECKS.keys() & OURS_ALONE


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    now = state.load(lab_paths(NAME))
    kubectl = [now.kubectl, f"--kubeconfig={now.kubeconfig}"]
    binaries = istio_binaries(Quiet())
    injector = Injector(binaries.istioctl, tmp_path_factory.mktemp("istioctl"))
    made = World(kubectl, KubeApi.from_file(Path(now.kubeconfig), timeout=30), injector, binaries)
    try:
        for space in (SPACE, RESTRICTED):
            made.kube("create", "namespace", space)
        level = "pod-security.kubernetes.io/enforce=restricted"
        made.kube("label", "namespace", RESTRICTED, level, "--overwrite")
        made.kube("apply", "-n", "default", "-f", "-", text=json.dumps(RUNNING))
        wanted = ("--for=condition=Ready", "--timeout=60s")
        ready = made.kube("wait", "-n", "default", "pod/claims", *wanted)
        assert ready.returncode == 0, ready.stderr
        yield made
    finally:
        made.api.close()
        made.kube("delete", "namespace", SPACE, RESTRICTED, "--wait=false")
        made.kube("delete", "pod", "claims", "-n", "default", "--wait=false")


@pytest.mark.parametrize("name", CHECKS)
def test_a_reason_is_true_of_the_program_that_it_speaks_of(world: World, name: str) -> None:
    CHECKS[name](world)
