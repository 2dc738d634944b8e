"""The walkthrough's nginx, as several chapters begin with it: plain, injected, and a neighbour."""

from lab.observe.model import ports
from lab.observe.pod import Pod
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
"""A second nginx that nobody injects, behind a Service: somebody to talk with."""


def plain(world: World) -> Pod:
    """The corrected manifest applied as it is."""
    world.take(MANIFEST)
    world.kubectl("apply", "-f", MANIFEST)
    return adopt(world)


def injected(world: World) -> Pod:
    """The corrected manifest through the mesh's kube-inject."""
    world.take(MANIFEST)
    return inject_again(world)


def inject_again(world: World) -> Pod:
    """Inject and apply the manifest as it stands in the work folder; its new pod."""
    world.kubectl("apply", "-f", "-", stdin=kube_inject(world, MANIFEST))
    return adopt(world)


def kube_inject(world: World, file: str, stdin: str | None = None) -> str:
    """What kube-inject of the lab's mesh makes of a file, or of `stdin` for "-"."""
    return world.run(world.mesh.cli, "kube-inject", "-f", file, stdin=stdin).stdout


def adopt(world: World) -> Pod:
    """Wait for the rollout and have `{pod}`, `{pid}`, `{ip}`, `{node}` speak of its one pod."""
    (pod,) = world.rolled_out("jiuxi")
    world.names["pod"] = pod.name
    world.names["ip"] = pod.ip
    if world.lab is not None:
        world.names["node"] = world.lab.node
    world.names["pid"] = lambda: str(pod.pid("nginx"))
    return _listening(pod)


def web(world: World) -> Pod:
    """A plain neighbour behind the Service `web`; `{web}` names its pod."""
    world.apply(WEB)
    (pod,) = world.rolled_out("web")
    world.names["web"] = pod.name
    return _listening(pod)


def _listening(pod: Pod) -> Pod:
    """The manifests have no readiness probe: a pod is Ready as soon as nginx is started."""
    eventually(lambda: 80 in ports(pod.listeners()), "nginx listens on port 80", within=10)
    return pod
