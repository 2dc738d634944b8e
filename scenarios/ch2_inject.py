"""`kube-inject` turns a manifest into another manifest: a second container, an init container, a
few volumes. Applied, it replaces the pod; a running pod cannot be given a sidecar.

The pod's containers share one network namespace, and that is the whole trick. What the init
container does to that namespace holds for the application, and what the proxy listens on is seen
by the application. Here the two containers are asked about their network and must give the same
answers.
"""

from collections.abc import Iterator

import yaml

from lab.mesh.contract import INIT_CONTAINER, PROXY_CONTAINER
from lab.observe.model import ports, seen_from, sockets
from lab.observe.parsers.ifconfig import parse_ifconfig
from lab.observe.parsers.netstat import parse_netstat
from lab.observe.parsers.route import parse_route
from lab.scenario import Chapter, Seen, World, eventually, expect
from scenarios import application

chapter = Chapter(2, "Injection", namespace="jiuxi-inject", prose=__doc__)

KINDS_OF_CONTAINER = ("initContainers", "containers")
NEVER = 'sidecar.istio.io/inject: "false"'


@chapter.given
def the_plain_pod(world: World) -> None:
    """The plain nginx of chapter 1, and what its ports, routes and template hash were."""
    pod = application.plain(world)
    world.memory["listeners"] = pod.listeners()
    world.memory["routes"] = pod.routes()
    world.memory["rules"] = pod.nat().rules
    world.memory["hash"] = pod.template_hash
    world.memory["name"] = pod.name


@chapter.step(
    "{cli} kube-inject -f jiuxi-deployment.yaml -o jiuxi-deployment-inject.yaml", proves=3
)
def injection_is_a_text_edit(world: World, seen: Seen) -> None:
    """No cluster is asked: the manifest goes in and comes out with a sidecar. nginx is as it was;
    istio-proxy stands beside it, and istio-init runs before both.
    """
    before, after = world.read("jiuxi-deployment.yaml"), world.read("jiuxi-deployment-inject.yaml")
    expect(before, "the manifest").lacks(PROXY_CONTAINER, INIT_CONTAINER)
    spec = next(yaml.safe_load_all(after))["spec"]["template"]["spec"]
    named = {kind: [one["name"] for one in spec.get(kind, ())] for kind in KINDS_OF_CONTAINER}
    expect(named, "containers in the injected manifest").equal(
        {"initContainers": [INIT_CONTAINER], "containers": ["nginx", PROXY_CONTAINER]}
    )


@injection_is_a_text_edit.breaks("the pod's label says that it wants no sidecar")
def a_pod_that_wants_none(world: World) -> Iterator[None]:
    """`sidecar.istio.io/inject: "false"` on the pod template."""
    before = world.read("jiuxi-deployment.yaml")
    label = "    metadata:\n      labels:\n"
    world.write("jiuxi-deployment.yaml", before.replace(label, f"{label}        {NEVER}\n"))
    yield
    world.write("jiuxi-deployment.yaml", before)


@chapter.step(
    "{cli} kube-inject -f jiuxi-deployment.yaml | kubectl apply -f - -n {ns}",
    "kubectl rollout status deployment/jiuxi -n {ns} --timeout=60s",
    "kubectl get po -n {ns}",
    shows=["deployment.apps/jiuxi <any>", "", ""],
    proves=3,
    hint="`kubectl logs -n jiuxi-inject deployment/jiuxi -c istio-proxy` says why",
)
def a_new_pod_takes_over(world: World, seen: Seen) -> None:
    """The Deployment makes a pod from the new template, and only then ends the old one: the hash
    in the pod's name has changed, and READY says 2/2, nginx and istio-proxy. istio-init has
    already ended, with exit code 0.
    """
    (pod,) = world.ready("app=jiuxi", within=30)
    application.adopt(world)
    expect(pod.ready, "READY").equal("2/2")
    expect(pod.name, "the pod's name").differ(world.memory["name"])
    expect(pod.template_hash, "the template's hash").differ(world.memory["hash"])
    expect([one.name for one in world.pods()], "pods of the namespace").lacks(world.memory["name"])
    expect({one.name for one in pod.containers()}, "containers").equal({"nginx", PROXY_CONTAINER})
    expect(pod.init(INIT_CONTAINER).exit_code, "exit code of istio-init").equal(0)


@a_new_pod_takes_over.breaks("the plain manifest is applied again", rerun=False)
def the_plain_manifest(world: World) -> Iterator[None]:
    """Back to the pod without a sidecar, and forth again."""
    world.kubectl("apply", "-f", application.MANIFEST)
    world.rolled_out("jiuxi")
    yield
    application.inject_again(world)


@chapter.step(
    "kubectl exec -n {ns} {pod} -c nginx -- ifconfig",
    "kubectl exec -n {ns} {pod} -c istio-proxy -- ifconfig",
    proves=4,
)
def one_network_two_containers(world: World, seen: Seen) -> None:
    """Both containers print the same interfaces and the same address: the pod's. Read from the
    node they are the same, and the inode of the network namespace is one and the same number.
    """
    pod = world.pod("app=jiuxi")
    nginx, proxy = (parse_ifconfig(output.stdout) for output in seen)
    expect(proxy, "interfaces in istio-proxy").equal(nginx)
    expect(tuple(sorted(nginx, key=lambda one: one.name)), "interfaces in nginx").equal(
        tuple(sorted(pod.interfaces(), key=lambda one: one.name))
    )
    addresses = {one.name: one.address for one in nginx}
    expect(addresses, "addresses").equal({"eth0": pod.ip, "lo": "127.0.0.1"})
    expect(pod.netns(PROXY_CONTAINER), "network namespace of istio-proxy").equal(pod.netns("nginx"))


@one_network_two_containers.breaks("somebody adds an interface")
def a_third_interface(world: World) -> Iterator[None]:
    """A pair of virtual interfaces, brought up in the pod."""
    pod = world.pod("app=jiuxi")
    pod.run(["ip", "link", "add", "extra0", "type", "veth", "peer", "name", "extra1"])
    pod.run(["ip", "addr", "add", "192.0.2.9/24", "dev", "extra0"])
    pod.run(["ip", "link", "set", "extra0", "up"])
    yield
    pod.run(["ip", "link", "del", "extra0"])


@chapter.step(
    "kubectl exec -n {ns} {pod} -c nginx -- route -n",
    "kubectl exec -n {ns} {pod} -c istio-proxy -- route -n",
    proves=4,
)
def the_same_routes(world: World, seen: Seen) -> None:
    """The routing table too is one. Injection added no route: capture is not
    done by routing.
    """
    pod = world.pod("app=jiuxi")
    nginx, proxy = (parse_route(output.stdout) for output in seen)
    expect(proxy, "routes in istio-proxy").equal(nginx)
    expect(frozenset(nginx), "routes in nginx, beside those read from outside").equal(
        frozenset(pod.routes())
    )
    expect(frozenset(nginx), "routes, beside those of the plain pod").equal(
        frozenset(world.memory["routes"])
    )
    world.attach("routes", before=world.memory["routes"], after=nginx)


@the_same_routes.breaks("somebody adds a route")
def another_route(world: World) -> Iterator[None]:
    """A network nobody has, sent to eth0."""
    pod = world.pod("app=jiuxi")
    pod.run(["ip", "route", "add", "192.0.2.0/24", "dev", "eth0"])
    yield
    pod.run(["ip", "route", "del", "192.0.2.0/24", "dev", "eth0"])


@chapter.step(
    "kubectl exec -n {ns} {pod} -c nginx -- netstat -ntlp",
    "kubectl exec -n {ns} {pod} -c istio-proxy -- netstat -ntlp",
    proves=5,
)
def five_more_ports(world: World, seen: Seen) -> None:
    """Both containers see the same listening sockets: nginx's, as before, and exactly five more.
    netstat can name only the processes of its own container; read from the node, each has its
    owner: Envoy's administration on loopback (15000), its two capture ports (15001, 15006), its
    statistics (15090), and the agent's health port (15020).
    """
    pod = world.pod("app=jiuxi")
    nginx, proxy = (parse_netstat(output.stdout) for output in seen)
    before, after = world.memory["listeners"], pod.listeners()
    expect(sockets(nginx), "sockets in nginx").equal(sockets(proxy))
    expect(sockets(nginx), "sockets, beside those read from outside").equal(sockets(after))
    expect(nginx, "netstat in nginx").equal(seen_from(after, "nginx"))
    sidecar = world.mesh.listeners
    expect(sockets(after) - sockets(before), "sockets that are new").equal(sockets(sidecar))
    expect(ports(before) - ports(after), "ports that are gone").equal(frozenset())
    owners = {one.port: (one.container, one.program) for one in after}
    expect(owners, "owners").equal(
        {80: ("nginx", "nginx")} | {one.port: (one.container, one.program) for one in sidecar}
    )
    world.attach("ports", before=before, after=after)


@five_more_ports.breaks("a sixth server listens in the pod")
def a_sixth(world: World) -> Iterator[None]:
    """Python's web server on port 8080, in nginx's container."""
    pod = world.pod("app=jiuxi")
    end = world.start_in(pod.name, "nginx", "python3", "-m", "http.server", "8080")
    eventually(lambda: 8080 in ports(pod.listeners()), "8080 listens", within=10)
    yield
    end()
    eventually(lambda: 8080 not in ports(pod.listeners()), "8080 is gone", within=10)
