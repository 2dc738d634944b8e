"""istio-proxy runs two programs. pilot-agent is the first process; Envoy is its child. The agent
has four duties: it brings what the control plane knows to Envoy, it writes Envoy's start
configuration, it starts Envoy, and it watches over it.

Each duty is tried here by what only it can explain: a new Service that Envoy knows without a
restart, a start configuration that names this very pod, a parent's process id, and a new Envoy
after the old one was killed.
"""

import json
from collections.abc import Iterator

from lab.mesh.contract import ENVOY_ADMIN_PORT, PROXY_CONTAINER
from lab.observe.model import ports
from lab.observe.parsers.netstat import parse_netstat
from lab.observe.parsers.ps import parse_ps
from lab.observe.pod import Pod
from lab.scenario import Chapter, Seen, World, eventually, expect
from scenarios import application

chapter = Chapter(4, "pilot-agent and Envoy", namespace="jiuxi-agent", prose=__doc__)

FRESH = """\
apiVersion: v1
kind: Service
metadata: {name: fresh}
spec:
  selector: {app: web}
  ports: [{name: http, port: 8081, targetPort: 80}]
"""


@chapter.given
def an_injected_nginx_and_a_neighbour(world: World) -> None:
    """An injected nginx, and a plain web server behind a Service."""
    application.injected(world)
    application.web(world)
    world.write("fresh-service.yaml", FRESH)
    # A deletion while a chapter runs again must not find yesterday's revision.
    world.names["revision"] = lambda: _bootstrap_file(world.pod("app=jiuxi"))
    world.names["reconfigured"] = lambda: _reconfigured(world)
    world.names["reconfiguration"] = lambda: _wish(world, 1)


def _bootstrap_file(pod: Pod) -> str:
    return str(pod.envoy().server_info().options["config_path"])


def _envoy_pid(pod: Pod) -> int | None:
    found = [one.node_pid for one in pod.processes(PROXY_CONTAINER) if one.program == "envoy"]
    return found[0] if len(found) == 1 else None


def _cluster(world: World, service: str, port: int) -> str:
    return f"outbound|{port}||{service}.{world.ns}.svc.cluster.local"


@chapter.step("kubectl exec -n {ns} {pod} -c istio-proxy -- ps -ef", proves=[9, 10])
def the_agent_is_envoys_parent(world: World, seen: Seen) -> None:
    """Two programs and the `ps` that lists them. pilot-agent is process 1; Envoy's parent is 1,
    and Envoy was started with the configuration that the agent wrote.
    """
    pod = world.pod("app=jiuxi")
    listed = [one for one in parse_ps(seen.stdout) if not one.command.startswith("ps ")]
    runs = {(one.pid, one.ppid, one.program) for one in pod.processes(PROXY_CONTAINER)}
    expect({(one.pid, one.ppid, one.program) for one in listed}, "what ps lists").equal(runs)
    expect(listed, "processes of istio-proxy").has_length(2)
    agent, envoy = listed
    expect((agent.pid, agent.command), "process 1").satisfies(
        "is pilot-agent proxy sidecar",
        lambda one: one[0] == 1 and "/usr/local/bin/pilot-agent proxy sidecar" in one[1],
    )
    expect(envoy.ppid, "Envoy's parent").equal(1)
    expect(envoy.command, "Envoy's command line").matches(
        rf"^/usr/local/bin/envoy -c {world.mesh.bootstrap}",
        "names the file that the agent wrote",
    )


@the_agent_is_envoys_parent.breaks("a third program runs in the container")
def a_third_program(world: World) -> Iterator[None]:
    """`sleep`, by an exec."""
    end = world.start_in(world.pod("app=jiuxi").name, PROXY_CONTAINER, "sleep", "120")
    yield
    end()
    pod = world.pod("app=jiuxi")
    eventually(lambda: len(pod.processes(PROXY_CONTAINER)) == 2, "sleep is gone", within=10)


@chapter.step("kubectl exec -n {ns} {pod} -c istio-proxy -- cat {revision}", proves=[9, 10])
def the_bootstrap_names_this_pod(world: World, seen: Seen) -> None:
    """The file that Envoy was started with names this pod and its address, and says where the
    control plane is: at the agent's socket. It is what Envoy says of itself.
    """
    pod = world.pod("app=jiuxi")
    written = json.loads(seen.stdout)
    name = f"sidecar~{pod.ip}~{pod.name}.{world.ns}~{world.ns}.svc.cluster.local"
    expect(written["node"]["id"], "the node's id in the file").equal(name)
    expect(pod.envoy().server_info().node["id"], "the id Envoy goes by").equal(name)
    expect(seen.stdout, "the file").contains("/etc/istio/proxy/XDS")


@the_bootstrap_names_this_pod.breaks("the file is another pod's")
def a_foreign_bootstrap(world: World) -> Iterator[None]:
    """The pod's name in the file replaced by another."""
    pod = world.pod("app=jiuxi")
    file = _bootstrap_file(pod)
    inside = ("exec", pod.name, "-c", PROXY_CONTAINER, "--")
    world.kubectl(*inside, "cp", file, "/etc/istio/proxy/kept.json")
    world.kubectl(*inside, "sed", "-i", f"s/{pod.name}/another-pod/", file)
    yield
    world.kubectl(*inside, "mv", "/etc/istio/proxy/kept.json", file)


@chapter.step("kubectl apply -n {ns} -f fresh-service.yaml", proves=10)
def a_new_service_reaches_envoy(world: World, seen: Seen) -> None:
    """First duty: what the control plane learns is brought to Envoy. A Service that did not exist
    is known to Envoy, with its endpoint, within 5 seconds; nothing was restarted.
    """
    pod = world.pod("app=jiuxi")
    name = _cluster(world, "fresh", 8081)

    def known() -> object:
        cluster = pod.envoy().cluster(name)
        return cluster is not None and len(cluster.endpoints) == 1

    eventually(known, f"Envoy knows {name} and its endpoint", within=5)
    expect(pod.restarts(PROXY_CONTAINER), "restarts of istio-proxy").equal(0)


@a_new_service_reaches_envoy.breaks("the Service is deleted", rerun=False)
def no_service(world: World) -> Iterator[None]:
    """Deleted, and seen to be gone from Envoy; then made again."""
    pod = world.pod("app=jiuxi")
    name = _cluster(world, "fresh", 8081)
    world.kubectl("delete", "service", "fresh")
    eventually(lambda: pod.envoy().cluster(name) is None, "Envoy has forgotten it", within=10)
    yield
    world.kubectl("apply", "-f", "fresh-service.yaml")
    eventually(lambda: pod.envoy().cluster(name), "Envoy knows it again", within=10)


@chapter.step("kubectl scale deployment/web --replicas=2 -n {ns}", proves=10)
def a_scaled_deployment_reaches_envoy(world: World, seen: Seen) -> None:
    """The same for endpoints: two pods behind the Service `web`, two endpoints in Envoy. The 5
    seconds are counted from when the second pod is Ready.
    """
    pod = world.pod("app=jiuxi")
    addresses = {one.ip for one in world.ready("app=web", count=2, within=20)}

    def known() -> object:
        cluster = pod.envoy().cluster(_cluster(world, "web", 80))
        seen = {one.address for one in cluster.endpoints} if cluster else set()
        return expect(seen, "endpoints in Envoy").equal(addresses)

    eventually(known, within=5)
    expect(pod.restarts(PROXY_CONTAINER), "restarts of istio-proxy").equal(0)


@a_scaled_deployment_reaches_envoy.breaks("one of the two pods is taken away", rerun=False)
def one_pod_less(world: World) -> Iterator[None]:
    """Scaled to one, and to two again."""
    world.kubectl("scale", "deployment/web", "--replicas=1")
    world.ready("app=web", count=1)
    yield
    world.kubectl("scale", "deployment/web", "--replicas=2")
    world.ready("app=web", count=2)


@chapter.step("kubectl exec -n {ns} {pod} -c istio-proxy -- pkill -9 -x envoy", proves=10)
def a_killed_envoy_comes_back(world: World, seen: Seen) -> None:
    """The last duty: Envoy is killed, with no chance to say good-bye. The agent starts another;
    within 2 seconds nginx's requests are answered through it. Kubernetes has seen nothing: no
    container was restarted.
    """
    pod = world.pod("app=jiuxi")
    before, restarts = world.memory.get("envoy"), world.memory.get("restarts", 0)
    died = restarts + world.mesh.restarts_per_death

    def answered() -> object:
        answer = pod.http(f"http://{world.memory['web']}/", headers={"host": f"web.{world.ns}"})
        return answer.status == 200 and answer.headers.get("server") == "envoy"

    world.memory.setdefault("web", world.json("get", "svc", "web")["spec"]["clusterIP"])
    eventually(answered, "a request is answered through Envoy again", within=world.mesh.back_within)
    now = _envoy_pid(pod)
    expect(now, "Envoy's process id").satisfies(
        "is a new one", lambda one: one not in {None, before}
    )
    expect(pod.restarts(PROXY_CONTAINER), "restarts of istio-proxy").equal(died)
    world.memory["envoy"], world.memory["restarts"] = now, died


# Not run again: where Envoy's death is the container's, kubelet waits longer after each.
@a_killed_envoy_comes_back.breaks("the agent is stopped and cannot do its duty", rerun=False)
def a_stopped_agent(world: World) -> Iterator[None]:
    """SIGSTOP to the agent from the node; a process 1 cannot be stopped from inside. Then Envoy
    is killed.
    """
    pod = world.pod("app=jiuxi")
    agent = str(pod.pid(PROXY_CONTAINER))
    node = world.names.resolve("node")
    world.docker("exec", node, "kill", "-STOP", agent)
    world.kubectl("exec", pod.name, "-c", PROXY_CONTAINER, "--", "pkill", "-9", "-x", "envoy")
    yield
    world.docker("exec", node, "kill", "-CONT", agent)
    eventually(lambda: pod.envoy().alive(), "Envoy is back", within=15 + world.mesh.back_within)
    world.memory["restarts"] = pod.restarts(PROXY_CONTAINER) - world.mesh.restarts_per_death


@chapter.step(
    "kubectl patch {reconfigured} -n {ns} --type merge -p {reconfiguration}",
    proves=10,
    hint="kubelet brings a changed annotation into the pod's volume in its next round",
)
def a_changed_configuration_is_taken_up(world: World, seen: Seen) -> None:
    """The agent watches what Envoy's configuration is made from. The pod's annotation asks for
    another number of worker threads: the agent writes a new revision and runs Envoy with it.
    """
    _workers(world, 1)


@a_changed_configuration_is_taken_up.breaks("the annotation asks for something else", rerun=False)
def another_wish(world: World) -> Iterator[None]:
    """Two worker threads, then one again."""

    def ask(count: int) -> None:
        world.kubectl("patch", _reconfigured(world), "--type", "merge", "-p", _wish(world, count))
        _workers(world, count)

    ask(2)
    yield
    ask(1)


def _reconfigured(world: World) -> str:
    return world.mesh.reconfigured.replace("POD", world.names.resolve("pod"))


def _wish(world: World, count: int) -> str:
    return world.mesh.reconfiguration.replace("COUNT", str(count))


def _workers(world: World, count: int) -> None:
    """Wait until Envoy has so many worker threads, and nothing but the pod itself was made anew."""
    old = world.names.resolve("pod")
    pod = application.adopt(world)

    def workers() -> object:
        options = pod.envoy().server_info().options
        return expect(options.get("concurrency"), "Envoy's worker threads").equal(count)

    eventually(workers, within=90)
    before = world.memory.get("restarts", 0) if pod.name == old else 0
    expect(pod.restarts(PROXY_CONTAINER), "restarts of istio-proxy").equal(before)
    world.memory["restarts"] = before


@chapter.step(
    "kubectl exec -n {ns} {pod} -c istio-proxy -- netstat -ntlp",
    "kubectl exec -n {ns} {pod} -c istio-proxy -- curl -s http://127.0.0.1:15000/server_info",
    "kubectl exec -n {ns} {web} -- curl -s -m 3 http://{ip}:15000/server_info",
    allow_exit=[7, 22, 28, 52, 56],
    proves=11,
)
def the_admin_port_is_for_this_pod_only(world: World, seen: Seen) -> None:
    """15000 can stop Envoy, so it listens on loopback. From inside it answers; another pod that
    asks for it at the pod's address gets no such page.
    """
    bound = {one.address for one in parse_netstat(seen[0].stdout) if one.port == ENVOY_ADMIN_PORT}
    expect(bound, "addresses of port 15000").equal({"127.0.0.1"})
    expect(json.loads(seen[1].stdout)["state"], "Envoy's state, asked from inside").equal("LIVE")
    expect(seen[2].stdout, "what another pod gets").lacks('"state"', "LIVE", "version")
    other = world.pod(world.names.resolve("web"))
    answer = other.http(f"http://{world.names.resolve('ip')}:15000/server_info")
    expect(answer.status, "status that another pod gets").differ(200)


@the_admin_port_is_for_this_pod_only.breaks("something in the pod answers on its address too")
def an_open_port(world: World) -> Iterator[None]:
    """A web server on the pod's own address, port 15000."""
    pod = world.pod("app=jiuxi")
    argv = ("python3", "-m", "http.server", str(ENVOY_ADMIN_PORT), "--bind", pod.ip)
    end = world.start_in(pod.name, "nginx", *argv)
    eventually(
        lambda: sum(one.port == ENVOY_ADMIN_PORT for one in pod.listeners()) == 2,
        "it listens",
        within=10,
    )
    yield
    end()
    eventually(
        lambda: sum(one.port == ENVOY_ADMIN_PORT for one in pod.listeners()) == 1,
        "it is gone",
        within=10,
    )
    expect(ports(pod.listeners()), "ports").contains(ENVOY_ADMIN_PORT)
