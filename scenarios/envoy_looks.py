"""Helpers of chapter 4: commands, functions that read their output, and breaks.

A break is a deliberate fault: its function makes the fault, yields, and undoes the fault.
"""

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
"""Shell script in place of istio-proxy's program. At its first run it ends, so that kubelet
restarts the container; at its second run it sleeps."""
CLUSTERS = f'{ADMIN}clusters | grep -E "{{service}}.*::cx_active"\''
FRESH_CLUSTERS = CLUSTERS.replace("{service}", "fresh.{ns}")
WEB_CLUSTERS = CLUSTERS.replace("{service}", "web.{ns}")
WORKERS = f"{ADMIN}server_info | grep concurrency.:'"


def bootstrap_file(pod: Pod) -> str:
    """The path of the bootstrap file with which the pod's Envoy was started."""
    return str(pod.envoy().server_info().options["config_path"])


def restarts(world: World) -> int:
    """Return the number of restarts of istio-proxy in the pod that `{pod}` names."""
    return application.spoken_of(world).restarts(PROXY_CONTAINER)


def restless(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose istio-proxy was restarted once and does not run Envoy."""
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
    """Return the addresses of the endpoints in lines like `name::address:port::cx_active::0`.

    Envoy's admin page `/clusters` has these lines.
    """
    return set(re.findall(r"(?m)::(\d+(?:\.\d+){3}):\d+::cx_active", text))


def value(line: str) -> str:
    """Return the text of a line like `"key": "text",` in JSON; "" if there is none."""
    match = re.search(r': "(.*)"', line)
    return match[1] if match else ""


def number(line: str) -> int | None:
    """Return the number of a line like `"key": 1,` in JSON; None if there is none."""
    match = re.search(r": (\d+)", line)
    return int(match[1]) if match else None


def reconfigured(world: World) -> str:
    """Return KIND/NAME of the object whose annotation changes the configuration of Envoy."""
    return world.mesh.reconfigured.replace("POD", world.names.resolve("pod"))


def wish(world: World, count: int) -> str:
    """Return the merge patch whose annotation asks for `count` worker threads of Envoy."""
    return world.mesh.reconfiguration.replace("COUNT", str(count))


def ask(world: World, count: int) -> None:
    """Ask for `count` worker threads with the annotation; wait until Envoy runs with them."""
    world.kubectl("patch", reconfigured(world), "--type", "merge", "-p", wish(world, count))

    def workers() -> bool:
        options = world.pod(application.APP).envoy().server_info().options
        return options.get("concurrency") == count

    eventually(workers, f"{count} worker threads", within=90)


# --- breaks --------------------------------------------------------------------------


def a_third_program(world: World) -> Iterator[None]:
    """Start `sleep` in the container istio-proxy with `kubectl exec`; then end it."""
    end = world.start_in(world.names.resolve("pod"), PROXY_CONTAINER, "sleep", "120")
    pod = world.pod(application.APP)
    eventually(lambda: len(pod.processes(PROXY_CONTAINER)) == 3, "sleep runs", within=10)
    yield
    end()
    eventually(lambda: len(pod.processes(PROXY_CONTAINER)) == 2, "sleep is gone", within=10)


def no_agent(world: World) -> Iterator[None]:
    """Let `{pod}` name a pod whose istio-proxy runs `sleep` and neither agent nor Envoy."""
    yield from application.stand_in(world)


def a_foreign_envoy(world: World) -> Iterator[None]:
    """Let `{pod}` name the second injected pod, which has its own bootstrap file and Envoy."""
    yield from application.another_pod(world, "kind-pod")


def a_foreign_bootstrap(world: World) -> Iterator[None]:
    """Replace the path of the agent's socket in the bootstrap file; then restore the file."""
    pod = world.pod(application.APP)
    file = bootstrap_file(pod)
    inside = ("exec", pod.name, "-c", PROXY_CONTAINER, "--")
    world.kubectl(*inside, "cp", file, "/etc/istio/proxy/kept.json")
    world.kubectl(*inside, "sed", "-i", "s#/etc/istio/proxy/XDS#/etc/istio/proxy/OTHER#", file)
    yield
    world.kubectl(*inside, "mv", "/etc/istio/proxy/kept.json", file)


def no_service(world: World) -> Iterator[None]:
    """Delete the Service `fresh` and wait until Envoy has no cluster for it.

    Then create the Service again.
    """
    pod = world.pod(application.APP)
    name = f"outbound|8081||fresh.{world.ns}.svc.cluster.local"
    world.kubectl("delete", "service", "fresh")
    eventually(lambda: pod.envoy().cluster(name) is None, "Envoy has forgotten it", within=10)
    yield
    world.kubectl("apply", "-f", "fresh-service.yaml")
    eventually(lambda: pod.envoy().cluster(name), "Envoy knows it again", within=10)


def one_pod_less(world: World) -> Iterator[None]:
    """Scale the Deployment `web` to one pod; then to two pods again."""
    world.kubectl("scale", "deployment/web", "--replicas=1")
    world.ready("app=web", count=1)
    yield
    world.kubectl("scale", "deployment/web", "--replicas=2")
    world.ready("app=web", count=2)


def a_stopped_agent(world: World) -> Iterator[None]:
    """Stop the agent with SIGSTOP and kill Envoy; then let the agent go on.

    The signal is sent from the node: in its own container the agent is process 1, which no process
    of that container can stop.
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
    """Ask for two worker threads of Envoy; then for one again."""
    ask(world, 2)
    yield
    ask(world, 1)


def an_open_port(world: World) -> Iterator[None]:
    """Run a web server on the pod's address, port 15000, with a page like Envoy's; then end it."""
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
    return sum(listener.port == ENVOY_ADMIN_PORT for listener in pod.listeners())


def an_unwell_envoy(world: World) -> Iterator[None]:
    """Let Envoy fail its health checks, which makes it DRAINING; then let it pass them again."""
    pod = world.pod(application.APP)
    admin = f"http://127.0.0.1:{ENVOY_ADMIN_PORT}/healthcheck"
    pod.http(f"{admin}/fail", method="POST")
    yield
    pod.http(f"{admin}/ok", method="POST")
