"""How chapter 4 looks at the agent and its Envoy, and what its breaks have in common."""

import re
from collections.abc import Iterator

from lab.mesh.contract import ENVOY_ADMIN_PORT, PROXY_CONTAINER
from lab.observe.pod import Pod
from lab.scenario import World, eventually
from scenarios import application

IN_PROXY = "kubectl exec -n {ns} {pod} -c istio-proxy -- "
ADMIN = f"{IN_PROXY}sh -c 'curl -s http://127.0.0.1:15000/"
RESTARTS = (
    "kubectl get po -n {ns} {pod} -o 'custom-columns=POD:.metadata.name,RESTARTS:"
    '.status.containerStatuses[?(@.name=="istio-proxy")].restartCount\''
)
RESTLESS = "test -e /once/ran && exec sleep 1000; touch /once/ran"
"""What a stand-in for istio-proxy does: end once, so that kubelet restarts it, and then go on."""
CLUSTERS = f'{ADMIN}clusters | grep -E "{{service}}.*::cx_active"\''
FRESH_CLUSTERS = CLUSTERS.replace("{service}", "fresh.{ns}")
WEB_CLUSTERS = CLUSTERS.replace("{service}", "web.{ns}")
WORKERS = f"{ADMIN}server_info | grep concurrency.:'"


def bootstrap_file(pod: Pod) -> str:
    """The file that the pod's Envoy was started with."""
    return str(pod.envoy().server_info().options["config_path"])


def restarts(world: World) -> int:
    """Of istio-proxy, in the pod that the commands looked at."""
    return application.spoken_of(world).restarts(PROXY_CONTAINER)


def restless(world: World) -> Iterator[None]:
    """A pod whose istio-proxy was restarted, and has no Envoy."""
    once = "volumeMounts: [{name: once, mountPath: /once}]"
    proxy = application.container(PROXY_CONTAINER, RESTLESS, more=once)
    volume = "  volumes: [{name: once, emptyDir: {}}]\n"
    course = application.stand_in(world, proxy=proxy + volume, ready=False)
    next(course)
    eventually(lambda: restarts(world) == 1, "it was restarted", within=30)
    world.ready("app=stand-in")
    yield
    next(course, None)


def endpoints(text: str) -> set[str]:
    """The endpoints' addresses in lines of Envoy's clusters: `name::address:port::cx_active::0`."""
    return set(re.findall(r"(?m)::(\d+(?:\.\d+){3}):\d+::cx_active", text))


def value(line: str) -> str:
    """The text in `"key": "text",`."""
    found = re.search(r': "(.*)"', line)
    return found[1] if found else ""


def number(line: str) -> int | None:
    """The number in `"key": 1,`; None where none is."""
    found = re.search(r": (\d+)", line)
    return int(found[1]) if found else None


def reconfigured(world: World) -> str:
    """The object whose annotation changes Envoy's configuration."""
    return world.mesh.reconfigured.replace("POD", world.names.resolve("pod"))


def wish(world: World, count: int) -> str:
    """The patch that asks for so many worker threads."""
    return world.mesh.reconfiguration.replace("COUNT", str(count))


def ask(world: World, count: int) -> None:
    """Ask for so many worker threads, and wait until Envoy has them."""
    world.kubectl("patch", reconfigured(world), "--type", "merge", "-p", wish(world, count))

    def workers() -> bool:
        options = world.pod(application.APP).envoy().server_info().options
        return options.get("concurrency") == count

    eventually(workers, f"{count} worker threads", within=90)


# --- breaks --------------------------------------------------------------------------


def a_third_program(world: World) -> Iterator[None]:
    """`sleep`, by an exec."""
    end = world.start_in(world.names.resolve("pod"), PROXY_CONTAINER, "sleep", "120")
    pod = world.pod(application.APP)
    eventually(lambda: len(pod.processes(PROXY_CONTAINER)) == 3, "sleep runs", within=10)
    yield
    end()
    eventually(lambda: len(pod.processes(PROXY_CONTAINER)) == 2, "sleep is gone", within=10)


def no_agent(world: World) -> Iterator[None]:
    """A pod whose istio-proxy sleeps."""
    yield from application.stand_in(world)


def a_foreign_envoy(world: World) -> Iterator[None]:
    """Those of the other injected pod."""
    yield from application.another_pod(world, "kind-pod")


def a_foreign_bootstrap(world: World) -> Iterator[None]:
    """The agent's socket replaced by another; Envoy's id cannot be asked for at the same time."""
    pod = world.pod(application.APP)
    file = bootstrap_file(pod)
    inside = ("exec", pod.name, "-c", PROXY_CONTAINER, "--")
    world.kubectl(*inside, "cp", file, "/etc/istio/proxy/kept.json")
    world.kubectl(*inside, "sed", "-i", "s#/etc/istio/proxy/XDS#/etc/istio/proxy/OTHER#", file)
    yield
    world.kubectl(*inside, "mv", "/etc/istio/proxy/kept.json", file)


def no_service(world: World) -> Iterator[None]:
    """Deleted, and seen to be gone from Envoy; then made again."""
    pod = world.pod(application.APP)
    name = f"outbound|8081||fresh.{world.ns}.svc.cluster.local"
    world.kubectl("delete", "service", "fresh")
    eventually(lambda: pod.envoy().cluster(name) is None, "Envoy has forgotten it", within=10)
    yield
    world.kubectl("apply", "-f", "fresh-service.yaml")
    eventually(lambda: pod.envoy().cluster(name), "Envoy knows it again", within=10)


def one_pod_less(world: World) -> Iterator[None]:
    """Scaled to one, and to two again."""
    world.kubectl("scale", "deployment/web", "--replicas=1")
    world.ready("app=web", count=1)
    yield
    world.kubectl("scale", "deployment/web", "--replicas=2")
    world.ready("app=web", count=2)


def a_stopped_agent(world: World) -> Iterator[None]:
    """SIGSTOP to the agent from the node; a process 1 cannot be stopped from inside. Then Envoy
    is killed.
    """
    pod = world.pod(application.APP)
    agent = str(pod.pid(PROXY_CONTAINER))
    node = world.names.resolve("node")
    world.docker("exec", node, "kill", "-STOP", agent)
    world.kubectl("exec", pod.name, "-c", PROXY_CONTAINER, "--", "pkill", "-9", "-x", "envoy")
    yield
    world.docker("exec", node, "kill", "-CONT", agent)
    world.memory["deaths"] += 1
    eventually(lambda: pod.envoy().alive(), "Envoy is back", within=15 + world.mesh.back_within)


def another_wish(world: World) -> Iterator[None]:
    """Two worker threads, then one again."""
    ask(world, 2)
    yield
    ask(world, 1)


def an_open_port(world: World) -> Iterator[None]:
    """A web server on the pod's own address, port 15000, with a page like Envoy's."""
    pod = world.pod(application.APP)
    page = "mkdir -p /srv/page && echo state LIVE version > /srv/page/server_info"
    world.kubectl("exec", pod.name, "-c", "nginx", "--", "sh", "-c", page)
    argv = ("python3", "-m", "http.server", str(ENVOY_ADMIN_PORT), "--bind", pod.ip)
    end = world.start_in(pod.name, "nginx", *argv, "--directory", "/srv/page")
    eventually(lambda: _on_admin_port(pod) == 2, "it listens", within=10)
    yield
    end()
    eventually(lambda: _on_admin_port(pod) == 1, "it is gone", within=10)


def _on_admin_port(pod: Pod) -> int:
    return sum(one.port == ENVOY_ADMIN_PORT for one in pod.listeners())


def an_unwell_envoy(world: World) -> Iterator[None]:
    """It is then DRAINING; and told that it is well again."""
    pod = world.pod(application.APP)
    admin = f"http://127.0.0.1:{ENVOY_ADMIN_PORT}/healthcheck"
    pod.http(f"{admin}/fail", method="POST")
    yield
    pod.http(f"{admin}/ok", method="POST")
