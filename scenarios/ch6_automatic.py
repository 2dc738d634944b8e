"""So far a person ran `kube-inject` and applied what it printed. The same can be left to the
cluster: a namespace with the label `istio-injection=enabled` has the API server ask a webhook
about every new pod, and the webhook answers with what is to be added.

Only pods that are being created are asked about. A label changes no pod that already runs: it
takes effect when the pod is made anew, and so does taking the label off.
"""

import json
from collections.abc import Iterator
from typing import Any

from lab.mesh.contract import (
    INIT_CONTAINER,
    INJECTION_LABEL,
    NGINX_IMAGE,
    PROXY_CONTAINER,
    STATUS_ANNOTATION,
)
from lab.observe.pod import Pod
from lab.scenario import Chapter, Seen, World, eventually, expect
from scenarios import application

chapter = Chapter(
    6,
    "Automatic injection",
    namespace="jiuxi-auto",
    prose=__doc__,
    other_namespaces=("jiuxi-auto-cli",),
)

TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - the beginning of a volume's name
NOWHERE = "docker.io/sidecar-lab/nowhere:lab"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@chapter.given
def a_plain_nginx(world: World) -> None:
    """Apply the plain nginx, while the namespace has no label yet; copy the manifest of a pod."""
    _remember(world, application.plain(world))
    world.take("kinds/pod.yaml")


def _remember(world: World, pod: Pod) -> None:
    world.memory["uid"], world.memory["name"] = pod.uid, pod.name


def _label(world: World) -> None:
    world.kubectl("label", "ns", world.ns, f"{INJECTION_LABEL}=enabled", "--overwrite")


def _unlabel(world: World) -> None:
    world.kubectl("label", "ns", world.ns, f"{INJECTION_LABEL}-")


def _restart(world: World) -> Pod:
    world.kubectl("rollout", "restart", "deployment/jiuxi")
    return application.adopt(world)


NAMES = (
    "kubectl get po -n {ns} -l app=jiuxi -o 'custom-columns=POD:.metadata.name,"
    "INIT:.spec.initContainers[*].name,CONTAINERS:.spec.containers[*].name'"
)


@chapter.step(
    "kubectl get po -n {ns}",
    "kubectl label ns {ns} istio-injection=enabled --overwrite",
    "kubectl get ns {ns} -L istio-injection",
    "kubectl get po -n {ns}",
    acts=[0, 1],
    proves=13,
)
def a_label_leaves_running_pods_alone(world: World, seen: Seen) -> None:
    """The namespace now asks for injection. The pod that runs in it was made before: it is still
    the same pod, with one container.
    """
    (row,) = seen[2].rows
    expect(row["ISTIO-INJECTION"], "the column ISTIO-INJECTION").equal("enabled")
    pod = world.pod(application.APP)
    expect(pod.uid, "the pod's uid").equal(world.memory["uid"], "is what it was")
    expect(pod.ready, "READY").equal("1/1")


@a_label_leaves_running_pods_alone.breaks("the pods are made anew, and the label is gone")
def pods_made_anew(world: World) -> Iterator[None]:
    """Restart the pod in the labelled namespace, so that it is injected, and remove the label.

    Then restart the pod without the label, and label the namespace again.
    """
    _restart(world)
    _unlabel(world)
    yield
    _remember(world, _restart(world))
    _label(world)


@chapter.step(
    NAMES,
    "kubectl rollout restart deployment/jiuxi -n {ns}",
    "kubectl rollout status deployment/jiuxi -n {ns} --timeout=60s",
    "kubectl get po -n {ns}",
    NAMES,
    "kubectl get deployment jiuxi -n {ns} "
    "-o 'custom-columns=TEMPLATE:.spec.template.spec.containers[*].name'",
    acts=[0, 1, 2],
    proves=13,
    hint="`kubectl get events -n jiuxi-auto` shows a webhook that could not be asked",
)
def a_new_pod_is_injected(world: World, seen: Seen) -> None:
    """A restart makes a new pod, and this one comes with a sidecar: READY says 2/2. The
    Deployment's template was not touched: it still names nginx alone. What was changed is the
    pod, on its way into the cluster.
    """
    pod = _the_pod(world, "2/2")
    expect({container.name for container in pod.containers()}, "the containers").equal(
        {"nginx", PROXY_CONTAINER}
    )
    ended = {init.name: init.exit_code for init in pod.inits()}
    expect(ended, "the init containers' exit codes").equal({INIT_CONTAINER: 0})
    expect(pod.annotations, "the names of the pod's annotations").contains(STATUS_ANNOTATION)
    expect([current.name for current in world.pods()], "the pods that are there").lacks(
        world.memory["name"]
    )
    (row,) = seen[5].rows
    expect(row["TEMPLATE"], "the column TEMPLATE").equal("nginx")


def _the_pod(world: World, ready: str) -> Pod:
    """Wait until the Deployment has exactly one pod, with `ready` under READY; return this pod."""

    def only() -> object:
        columns = [pod.ready for pod in world.pods(application.APP)]
        return expect(columns, "READY of the Deployment's pods").equal([ready])

    eventually(only, within=20)
    return world.pod(application.APP)


@a_new_pod_is_injected.breaks("the namespace has lost its label")
def a_namespace_without_its_label(world: World) -> Iterator[None]:
    """Remove the namespace's label and restart the pod; then set the label and restart it again."""
    _unlabel(world)
    _restart(world)
    yield
    _label(world)
    _restart(world)


@a_new_pod_is_injected.breaks("a pod of the old name is there, and the template has a sidecar")
def a_pod_of_before(world: World) -> Iterator[None]:
    """Create a pod with the name of the first pod; add a container to the Deployment's template.

    Then undo both. The rollout is paused meanwhile, so the changed template makes no pod.
    """
    name, deployment = world.memory["name"], ("deployment", "jiuxi", "--type=json", "-p")
    second = {"name": "second", "image": NGINX_IMAGE}
    at = "/spec/template/spec/containers"
    world.kubectl("rollout", "pause", "deployment/jiuxi")
    added = {"op": "add", "path": f"{at}/-", "value": second}
    world.kubectl("patch", *deployment, json.dumps([added]))
    world.kubectl("run", name, f"--image={NOWHERE}", "--image-pull-policy=Never")
    yield
    world.kubectl("delete", "pod", name, "--force", "--grace-period=0")
    world.kubectl("patch", *deployment, json.dumps([{"op": "remove", "path": f"{at}/1"}]))
    world.kubectl("rollout", "resume", "deployment/jiuxi")


@chapter.step(
    "kubectl apply --dry-run=server -n {ns} -f pod.yaml -o json > by-webhook.json",
    "{cli} kube-inject -f pod.yaml "
    "| kubectl apply --dry-run=server -n jiuxi-auto-cli -f - -o json > by-hand.json",
    "diff by-webhook.json by-hand.json",
    allow_exit=[1],
    proves=13,
)
def both_ways_make_the_same_pod(world: World, seen: Seen) -> None:
    """One pod twice: plain into the labelled namespace, and through `kube-inject` into one that
    asks for nothing. A dry run goes all the way through the API server, webhook included, and
    only stores nothing. Both pods are the same but for what has to differ: the namespace, the
    object's identity, and the random name of the volume with the pod's token.
    """
    unlike = world.mesh.place_dependent
    pods = [json.loads(output.file or "") for output in seen.outputs[:2]]
    by_webhook, by_hand = (_comparable(pod, unlike) for pod in pods)
    names = [container["name"] for container in by_hand["spec"]["containers"]]
    expect(names, "the containers that kube-inject made").contains("nginx", PROXY_CONTAINER)
    for part in ("labels", "annotations", "spec"):
        expect(by_webhook[part], f"the pod's {part} by the webhook").equal(
            by_hand[part], "and by kube-inject: no difference but those that have to be"
        )


@both_ways_make_the_same_pod.breaks("the webhook is not asked")
def a_webhook_that_is_not_asked(world: World) -> Iterator[None]:
    """Remove the namespace's label; then restore it."""
    _unlabel(world)
    yield
    _label(world)


@both_ways_make_the_same_pod.breaks("the pod wants no sidecar")
def a_pod_that_wants_none(world: World) -> Iterator[None]:
    """Add the label `sidecar.istio.io/inject: "false"` to the pod; then remove it."""
    before = world.read("pod.yaml")
    never = '  labels:\n    sidecar.istio.io/inject: "false"\n'
    world.write("pod.yaml", before.replace("  labels:\n", never))
    yield
    world.write("pod.yaml", before)


@chapter.step(
    NAMES,
    "kubectl label ns {ns} istio-injection-",
    "kubectl rollout restart deployment/jiuxi -n {ns}",
    "kubectl rollout status deployment/jiuxi -n {ns} --timeout=60s",
    "kubectl get po -n {ns}",
    NAMES,
    acts=[0, 1, 2, 3],
    proves=13,
)
def without_the_label_pods_are_plain(world: World, seen: Seen) -> None:
    """The label is taken off and the pod made anew: plain nginx again, READY 1/1. Nothing of the
    sidecar was ever in the Deployment, so nothing has to be removed from it.
    """
    pod = _the_pod(world, "1/1")
    labels = world.cluster.namespace_labels(world.ns)
    expect(labels, "the names of the namespace's labels").lacks(INJECTION_LABEL)
    expect([container.name for container in pod.containers()], "the containers").equal(["nginx"])
    expect(pod.inits(), "the init containers").has_length(0)
    expect(pod.annotations, "the names of the pod's annotations").lacks(STATUS_ANNOTATION)


@without_the_label_pods_are_plain.breaks("the namespace asks for injection again")
def a_label_that_is_back(world: World) -> Iterator[None]:
    """Label the namespace and restart the pod; then remove the label and restart it again."""
    _label(world)
    _restart(world)
    yield
    _unlabel(world)
    _restart(world)


def _comparable(pod: dict[str, Any], unlike: frozenset[str]) -> dict[str, Any]:
    """Return those parts of a pod that must be equal, whichever way the pod was injected.

    These are its labels, annotations and spec, without the random name of the token's volume. Of
    the environment variables in `unlike` only the names must be equal. Volumes are sorted by name
    and mounts by path: their order differs, because the API server adds the token's volume before
    it calls the webhook, but after `kube-inject` ran.
    """
    meta, spec = pod["metadata"], pod["spec"]
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k != LAST_APPLIED}
    containers = {
        kind: [
            {
                **container,
                "volumeMounts": _mounts(container),
                "env": _environment(container, unlike),
            }
            for container in spec.get(kind) or ()
        ]
        for kind in ("initContainers", "containers")
    }
    volumes = _by(spec.get("volumes") or (), "name")
    return {
        "labels": meta.get("labels") or {},
        "annotations": annotations,
        "spec": {**spec, **containers, "volumes": volumes},
    }


def _environment(container: dict[str, Any], unlike: frozenset[str]) -> list[dict[str, Any]]:
    variables = container.get("env") or ()
    return [
        {"name": variable["name"]} if variable["name"] in unlike else variable
        for variable in variables
    ]


def _mounts(container: dict[str, Any]) -> list[dict[str, Any]]:
    return _by(container.get("volumeMounts") or (), "mountPath")


def _by(entries: Any, key: str) -> list[dict[str, Any]]:
    renamed = (
        {**entry, "name": TOKEN_VOLUME} if entry["name"].startswith(TOKEN_VOLUME) else entry
        for entry in entries
    )
    return sorted(renamed, key=lambda entry: str(entry[key]))
