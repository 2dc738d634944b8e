"""`kube-inject` turns a manifest into another manifest: a second container, an init container, a
few volumes. Applied, it replaces the pod; a running pod cannot be given a sidecar.

The pod's containers share one network namespace, and that is the whole trick. What the init
container does to that namespace holds for the application, and what the proxy listens on is seen
by the application. Here the two containers are asked about their network and must give the same
answers.
"""

from collections.abc import Iterable, Iterator

import yaml

from lab.mesh.contract import INIT_CONTAINER, PROXY_CONTAINER
from lab.observe.parsers.ifconfig import parse_ifconfig
from lab.observe.parsers.netstat import parse_netstat
from lab.observe.parsers.route import parse_route
from lab.observe.readings import Listener, ports, seen_from, sockets
from lab.scenario import Chapter, Seen, World, eventually, expect
from scenarios import application

chapter = Chapter(2, "Injection", namespace="jiuxi-inject", prose=__doc__)

KINDS_OF_CONTAINER = ("initContainers", "containers")
NEVER = 'sidecar.istio.io/inject: "false"'


@chapter.given
def the_plain_pod(world: World) -> None:
    """Apply the plain nginx of chapter 1; keep its listeners, routes, template hash and name."""
    pod = application.plain(world)
    world.memory["listeners"] = pod.listeners()
    world.memory["routes"] = pod.routes()
    world.memory["hash"] = pod.template_hash
    world.memory["name"] = pod.name


@chapter.step(
    "{cli} kube-inject -f jiuxi-deployment.yaml -o jiuxi-deployment-inject.yaml",
    "grep -n -E 'initContainers:|containers:|- name: (nginx|istio-proxy|istio-init)$' "
    "jiuxi-deployment.yaml jiuxi-deployment-inject.yaml",
    proves=3,
)
def injection_is_a_text_edit(world: World, seen: Seen) -> None:
    """No cluster is asked: the manifest goes in and comes out with a sidecar. nginx is as it was;
    istio-proxy stands beside it, and istio-init runs before both.
    """
    before, after = world.read("jiuxi-deployment.yaml"), world.read("jiuxi-deployment-inject.yaml")
    expect(before, "the manifest").lacks(PROXY_CONTAINER, INIT_CONTAINER)
    spec = next(yaml.safe_load_all(after))["spec"]["template"]["spec"]
    named = {
        kind: [container["name"] for container in spec.get(kind, ())] for kind in KINDS_OF_CONTAINER
    }
    expect(named["initContainers"], "the init containers of what comes out").equal([INIT_CONTAINER])
    expect(named["containers"], "the containers of what comes out").equal(
        ["nginx", PROXY_CONTAINER]
    )


@injection_is_a_text_edit.breaks("the pod's label says that it wants no sidecar")
def a_pod_that_wants_none(world: World) -> Iterator[None]:
    """Add the label `sidecar.istio.io/inject: "false"` to the pod template; then restore it."""
    before = world.read("jiuxi-deployment.yaml")
    label = "    metadata:\n      labels:\n"
    world.write("jiuxi-deployment.yaml", before.replace(label, f"{label}        {NEVER}\n"))
    yield
    world.write("jiuxi-deployment.yaml", before)


@injection_is_a_text_edit.breaks("the manifest was injected before")
def an_injected_manifest(world: World) -> Iterator[None]:
    """Replace the manifest by the injected one; then restore it."""
    before = world.read("jiuxi-deployment.yaml")
    world.write("jiuxi-deployment.yaml", world.read("jiuxi-deployment-inject.yaml"))
    yield
    world.write("jiuxi-deployment.yaml", before)


@chapter.step(
    "kubectl get po -n {ns}",
    "{cli} kube-inject -f jiuxi-deployment.yaml | kubectl apply -f - -n {ns}",
    "kubectl rollout status deployment/jiuxi -n {ns} --timeout=60s",
    "kubectl get po -n {ns}",
    acts=[0, 1, 2],
    proves=3,
    hint="`kubectl logs -n jiuxi-inject deployment/jiuxi -c istio-proxy` says why",
)
def a_new_pod_takes_over(world: World, seen: Seen) -> None:
    """The Deployment makes a pod from the new template, and only then ends the old one: the hash
    in the pod's name has changed, and READY says 2/2, nginx and istio-proxy. istio-init has
    already ended, with exit code 0.
    """

    def only_one() -> object:
        names = [current.name for current in world.pods()]
        return expect(names, "the pods that are there").lacks(world.memory["name"])

    eventually(only_one, within=10)
    pod = world.pod(application.APP)
    expect(pod.ready, "READY").equal("2/2")
    expect(pod.template_hash, "the template's hash").differ(world.memory["hash"])
    expect({container.name for container in pod.containers()}, "the containers").equal(
        {"nginx", PROXY_CONTAINER}
    )
    ended = {init.name: init.exit_code for init in pod.inits()}
    expect(ended, "the init containers' exit codes").equal({INIT_CONTAINER: 0})


@a_new_pod_takes_over.breaks("the plain manifest is applied again")
def the_plain_manifest(world: World) -> Iterator[None]:
    """Apply the manifest without a sidecar; then inject it again."""
    world.kubectl("apply", "-f", application.MANIFEST)
    world.rolled_out("jiuxi")
    yield
    application.inject_again(world)


@a_new_pod_takes_over.breaks("a pod of the old name is there")
def the_old_name(world: World) -> Iterator[None]:
    """Create a pod with the name of the first pod, outside the Deployment; then delete it."""
    image = "--image=docker.io/sidecar-lab/nowhere:lab"
    world.kubectl("run", world.memory["name"], image, "--image-pull-policy=Never")
    yield
    world.kubectl("delete", "pod", world.memory["name"], "--grace-period=1")


@chapter.step(
    "kubectl exec -n {ns} {pod} -c nginx -- ifconfig",
    "kubectl exec -n {ns} {pod} -c istio-proxy -- ifconfig",
    "kubectl exec -n {ns} {pod} -c nginx -- readlink /proc/self/ns/net",
    "kubectl exec -n {ns} {pod} -c istio-proxy -- readlink /proc/self/ns/net",
    proves=4,
)
def one_network_two_containers(world: World, seen: Seen) -> None:
    """Both containers print the same interfaces and the same address: the pod's. Read from the
    node they are the same, and the inode of the network namespace is one and the same number.
    """
    pod = application.spoken_of(world)
    nginx, proxy = (parse_ifconfig(output.stdout) for output in seen.outputs[:2])
    expect(proxy, "the interfaces in istio-proxy").equal(nginx, "are those in nginx")
    expect(
        tuple(sorted(nginx, key=lambda interface: interface.name)), "the interfaces in nginx"
    ).equal(
        tuple(sorted(pod.interfaces(), key=lambda interface: interface.name)),
        "are those read from the node",
    )
    addresses = {interface.name: interface.address for interface in nginx}
    expect(addresses, "the addresses").equal({"eth0": pod.ip, "lo": "127.0.0.1"})
    expect(seen[3].stdout, "the network namespace of istio-proxy").equal(
        seen[2].stdout, "is that of nginx"
    )
    expect(pod.netns(PROXY_CONTAINER), "its inode, read from the node,").equal(
        pod.netns("nginx"), "is that of nginx's"
    )


@one_network_two_containers.breaks("nginx has a network namespace of its own")
def apart(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose nginx runs in a network namespace of its own."""
    yield from _apart(world)


@one_network_two_containers.breaks("somebody adds an interface")
def a_third_interface(world: World) -> Iterator[None]:
    """Add a pair of virtual interfaces to the pod; then delete the interfaces."""
    pod = world.pod(application.APP)
    pod.run(["ip", "link", "add", "extra0", "type", "veth", "peer", "name", "extra1"])
    pod.run(["ip", "addr", "add", "192.0.2.9/24", "dev", "extra0"])
    pod.run(["ip", "link", "set", "extra0", "up"])
    yield
    pod.run(["ip", "link", "del", "extra0"])


def _apart(world: World) -> Iterator[None]:
    alone = "exec unshare -n sh -c 'ifconfig lo up && exec python3 -m http.server 80'"
    may = "securityContext: {privileged: true}"
    proxy = application.container(PROXY_CONTAINER, "exec python3 -m http.server 15020")
    nginx = application.container("nginx", alone, more=may)
    course = application.stand_in(world, nginx=nginx, proxy=proxy)
    next(course)
    pod = application.spoken_of(world)
    eventually(lambda: 15020 in ports(pod.listeners()), "it listens", within=10)
    eventually(lambda: pod.netns("nginx") != pod.netns(PROXY_CONTAINER), "it is apart", within=10)
    yield
    next(course, None)


@chapter.step(
    "kubectl exec -n {ns} {pod} -c nginx -- route -n",
    "kubectl exec -n {ns} {pod} -c istio-proxy -- route -n",
    proves=4,
)
def the_same_routes(world: World, seen: Seen) -> None:
    """The routing table too is one. Injection added no route: capture is not
    done by routing.
    """
    pod = application.spoken_of(world)
    nginx, proxy = (parse_route(output.stdout) for output in seen)
    expect(proxy, "the routes in istio-proxy").equal(nginx, "are those in nginx")
    expect(frozenset(nginx), "the routes in nginx").equal(
        frozenset(pod.routes()), "are those read from the node"
    )
    expect(frozenset(nginx), "the routes").equal(
        frozenset(world.memory["routes"]), "are those that the plain pod had"
    )
    world.attach("routes", before=world.memory["routes"], after=nginx)


@the_same_routes.breaks("nginx has a network namespace of its own")
def routes_apart(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose nginx runs in a network namespace of its own, without routes."""
    yield from _apart(world)


@the_same_routes.breaks("somebody adds a route")
def another_route(world: World) -> Iterator[None]:
    """Add a route to a network that nobody uses; then delete the route."""
    pod = world.pod(application.APP)
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
    pod = application.spoken_of(world)
    nginx, proxy = (parse_netstat(output.stdout) for output in seen)
    before, after = world.memory["listeners"], pod.listeners()
    expect(sockets(nginx), "the sockets in nginx").equal(sockets(proxy), "are those in istio-proxy")
    expect(nginx, "the sockets and owners in nginx").equal(
        seen_from(after, "nginx"), "are those read from the node, as far as nginx may know"
    )
    sidecar = world.mesh.listeners
    expect(_places(sockets(after) - sockets(before)), "the sockets that are new").equal(
        _places(sockets(sidecar))
    )
    expect(ports(before) - ports(after), "the ports that are gone").equal(frozenset())
    wanted = _owners(sidecar) | {80: "nginx in nginx"}
    expect(_owners(after), "the owners of the ports").equal(dict(sorted(wanted.items())))
    world.attach("ports", before=before, after=after)


def _owners(listeners: Iterable[Listener]) -> dict[int, str]:
    return {listener.port: f"{listener.program} in {listener.container}" for listener in listeners}


def _places(sockets: frozenset[tuple[str, int]]) -> frozenset[str]:
    return frozenset(f"{address}:{port}" for address, port in sockets)


@five_more_ports.breaks("nginx has a network namespace of its own")
def ports_apart(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose nginx listens in a network namespace of its own."""
    yield from _apart(world)


@five_more_ports.breaks("a sixth server listens in the pod")
def a_sixth(world: World) -> Iterator[None]:
    """Run Python's web server on port 8080, in nginx's container; then end it."""
    pod = world.pod(application.APP)
    end = world.start_in(pod.name, "nginx", "python3", "-m", "http.server", "8080")
    eventually(lambda: 8080 in ports(pod.listeners()), "8080 listens", within=10)
    yield
    end()
    eventually(lambda: 8080 not in ports(pod.listeners()), "8080 is gone", within=10)
