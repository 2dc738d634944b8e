"""Whatever makes pods can be injected: a Pod itself, and each kind that holds the template of one.
The sidecar goes into the pod, wherever in the manifest that stands.

One kind has a well-known trouble. A Job is complete when every container of its pod has ended,
and a proxy never ends by itself. As a native sidecar it does not count, and the Job completes.

What makes no pods is not touched: a Service, a Secret and a ConfigMap come out of `kube-inject`
byte for byte as they went in.
"""

from collections.abc import Callable, Iterator
from typing import Any

from lab.mesh.contract import AGENT_PORT, INIT_CONTAINER, PROXY_CONTAINER
from lab.scenario import Chapter, Seen, World, consistently, eventually, expect
from scenarios import application

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
    """A small manifest of each kind; the Secret and the ConfigMap are in the cluster already."""
    for file in FILES:
        world.take(f"kinds/{file}")
    world.kubectl("apply", "-f", "secret.yaml", "-f", "configmap.yaml")


# --- what makes pods ---------------------------------------------------------------------


def _is_injected(world: World, app: str) -> None:
    (pod,) = world.ready(f"app={app}", within=30)
    expect(pod.ready, "READY").equal("2/2")
    expect({one.name for one in pod.containers()}, "containers").equal({"nginx", PROXY_CONTAINER})
    expect(pod.init(INIT_CONTAINER).exit_code, "exit code of istio-init").equal(0)


def _replace(world: World, file: str, manifest: str) -> None:
    """Delete what `file` describes, its pods too, and apply `manifest`."""
    world.kubectl("delete", "-f", file, "--cascade=foreground", "--timeout=45s")
    world.apply(manifest)


def _plain_instead(kind: str) -> Callable[[World], Iterator[None]]:
    def instead(world: World) -> Iterator[None]:
        file, app = f"{kind}.yaml", f"app=kind-{kind}"
        _replace(world, file, world.read(file))
        world.ready(app)
        yield
        _replace(world, file, application.kube_inject(world, file))
        world.ready(app)

    instead.__doc__ = f"The {kind} as its manifest says, without a sidecar; then injected again."
    return instead


INSTEAD = "the plain manifest was applied in its place"


@chapter.step(
    "{cli} kube-inject -f pod.yaml | kubectl apply -n {ns} -f -",
    "kubectl wait --for=condition=Ready pod/kind-pod -n {ns} --timeout=45s",
    "kubectl get po -n {ns} -l app=kind-pod",
    shows=["pod/kind-pod created", "", ""],
    proves=14,
)
def a_pod(world: World, seen: Seen) -> None:
    """The plainest kind: the manifest is the pod. istio-init has ended with exit code 0, nginx
    and istio-proxy are Ready.
    """
    _is_injected(world, "kind-pod")


a_pod.breaks(INSTEAD, rerun=False)(_plain_instead("pod"))


@chapter.step(
    "{cli} kube-inject -f replicaset.yaml | kubectl apply -n {ns} -f -",
    "kubectl wait --for=jsonpath='{.status.readyReplicas}'=1 rs/kind-replicaset -n {ns} "
    "--timeout=45s",
    "kubectl get po -n {ns} -l app=kind-replicaset",
    shows=["replicaset.apps/kind-replicaset created", "", ""],
    proves=14,
)
def a_replicaset(world: World, seen: Seen) -> None:
    """A ReplicaSet keeps a number of pods of one template; the sidecar went into the template."""
    _is_injected(world, "kind-replicaset")


a_replicaset.breaks(INSTEAD, rerun=False)(_plain_instead("replicaset"))


@chapter.step(
    "{cli} kube-inject -f daemonset.yaml | kubectl apply -n {ns} -f -",
    "kubectl rollout status daemonset/kind-daemonset -n {ns} --timeout=45s",
    "kubectl get po -n {ns} -l app=kind-daemonset",
    shows=["daemonset.apps/kind-daemonset created", "", ""],
    proves=14,
)
def a_daemonset(world: World, seen: Seen) -> None:
    """A DaemonSet has one pod on each node. The lab has one node, so this is one pod."""
    _is_injected(world, "kind-daemonset")


a_daemonset.breaks(INSTEAD, rerun=False)(_plain_instead("daemonset"))


@chapter.step(
    "{cli} kube-inject -f deployment.yaml | kubectl apply -n {ns} -f -",
    "kubectl rollout status deployment/kind-deployment -n {ns} --timeout=45s",
    "kubectl get po -n {ns} -l app=kind-deployment",
    shows=["deployment.apps/kind-deployment created", "", ""],
    proves=14,
)
def a_deployment(world: World, seen: Seen) -> None:
    """A Deployment makes a ReplicaSet, which makes the pod: the sidecar comes along."""
    _is_injected(world, "kind-deployment")


a_deployment.breaks(INSTEAD, rerun=False)(_plain_instead("deployment"))


# --- Jobs --------------------------------------------------------------------------------


def _complete(world: World, job: str) -> bool:
    conditions = world.json("get", "job", job)["status"].get("conditions") or ()
    return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)


def _work_ended(world: World, app: str) -> None:
    eventually(
        lambda: world.pod(f"app={app}").container("work").done, "the work has ended", within=30
    )


@chapter.step(
    "{cli} kube-inject -f job.yaml | kubectl apply -n {ns} -f -",
    "kubectl wait --for=create pod -l app=kind-job -n {ns} --timeout=45s",
    """kubectl wait pod -l app=kind-job -n {ns} --timeout=45s --for=jsonpath='"""
    """{.status.containerStatuses[?(@.name=="work")].state.terminated.exitCode}'=0""",
    """kubectl wait pod -l app=kind-job -n {ns} --timeout=45s --for=jsonpath='"""
    """{.status.containerStatuses[?(@.name=="istio-proxy")].ready}'=true""",
    "kubectl get po -n {ns} -l app=kind-job",
    "kubectl get job -n {ns} kind-job",
    shows=["job.batch/kind-job created", "", "", "", "", ""],
    proves=14,
)
def a_job_that_never_completes(world: World, seen: Seen) -> None:
    """The Job's trouble: its work is done and has ended with 0, but the pod is not done, for
    istio-proxy goes on: READY stays at 1/2. Kubernetes waits for every container, so the Job
    never completes.
    """
    expect([row["READY"] for row in seen[-2].rows], "READY").equal(["1/2"])
    expect([row["COMPLETIONS"] for row in seen.rows], "COMPLETIONS of the Job").equal(["0/1"])
    pod = world.pod("app=kind-job")
    expect(pod.init(INIT_CONTAINER).exit_code, "exit code of istio-init").equal(0)
    expect(pod.container("work").exit_code, "exit code of the work").equal(0)

    def stuck() -> object:
        expect(pod.container(PROXY_CONTAINER).state, "istio-proxy").equal("running")
        return expect(_complete(world, "kind-job"), "whether the Job is complete").equal(False)

    consistently(stuck, "the work is done, istio-proxy runs, the Job is not complete", during=3)


@a_job_that_never_completes.breaks("somebody tells the proxy to quit", rerun=False)
def a_proxy_that_quits(world: World) -> Iterator[None]:
    """A request to the agent's `/quitquitquit`; then the Job made anew."""
    quit_url = f"http://127.0.0.1:{AGENT_PORT}/quitquitquit"
    pod = world.pod("app=kind-job")
    world.kubectl(
        "exec", pod.name, "-c", PROXY_CONTAINER, "--", "curl", "-s", "-X", "POST", quit_url
    )
    world.kubectl("wait", "--for=condition=complete", "job/kind-job", "--timeout=45s")
    yield
    _replace(world, "job.yaml", application.kube_inject(world, "job.yaml"))
    _work_ended(world, "kind-job")


@chapter.step(
    "{cli} kube-inject -f job-native.yaml | kubectl apply -n {ns} -f -",
    "kubectl wait --for=condition=complete job/kind-job-native -n {ns} --timeout=30s",
    "kubectl get po -n {ns} -l app=kind-job-native",
    "kubectl get job -n {ns} kind-job-native",
    shows=[
        "job.batch/kind-job-native created",
        "job.batch/kind-job-native condition met",
        "",
        "",
    ],
    proves=14,
)
def a_native_sidecar_lets_it_complete(world: World, seen: Seen) -> None:
    """The cure: with the annotation `sidecar.istio.io/nativeSidecar: "true"` istio-proxy becomes
    an init container with `restartPolicy: Always`. It runs beside the work, and Kubernetes ends
    it when the work has ended. The Job completes.
    """
    expect([row["COMPLETIONS"] for row in seen.rows], "COMPLETIONS of the Job").equal(["1/1"])
    pod = world.pod("app=kind-job-native")
    expect(_complete(world, "kind-job-native"), "whether the Job is complete").equal(True)
    expect([one.name for one in pod.containers()], "containers").equal(["work"])
    expect(pod.container("work").exit_code, "exit code of the work").equal(0)
    proxy = pod.container(PROXY_CONTAINER)
    expect(proxy, "istio-proxy").satisfies("is a native sidecar", lambda one: one.sidecar)
    expect(proxy.state, "istio-proxy's state").equal("terminated")


@a_native_sidecar_lets_it_complete.breaks("the Job has a classic sidecar", rerun=False)
def a_classic_sidecar(world: World) -> Iterator[None]:
    """The other Job under this one's name, until its work has ended; then the native one."""
    classic = world.read("job.yaml").replace("kind-job", "kind-job-native")
    _replace(world, "job-native.yaml", application.kube_inject(world, "-", classic))
    _work_ended(world, "kind-job-native")
    yield
    _replace(world, "job-native.yaml", application.kube_inject(world, "job-native.yaml"))
    world.kubectl("wait", "--for=condition=complete", "job/kind-job-native", "--timeout=45s")


# --- what makes no pods ------------------------------------------------------------------


def _untouched(world: World, file: str, injected: str, kind: str) -> None:
    before, after = ((world.workdir / name).read_bytes() for name in (file, injected))
    expect(before, file).contains(f"kind: {kind}\n".encode())
    whole = before + world.mesh.after_untouched
    expect(after, f"{injected}, byte for byte").equal(whole)


def _a_pod_in(file: str) -> Callable[[World], Iterator[None]]:
    def instead(world: World) -> Iterator[None]:
        before = world.read(file)
        world.write(file, f"{before.rstrip().removesuffix('...')}\n---\n{world.read('pod.yaml')}")
        yield
        world.write(file, before)

    instead.__doc__ = f"The manifest of a Pod added to {file}, and taken out again."
    return instead


@chapter.step(
    "kubectl expose deployment kind-deployment --name=jiuxi --port=80 -n {ns}",
    "kubectl get svc -n {ns} jiuxi -o yaml > jiuxi-svc.yaml",
    shows=["service/jiuxi exposed", ""],
    proves=15,
)
def a_service_is_exposed(world: World, seen: Seen) -> None:
    """`kubectl expose` makes a Service from a Deployment: it takes the selector from it, and so
    it finds the injected pod as it would have found the plain one.
    """
    made: Any = seen.last.documents()[0]
    expect((made["kind"], made["metadata"]["name"]), "jiuxi-svc.yaml").equal(("Service", "jiuxi"))
    spec = world.json("get", "svc", "jiuxi")["spec"]
    expect(spec["selector"], "the Service's selector").equal({"app": "kind-deployment"})
    expect([one["port"] for one in spec["ports"]], "the Service's ports").equal([80])
    address = world.pod("app=kind-deployment").ip

    def found() -> object:
        slices = world.json("get", "endpointslices", "-l", "kubernetes.io/service-name=jiuxi")
        behind = {
            one
            for part in slices["items"]
            for endpoint in part.get("endpoints") or ()
            for one in endpoint["addresses"]
        }
        return expect(behind, "addresses behind the Service").equal({address})

    eventually(found, within=5)


@a_service_is_exposed.breaks("the Service selects other pods", rerun=False)
def another_selector(world: World) -> Iterator[None]:
    """Its selector set to `app: nobody`, and back."""

    def select(app: str) -> None:
        world.kubectl("patch", "svc", "jiuxi", "-p", f'{{"spec":{{"selector":{{"app":"{app}"}}}}}}')

    select("nobody")
    yield
    select("kind-deployment")


@chapter.step(
    "{cli} kube-inject -f jiuxi-svc.yaml -o jiuxi-svc-inject.yaml",
    "{cli} kube-inject -f service.yaml -o service-inject.yaml",
    proves=15,
)
def a_service_is_not_touched(world: World, seen: Seen) -> None:
    """A Service makes no pods, so there is nothing to inject. The one from the cluster and one
    that a person wrote, comments and blanks included, come out byte for byte.
    """
    _untouched(world, "jiuxi-svc.yaml", "jiuxi-svc-inject.yaml", "Service")
    _untouched(world, "service.yaml", "service-inject.yaml", "Service")


a_service_is_not_touched.breaks("a Pod stands in the file from the cluster")(
    _a_pod_in("jiuxi-svc.yaml")
)
a_service_is_not_touched.breaks("a Pod stands in the written file")(_a_pod_in("service.yaml"))


@chapter.step(
    "kubectl get secret -n {ns} kind-secret -o yaml > jiuxi-secret.yaml",
    "{cli} kube-inject -f jiuxi-secret.yaml -o jiuxi-secret-inject.yaml",
    "{cli} kube-inject -f secret.yaml -o secret-inject.yaml",
    proves=15,
)
def a_secret_is_not_touched(world: World, seen: Seen) -> None:
    """The same for a Secret: from the cluster, and as written, with its odd indentation."""
    _untouched(world, "jiuxi-secret.yaml", "jiuxi-secret-inject.yaml", "Secret")
    _untouched(world, "secret.yaml", "secret-inject.yaml", "Secret")


a_secret_is_not_touched.breaks("a Pod stands in the written file")(_a_pod_in("secret.yaml"))


@chapter.step(
    "kubectl get cm -n {ns} kind-configmap -o yaml > jiuxi-configmap.yaml",
    "{cli} kube-inject -f jiuxi-configmap.yaml -o jiuxi-configmap-inject.yaml",
    "{cli} kube-inject -f configmap.yaml -o configmap-inject.yaml",
    proves=15,
)
def a_configmap_is_not_touched(world: World, seen: Seen) -> None:
    """And for a ConfigMap, even one whose data holds a text that looks like a Pod: it is data."""
    _untouched(world, "jiuxi-configmap.yaml", "jiuxi-configmap-inject.yaml", "ConfigMap")
    _untouched(world, "configmap.yaml", "configmap-inject.yaml", "ConfigMap")


a_configmap_is_not_touched.breaks("a Pod stands in the written file")(_a_pod_in("configmap.yaml"))
