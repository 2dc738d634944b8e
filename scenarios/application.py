"""Creates the walkthrough's nginx, with or without a sidecar, and other pods for breaks."""

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
"""Manifest of the neighbour: a second nginx, without a sidecar, behind the Service `web`."""

STAND_IN = """\
apiVersion: v1
kind: Pod
metadata: {name: stand-in, labels: {app: stand-in}}
spec:
  terminationGracePeriodSeconds: 1
"""


def plain(world: World) -> Pod:
    """Apply the corrected manifest without injection; return the Deployment's pod."""
    world.take(MANIFEST)
    world.kubectl("apply", "-f", MANIFEST)
    return adopt(world)


def injected(world: World) -> Pod:
    """Inject the corrected manifest with the mesh's kube-inject, apply it, and return the pod."""
    world.take(MANIFEST)
    return inject_again(world)


def inject_again(world: World) -> Pod:
    """Inject and apply the manifest as it is in the work folder now; return the new pod."""
    world.kubectl("apply", "-f", "-", stdin=kube_inject(world, MANIFEST))
    return adopt(world)


def kube_inject(world: World, file: str, stdin: str | None = None) -> str:
    """Return the output of the mesh's kube-inject for `file`, or for `stdin` if `file` is "-"."""
    return world.run(world.mesh.cli, "kube-inject", "-f", file, stdin=stdin).stdout


def follow(world: World) -> None:
    """Let `{pod}` name the Deployment's current pod, which is looked up at each use.

    `{ip}` is the address of the pod that `{pod}` names; `{pid}` is the process id of its nginx.
    """
    world.names["pod"] = lambda: world.pod(APP).name
    world.names["ip"] = lambda: spoken_of(world).ip
    world.names["pid"] = lambda: str(spoken_of(world).pid("nginx"))


def spoken_of(world: World) -> Pod:
    """Return the pod that `{pod}` names now, so that a check reads the same pod as the commands."""
    return world.pod(world.names.resolve("pod"))


def adopt(world: World) -> Pod:
    """Wait until the Deployment is rolled out and its nginx listens; return its pod.

    From now on `{pod}`, `{pid}` and `{ip}` stand for values of the Deployment's pod (see `follow`).
    """
    (pod,) = world.rolled_out("jiuxi")
    follow(world)
    return _listening(pod)


def web(world: World) -> Pod:
    """Apply the manifest WEB of the neighbour, let `{web}` name its pod, and return this pod."""
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
    """Return the YAML text of one container of the pod that `stand_in` creates.

    The container runs `command` in a shell, or the image's own program if `command` is "".
    """
    run = f", command: [sh, -c, {json.dumps(command)}]" if command else ""
    extra = f", {more}" if more else ""
    return f"  - {{name: {name}, image: {image}, imagePullPolicy: IfNotPresent{run}{extra}}}\n"


def stand_in(
    world: World, *, init: str = "", nginx: str = "", proxy: str = "", ready: bool = True
) -> Iterator[None]:
    """Create a pod that `{pod}` names instead of the injected one; delete it after the `yield`.

    Its containers have the names of those in an injected pod, but run other programs. `init`,
    `nginx` and `proxy` are YAML texts that `container` returned. By default nginx and istio-proxy
    sleep, and there is no init container. With `ready=False` this does not wait until the pod is
    Ready.
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
    """Let `{pod}` name the pod `name`; after the `yield`, let it name the former pod again."""
    followed = world.names["pod"]
    world.names["pod"] = name
    yield
    world.names["pod"] = followed


def endless_init(image: str = NGINX_IMAGE) -> str:
    """Return the YAML text of a container istio-init that never ends.

    Because of its `restartPolicy: Always`, kubelet nevertheless starts the pod's other containers.
    """
    return container(INIT_CONTAINER, "exec sleep 1000", image=image, more="restartPolicy: Always")
