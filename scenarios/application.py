"""The walkthrough's nginx, with which several chapters begin: plain, injected, with a neighbour."""

import json
from collections.abc import Iterator

from lab.mesh.contract import INIT_CONTAINER, NGINX_IMAGE, PROXY_CONTAINER
from lab.observe.pod import Pod
from lab.observe.readings import ports
from lab.scenario import World, eventually

APP = "app=jiuxi"
MANIFEST = "jiuxi-deployment.yaml"

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata:
      labels: {app: web}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: nginx
        image: docker.io/sidecar-lab/nginx:lab
        imagePullPolicy: IfNotPresent
        ports: [{containerPort: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 80}]
"""
"""A second nginx without a sidecar, behind a Service: the neighbour for requests."""

STAND_IN = """\
apiVersion: v1
kind: Pod
metadata: {name: stand-in, labels: {app: stand-in}}
spec:
  terminationGracePeriodSeconds: 1
"""


def plain(world: World) -> Pod:
    """Apply the corrected manifest as it is; return its pod."""
    world.take(MANIFEST)
    world.kubectl("apply", "-f", MANIFEST)
    return adopt(world)


def injected(world: World) -> Pod:
    """Inject the corrected manifest with the mesh's kube-inject and apply it; return its pod."""
    world.take(MANIFEST)
    return inject_again(world)


def inject_again(world: World) -> Pod:
    """Inject and apply the manifest in the work folder; return the new pod."""
    world.kubectl("apply", "-f", "-", stdin=kube_inject(world, MANIFEST))
    return adopt(world)


def kube_inject(world: World, file: str, stdin: str | None = None) -> str:
    """The output of the mesh's kube-inject for a file, or for `stdin` if `file` is "-"."""
    return world.run(world.mesh.cli, "kube-inject", "-f", file, stdin=stdin).stdout


def follow(world: World) -> None:
    """Let `{pod}`, `{pid}` and `{ip}` refer to the Deployment's pod at the time of each use."""
    world.names["pod"] = lambda: world.pod(APP).name
    world.names["ip"] = lambda: spoken_of(world).ip
    world.names["pid"] = lambda: str(spoken_of(world).pid("nginx"))


def spoken_of(world: World) -> Pod:
    """The pod that `{pod}` names now, so that a check reads the pod of its commands."""
    return world.pod(world.names.resolve("pod"))


def adopt(world: World) -> Pod:
    """Wait for the rollout and until nginx listens; let the names follow the pod; return it."""
    (pod,) = world.rolled_out("jiuxi")
    follow(world)
    return _listening(pod)


def web(world: World) -> Pod:
    """Apply a plain neighbour behind the Service `web`; `{web}` names its pod. Return the pod."""
    world.apply(WEB)
    (pod,) = world.rolled_out("web")
    world.names["web"] = pod.name
    return _listening(pod)


def _listening(pod: Pod) -> Pod:
    """Wait until nginx listens; return `pod`.

    The manifests have no readiness probe, so a pod is Ready before nginx listens.
    """
    eventually(lambda: 80 in ports(pod.listeners()), "nginx listens on port 80", within=10)
    return pod


# --- breaks: another pod in its place ----------------------------------------------------


def container(name: str, command: str = "", *, image: str = NGINX_IMAGE, more: str = "") -> str:
    """YAML of a stand-in's container that runs `command` in a shell ("": the image's program)."""
    run = f", command: [sh, -c, {json.dumps(command)}]" if command else ""
    extra = f", {more}" if more else ""
    return f"  - {{name: {name}, image: {image}, imagePullPolicy: IfNotPresent{run}{extra}}}\n"


def stand_in(
    world: World, *, init: str = "", nginx: str = "", proxy: str = "", ready: bool = True
) -> Iterator[None]:
    """Let `{pod}` refer to a pod without the mesh's programs, whose containers have their names.

    `init`, `nginx` and `proxy` are YAML of containers (see `container`). By default nginx and
    proxy sleep, and there is no init container. After the `yield` the pod is deleted.
    """
    inits = f"  initContainers:\n{init}" if init else ""
    sleeping = "exec sleep 1000"
    both = (nginx or container("nginx", sleeping)) + (proxy or container(PROXY_CONTAINER, sleeping))
    world.apply(f"{STAND_IN}{inits}  containers:\n{both}")
    if ready:
        world.ready("app=stand-in", within=30)
    yield from another_pod(world, "stand-in")
    world.kubectl("delete", "pod", "stand-in", "--force", "--grace-period=0")


def another_pod(world: World, name: str) -> Iterator[None]:
    """Let `{pod}` refer to the pod with that name; after the `yield`, to the former pod."""
    followed = world.names["pod"]
    world.names["pod"] = name
    yield
    world.names["pod"] = followed


def endless_init(image: str = NGINX_IMAGE) -> str:
    """YAML of an istio-init that never ends; kubelet starts the other containers beside it."""
    return container(INIT_CONTAINER, "exec sleep 1000", image=image, more="restartPolicy: Always")
