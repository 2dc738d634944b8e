"""Whatever makes pods can be injected: a Pod itself, and each kind that holds the template of one.
The sidecar goes into the pod, wherever in the manifest that stands.

One kind has a well-known trouble. A Job is complete when every container of its pod has ended,
and a proxy never ends by itself. As a native sidecar it does not count, and the Job completes.

What makes no pods is not touched: a Service, a Secret and a ConfigMap come out of `kube-inject`
byte for byte as they went in.
"""

from typing import Any

from lab.mesh.contract import INIT_CONTAINER, PROXY_CONTAINER
from lab.scenario import Chapter, Seen, World, expect
from scenarios import kinds

chapter = Chapter(7, "Kinds of resources", namespace="jiuxi-kinds", prose=__doc__)

FILES = (
    "pod.yaml",
    "replicaset.yaml",
    "daemonset.yaml",
    "deployment.yaml",
    "job.yaml",
    "job-native.yaml",
    "service.yaml",
    "secret.yaml",
    "configmap.yaml",
)


@chapter.given
def the_manifests(world: World) -> None:
    """Copy a small manifest of each kind of object; apply the Secret and the ConfigMap."""
    for file in FILES:
        world.take(f"kinds/{file}")
    world.kubectl("apply", "-f", "secret.yaml", "-f", "configmap.yaml")


# --- what makes pods ---------------------------------------------------------------------


CONTAINERS = (
    " -o 'custom-columns=POD:.metadata.name,INIT:.spec.initContainers[*].name,"
    "EXIT:.status.initContainerStatuses[*].state.terminated.exitCode,"
    "CONTAINERS:.spec.containers[*].name'"
)


INSTEAD = "the plain manifest was applied in its place"


@chapter.step(
    "{cli} kube-inject -f pod.yaml | kubectl apply -n {ns} -f -",
    "kubectl wait --for=condition=Ready pod/kind-pod -n {ns} --timeout=45s",
    "kubectl get po -n {ns} -l app=kind-pod",
    f"kubectl get po -n {{ns}} -l app=kind-pod{CONTAINERS}",
    acts=[0, 1],
    proves=14,
)
def a_pod(world: World, seen: Seen) -> None:
    """The plainest kind: the manifest is the pod. istio-init has ended with exit code 0, nginx
    and istio-proxy are Ready.
    """
    kinds.is_injected(world, "kind-pod")


a_pod.breaks(INSTEAD, rerun=False)(kinds.plain_instead("pod"))


@chapter.step(
    "{cli} kube-inject -f replicaset.yaml | kubectl apply -n {ns} -f -",
    "kubectl wait --for=jsonpath='{.status.readyReplicas}'=1 rs/kind-replicaset -n {ns} "
    "--timeout=45s",
    "kubectl get po -n {ns} -l app=kind-replicaset",
    f"kubectl get po -n {{ns}} -l app=kind-replicaset{CONTAINERS}",
    acts=[0, 1],
    proves=14,
)
def a_replicaset(world: World, seen: Seen) -> None:
    """A ReplicaSet keeps a number of pods of one template; the sidecar went into the template."""
    kinds.is_injected(world, "kind-replicaset")


a_replicaset.breaks(INSTEAD, rerun=False)(kinds.plain_instead("replicaset"))


@chapter.step(
    "{cli} kube-inject -f daemonset.yaml | kubectl apply -n {ns} -f -",
    "kubectl rollout status daemonset/kind-daemonset -n {ns} --timeout=45s",
    "kubectl get po -n {ns} -l app=kind-daemonset",
    f"kubectl get po -n {{ns}} -l app=kind-daemonset{CONTAINERS}",
    acts=[0, 1],
    proves=14,
)
def a_daemonset(world: World, seen: Seen) -> None:
    """A DaemonSet has one pod on each node. The lab has one node, so this is one pod."""
    kinds.is_injected(world, "kind-daemonset")


a_daemonset.breaks(INSTEAD, rerun=False)(kinds.plain_instead("daemonset"))


@chapter.step(
    "{cli} kube-inject -f deployment.yaml | kubectl apply -n {ns} -f -",
    "kubectl rollout status deployment/kind-deployment -n {ns} --timeout=45s",
    "kubectl get po -n {ns} -l app=kind-deployment",
    f"kubectl get po -n {{ns}} -l app=kind-deployment{CONTAINERS}",
    acts=[0, 1],
    proves=14,
)
def a_deployment(world: World, seen: Seen) -> None:
    """A Deployment makes a ReplicaSet, which makes the pod: the sidecar comes along."""
    kinds.is_injected(world, "kind-deployment")


a_deployment.breaks(INSTEAD, rerun=False)(kinds.plain_instead("deployment"))


# --- Jobs --------------------------------------------------------------------------------


@chapter.step(
    "{cli} kube-inject -f job.yaml | kubectl apply -n {ns} -f -",
    "kubectl wait --for=create pod -l app=kind-job -n {ns} --timeout=45s",
    """kubectl wait pod -l app=kind-job -n {ns} --timeout=45s --for=jsonpath='"""
    """{.status.containerStatuses[?(@.name=="work")].state.terminated.exitCode}'=0""",
    """kubectl wait pod -l app=kind-job -n {ns} --timeout=45s --for=jsonpath='"""
    """{.status.containerStatuses[?(@.name=="istio-proxy")].ready}'=true""",
    "kubectl get po -n {ns} -l app=kind-job",
    "kubectl get job -n {ns} kind-job",
    "kubectl wait --for=condition=complete job/kind-job -n {ns} --timeout=3s",
    acts=[0, 1, 2, 3],
    allow_exit=[1],
    proves=14,
)
def a_job_that_never_completes(world: World, seen: Seen) -> None:
    """The Job's trouble: its work is done and has ended with 0, but the pod is not done, for
    istio-proxy goes on: READY stays at 1/2. Kubernetes waits for every container, so the Job
    never completes: nor does it in the three seconds that `kubectl wait` gives it here.
    """
    expect([row["READY"] for row in seen[4].rows], "READY").equal(["1/2"])
    expect([row["COMPLETIONS"] for row in seen[5].rows], "COMPLETIONS of the Job").equal(["0/1"])
    expect(seen[6].text, "what `kubectl wait` says").contains("timed out waiting")
    pod = world.pod("app=kind-job")
    expect(kinds.ended(pod), "the init containers' exit codes").equal({INIT_CONTAINER: 0})
    kinds.expect_good_work(pod)
    states = {container.name: container.state for container in pod.containers()}
    expect(states, "the containers' states").equal(
        {"work": "terminated", PROXY_CONTAINER: "running"}
    )
    expect(kinds.complete(world, "kind-job"), "the Job's condition Complete").equal(None)


a_job_that_never_completes.breaks("somebody tells the proxy to quit")(kinds.a_proxy_that_quits)


a_job_that_never_completes.breaks("the Job is a plain one, and its work fails")(
    kinds.work_that_fails
)


@chapter.step(
    "{cli} kube-inject -f job-native.yaml | kubectl apply -n {ns} -f -",
    "kubectl wait --for=condition=complete job/kind-job-native -n {ns} --timeout=30s",
    "kubectl get po -n {ns} -l app=kind-job-native",
    f"kubectl get po -n {{ns}} -l app=kind-job-native{CONTAINERS}",
    "kubectl get job -n {ns} kind-job-native",
    acts=[0, 1],
    proves=14,
)
def a_native_sidecar_lets_it_complete(world: World, seen: Seen) -> None:
    """The cure: with the annotation `sidecar.istio.io/nativeSidecar: "true"` istio-proxy becomes
    an init container with `restartPolicy: Always`. It runs beside the work, and Kubernetes ends
    it when the work has ended. The Job completes.
    """
    expect([row["COMPLETIONS"] for row in seen.rows], "COMPLETIONS of the Job").equal(["1/1"])
    pod = world.pod("app=kind-job-native")
    expect(kinds.complete(world, "kind-job-native"), "the Job's condition Complete").equal("true")
    expect([container.name for container in pod.containers()], "the containers").equal(["work"])
    kinds.expect_good_work(pod)
    natives = {init.name: init.state for init in pod.inits() if init.sidecar}
    expect(natives, "the native sidecars' states").equal({PROXY_CONTAINER: "terminated"})


a_native_sidecar_lets_it_complete.breaks("the Job has a classic sidecar, and its work fails")(
    kinds.a_classic_sidecar
)


# --- what makes no pods ------------------------------------------------------------------


@chapter.step(
    "kubectl expose deployment kind-deployment --name=jiuxi --port=80 -n {ns}",
    "kubectl get svc -n {ns} jiuxi -o yaml > jiuxi-svc.yaml",
    "kubectl get svc -n {ns} jiuxi -o wide",
    "kubectl get endpointslices -n {ns} -l kubernetes.io/service-name=jiuxi",
    "kubectl get po -n {ns} -l app=kind-deployment -o wide",
    acts=[0],
    shows=(
        "",
        "",
        "",
        """
        NAME ADDRESSTYPE PORTS ENDPOINTS AGE
        jiuxi-<hash> IPv4 80 <ip> <age>
        """,
        "",
    ),
    waits={3: 5},
    proves=15,
)
def a_service_is_exposed(world: World, seen: Seen) -> None:
    """`kubectl expose` makes a Service from a Deployment: it takes the selector from it, and so
    it finds the injected pod as it would have found the plain one.
    """
    service: Any = seen[1].documents()[0]
    expect(service["spec"]["selector"], "the Service's selector").equal({"app": "kind-deployment"})
    expect([port["port"] for port in service["spec"]["ports"]], "the Service's ports").equal([80])
    behind = {address for row in seen[3].rows for address in row["ENDPOINTS"].split(",")}
    expect(behind, "the addresses behind the Service").equal({world.pod("app=kind-deployment").ip})


a_service_is_exposed.breaks("the Service selects other pods, at another port")(
    kinds.another_selector
)


@chapter.step(
    "{cli} kube-inject -f jiuxi-svc.yaml -o jiuxi-svc-inject.yaml",
    "cmp jiuxi-svc.yaml jiuxi-svc-inject.yaml",
    "{cli} kube-inject -f service.yaml -o service-inject.yaml",
    "cmp service.yaml service-inject.yaml",
    allow_exit=[1],
    proves=15,
)
def a_service_is_not_touched(world: World, seen: Seen) -> None:
    """A Service makes no pods, so there is nothing to inject. The one from the cluster and one
    that a person wrote, comments and blanks included, come out byte for byte: `cmp` finds nothing
    to say.
    """
    kinds.untouched(world, "jiuxi-svc.yaml", "jiuxi-svc-inject.yaml", "Service")
    kinds.untouched(world, "service.yaml", "service-inject.yaml", "Service")


a_service_is_not_touched.breaks("a Pod stands in each file, too")(
    kinds.with_a_pod("jiuxi-svc.yaml", "service.yaml")
)


@chapter.step(
    "kubectl get secret -n {ns} kind-secret -o yaml > jiuxi-secret.yaml",
    "{cli} kube-inject -f jiuxi-secret.yaml -o jiuxi-secret-inject.yaml",
    "cmp jiuxi-secret.yaml jiuxi-secret-inject.yaml",
    "{cli} kube-inject -f secret.yaml -o secret-inject.yaml",
    "cmp secret.yaml secret-inject.yaml",
    acts=[0],
    allow_exit=[1],
    proves=15,
)
def a_secret_is_not_touched(world: World, seen: Seen) -> None:
    """The same for a Secret: from the cluster, and as written, with its odd indentation."""
    kinds.untouched(world, "jiuxi-secret.yaml", "jiuxi-secret-inject.yaml", "Secret")
    kinds.untouched(world, "secret.yaml", "secret-inject.yaml", "Secret")


a_secret_is_not_touched.breaks("a Pod stands in each file, too")(
    kinds.with_a_pod("jiuxi-secret.yaml", "secret.yaml")
)


@chapter.step(
    "kubectl get cm -n {ns} kind-configmap -o yaml > jiuxi-configmap.yaml",
    "{cli} kube-inject -f jiuxi-configmap.yaml -o jiuxi-configmap-inject.yaml",
    "cmp jiuxi-configmap.yaml jiuxi-configmap-inject.yaml",
    "{cli} kube-inject -f configmap.yaml -o configmap-inject.yaml",
    "cmp configmap.yaml configmap-inject.yaml",
    acts=[0],
    allow_exit=[1],
    proves=15,
)
def a_configmap_is_not_touched(world: World, seen: Seen) -> None:
    """And for a ConfigMap, even one whose data holds a text that looks like a Pod: it is data."""
    kinds.untouched(world, "jiuxi-configmap.yaml", "jiuxi-configmap-inject.yaml", "ConfigMap")
    kinds.untouched(world, "configmap.yaml", "configmap-inject.yaml", "ConfigMap")


a_configmap_is_not_touched.breaks("a Pod stands in each file, too")(
    kinds.with_a_pod("jiuxi-configmap.yaml", "configmap.yaml")
)
