"""istio-proxy runs two programs. pilot-agent is the first process; Envoy is its child. The agent
has four duties: it brings what the control plane knows to Envoy, it writes Envoy's start
configuration, it starts Envoy, and it watches over it.

Each duty is tried here by what only it can explain: a new Service that Envoy knows without a
restart, a start configuration that names this very pod, a parent's process id, and a new Envoy
after the old one was killed.
"""

import json

from lab.mesh.contract import ENVOY_ADMIN_PORT, PROXY_CONTAINER
from lab.observe.parsers.netstat import parse_netstat
from lab.observe.parsers.ps import parse_ps
from lab.scenario import Chapter, Seen, World, expect
from scenarios import application
from scenarios import envoy_looks as looks

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
    """Apply an injected nginx, a plain nginx behind a Service, and a second injected pod."""
    world.take("kinds/pod.yaml")
    world.kubectl("apply", "-f", "-", stdin=application.kube_inject(world, "pod.yaml"))
    application.injected(world)
    application.web(world)
    world.ready("app=kind-pod")
    world.write("fresh-service.yaml", FRESH)
    # The file name of the revision changes, so it is read at each use.
    world.names["revision"] = lambda: looks.bootstrap_file(world.pod(application.APP))
    world.names["reconfigured"] = lambda: looks.reconfigured(world)
    world.names["reconfiguration"] = lambda: looks.wish(world, 1)


@chapter.step("kubectl exec -n {ns} {pod} -c istio-proxy -- ps -ef", proves=[9, 10])
def the_agent_is_envoys_parent(world: World, seen: Seen) -> None:
    """Two programs and the `ps` that lists them. pilot-agent is process 1; Envoy's parent is 1,
    and Envoy was started with the configuration that the agent wrote.
    """
    pod = application.spoken_of(world)
    listed = [process for process in parse_ps(seen.stdout) if not process.command.startswith("ps ")]
    runs = {
        (process.pid, process.ppid, process.program) for process in pod.processes(PROXY_CONTAINER)
    }
    expect(
        {(process.pid, process.ppid, process.program) for process in listed}, "what ps lists"
    ).equal(runs, "is what runs, read from the node")
    programs = {process.program: process for process in listed}
    expect([process.program for process in listed], "the programs").equal(["pilot-agent", "envoy"])
    agent, envoy = programs.get("pilot-agent"), programs.get("envoy")
    expect(agent.pid if agent else None, "pilot-agent's process id").equal(1)
    expect(agent.command if agent else "", "its command line").matches(
        "^/usr/local/bin/pilot-agent proxy sidecar", "is /usr/local/bin/pilot-agent proxy sidecar"
    )
    expect(envoy.ppid if envoy else None, "the process id of Envoy's parent").equal(1)
    expect(envoy.command if envoy else "", "Envoy's command line").matches(
        rf"^/usr/local/bin/envoy -c {world.mesh.bootstrap}",
        "is /usr/local/bin/envoy with the file that the agent wrote",
    )


the_agent_is_envoys_parent.breaks("a third program runs in the container", rerun=False)(
    looks.a_third_program
)


the_agent_is_envoys_parent.breaks("istio-proxy runs something else")(looks.no_agent)


@chapter.step(
    f"{looks.IN_PROXY}cat {{revision}}",
    f"{looks.IN_PROXY}grep -E 'sidecar~|/XDS' {{revision}}",
    f'{looks.ADMIN}server_info | grep -m 1 "id.: .sidecar"\'',
    proves=[9, 10],
)
def the_bootstrap_names_this_pod(world: World, seen: Seen) -> None:
    """The file that Envoy was started with names this pod and its address, and says where the
    control plane is: at the agent's socket. It is what Envoy says of itself.
    """
    pod = world.pod(application.APP)
    name = f"sidecar~{pod.ip}~{pod.name}.{world.ns}~{world.ns}.svc.cluster.local"
    expect(json.loads(seen[0].stdout)["node"]["id"], "the node's id in the file").equal(name)
    expect(looks.value(seen[2].stdout), "the id that Envoy goes by").equal(name)
    expect(seen[0].stdout, "the file").contains("/etc/istio/proxy/XDS")


the_bootstrap_names_this_pod.breaks("the file and the Envoy are another pod's")(
    looks.a_foreign_envoy
)


the_bootstrap_names_this_pod.breaks("the file names another control plane")(
    looks.a_foreign_bootstrap
)


@chapter.step(
    looks.FRESH_CLUSTERS,
    "kubectl apply -n {ns} -f fresh-service.yaml",
    looks.FRESH_CLUSTERS,
    looks.RESTARTS,
    acts=[0, 1],
    shows=["", "", "outbound|8081||fresh.{ns}.svc.cluster.local::<ip>:80::cx_active::<number>", ""],
    waits={2: 5},
    allow_exit=[1],
    proves=10,
)
def a_new_service_reaches_envoy(world: World, seen: Seen) -> None:
    """First duty: what the control plane learns is brought to Envoy. A Service that did not exist
    is known to Envoy, with its endpoint, within 5 seconds; nothing was restarted.
    """
    expect(looks.endpoints(seen[2].stdout), "the Service's endpoints in Envoy").equal(
        {web_pod.ip for web_pod in world.pods("app=web")}
    )
    expect(looks.restarts(world), "the number of istio-proxy's restarts").equal(0)


a_new_service_reaches_envoy.breaks("the Service is deleted")(looks.no_service)


a_new_service_reaches_envoy.breaks("istio-proxy was restarted, and has no Envoy")(looks.restless)


@chapter.step(
    looks.WEB_CLUSTERS,
    "kubectl scale deployment/web --replicas=2 -n {ns}",
    "kubectl rollout status deployment/web -n {ns} --timeout=30s",
    "kubectl get po -n {ns} -l app=web -o wide",
    looks.WEB_CLUSTERS,
    looks.RESTARTS,
    acts=[0, 1, 2],
    shows=[
        "",
        "",
        "",
        "",
        """
        outbound|80||web.{ns}.svc.cluster.local::<ip>:80::cx_active::<number>
        outbound|80||web.{ns}.svc.cluster.local::<ip>:80::cx_active::<number>
        """,
        "",
    ],
    waits={4: 5},
    allow_exit=[1],
    proves=10,
)
def a_scaled_deployment_reaches_envoy(world: World, seen: Seen) -> None:
    """The same for endpoints: two pods behind the Service `web`, two endpoints in Envoy. The 5
    seconds are counted from when the second pod is Ready.
    """
    addresses = {web_pod.ip for web_pod in world.pods("app=web")}
    expect(addresses, "the addresses of the pods of web").has_length(2)
    expect(looks.endpoints(seen[4].stdout), "the endpoints in Envoy").equal(addresses)
    expect(looks.restarts(world), "the number of istio-proxy's restarts").equal(0)


a_scaled_deployment_reaches_envoy.breaks("one of the two pods is taken away")(looks.one_pod_less)


a_scaled_deployment_reaches_envoy.breaks("istio-proxy was restarted, and has no Envoy")(
    looks.restless
)


@chapter.step(
    f"{looks.IN_PROXY}ps -C envoy -o pid=,lstart=",
    looks.RESTARTS,
    f"{looks.IN_PROXY}pkill -9 -x envoy",
    "kubectl exec -n {ns} {pod} -c nginx -- curl -si -m 2 --retry 30 --retry-delay 1 "
    "--retry-all-errors --retry-max-time {back_within} http://web.{ns}/",
    f"{looks.IN_PROXY}ps -C envoy -o pid=,lstart=",
    looks.RESTARTS,
    acts=[0, 1, 2],
    shows=(
        "",
        "",
        "",
        """
        HTTP/1.1 200 OK
        server: envoy
        ......
        """,
        "<pid> <any>",
        "",
    ),
    waits={4: 5},
    allow_exit=[1, 7, 28, 52, 56],
    proves=10,
)
def a_killed_envoy_comes_back(world: World, seen: Seen) -> None:
    """The last duty: Envoy is killed, with no chance to say good-bye. The agent starts another;
    within 2 seconds nginx's requests are answered through it. Kubernetes has seen nothing: no
    container was restarted.
    """
    before, now = (seen[number].stdout.strip() for number in (0, 4))
    expect(now, "Envoy's process id and start").satisfies(
        "are new ones", lambda start: start not in {"", before}
    )
    deaths = world.memory.setdefault("deaths", 1)
    expect(looks.restarts(world), "the number of istio-proxy's restarts").equal(
        deaths * world.mesh.restarts_per_death
    )


a_killed_envoy_comes_back.breaks("the agent is stopped and cannot do its duty")(
    looks.a_stopped_agent
)


a_killed_envoy_comes_back.breaks("istio-proxy was restarted otherwise, and has no Envoy")(
    looks.restless
)


@chapter.step(
    looks.WORKERS,
    "kubectl patch {reconfigured} -n {ns} --type merge -p {reconfiguration}",
    looks.WORKERS,
    looks.RESTARTS,
    acts=[0, 1],
    shows=["", "", '"concurrency": 1,\n......', ""],
    waits={2: 90},
    allow_exit=[1],
    proves=10,
    hint="kubelet brings a changed annotation into the pod's volume in its next round",
)
def a_changed_configuration_is_taken_up(world: World, seen: Seen) -> None:
    """The agent watches what Envoy's configuration is made from. The pod's annotation asks for
    another number of worker threads: the agent writes a new revision and runs Envoy with it.
    """
    expect(looks.number(seen[2].stdout), "the number of Envoy's worker threads").equal(1)
    expect(looks.restarts(world), "the number of istio-proxy's restarts").equal(0)


a_changed_configuration_is_taken_up.breaks("the annotation asks for something else")(
    looks.another_wish
)


a_changed_configuration_is_taken_up.breaks("istio-proxy was restarted, and has no Envoy")(
    looks.restless
)


@chapter.step(
    "kubectl exec -n {ns} {pod} -c istio-proxy -- netstat -ntlp",
    f"{looks.ADMIN}server_info | grep -m 1 state'",
    "kubectl exec -n {ns} {web} -- curl -si -m 3 http://{ip}:15000/server_info",
    allow_exit=[7, 22, 28, 52, 56],
    proves=11,
)
def the_admin_port_is_for_this_pod_only(world: World, seen: Seen) -> None:
    """15000 can stop Envoy, so it listens on loopback. From inside it answers; another pod that
    asks for it at the pod's address gets no such page.
    """
    bound = {
        listener.address
        for listener in parse_netstat(seen[0].stdout)
        if listener.port == ENVOY_ADMIN_PORT
    }
    expect(bound, "the addresses of port 15000").equal({"127.0.0.1"})
    expect(looks.value(seen[1].stdout), "Envoy's state, asked for from inside,").equal("LIVE")
    expect(seen[2].stdout, "what another pod gets").lacks("state", "LIVE", "version")
    first = next(iter(seen[2].lines), "no answer")
    expect(first, "its status line").satisfies("is not 200", lambda line: " 200 " not in line)


the_admin_port_is_for_this_pod_only.breaks("something in the pod answers on its address too")(
    looks.an_open_port
)


the_admin_port_is_for_this_pod_only.breaks("Envoy is told to fail its health checks")(
    looks.an_unwell_envoy
)
