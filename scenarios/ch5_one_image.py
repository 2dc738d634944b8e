"""istio-init sets rules and ends; istio-proxy runs pilot-agent and Envoy for as long as the pod
lives. Both are containers of one and the same image. Which program a container runs is decided by
four settings: the image's Entrypoint and Cmd, and the pod's `command` and `args`.

    command and args both absent    the image's Entrypoint with the image's Cmd
    command alone                   the command, without arguments; Entrypoint and Cmd are ignored
    args alone                      the image's Entrypoint with these args; Cmd is ignored
    command and args                both as the pod has them; the image's are ignored

istio-init has a `command`, so it runs istio-iptables. istio-proxy has only `args`, so it runs the
image's Entrypoint, pilot-agent, with them. The chapter shows both, and then tries all four cases
with nginx, in pods and in plain Docker.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from lab.mesh.contract import (
    INIT_CONTAINER,
    IPTABLES_PROGRAM,
    NGINX_IMAGE,
    PILOT_AGENT_PATH,
    PROXY_CONTAINER,
)
from lab.scenario import Chapter, Seen, World, eventually, expect
from lab.scenario.plain_docker import running
from scenarios import application

chapter = Chapter(5, "One image, two programs", namespace="jiuxi-one-image", prose=__doc__)


@dataclass(frozen=True)
class Case:
    """One row of the table: what the pod says, and what its first process is then called.

    nginx rewrites its own title: its argument list follows "nginx: master process ".
    """

    name: str
    command: tuple[str, ...] | None
    args: tuple[str, ...] | None
    runs: str


CASES = (
    Case("neither", None, None, "nginx: master process nginx -g daemon off;"),
    Case("command", ("sleep", "infinity"), None, "sleep infinity"),
    Case(
        "args",
        None,
        ("-e", "/dev/stderr", "-g", "daemon off;"),
        "nginx: master process nginx -e /dev/stderr -g daemon off;",
    ),
    Case("both", ("sleep",), ("1000000",), "sleep 1000000"),
)
EXPECTED = {case.name: case.runs for case in CASES}
"""The image's own are ENTRYPOINT ["nginx"] and CMD ["-g", "daemon off;"]."""


def _pod(name: str, case: Case) -> str:
    lines = [
        "apiVersion: v1",
        "kind: Pod",
        f"metadata: {{name: {name}, labels: {{case: {name}}}}}",
        "spec:",
        "  terminationGracePeriodSeconds: 1",
        "  containers:",
        "  - name: nginx",
        f"    image: {NGINX_IMAGE}",
        "    imagePullPolicy: IfNotPresent",
    ]
    for key, words in (("command", case.command), ("args", case.args)):
        if words is not None:
            lines.append(f"    {key}: {json.dumps(words)}")
    return "\n".join(lines) + "\n"


@chapter.given
def an_injected_nginx_and_four_pods(world: World) -> None:
    """An injected nginx, and one pod of nginx's image for each case of the table."""
    world.write("four-cases.yaml", "---\n".join(_pod(case.name, case) for case in CASES))
    world.kubectl("apply", "-f", "four-cases.yaml")
    application.injected(world)
    for case in CASES:
        world.ready(f"case={case.name}")


@chapter.given
def the_images_names(world: World) -> None:
    """What Docker calls the lab's images."""
    assert world.lab is not None
    for name, key in (("proxy", world.mesh.proxy_image), ("nginx", "nginx")):
        world.names[f"{name}_image"] = world.lab.images[key]
    world.names["lab"] = world.lab.name


@chapter.step(
    "kubectl get po -n {ns} -l app=jiuxi -o "
    '\'custom-columns=INIT:.spec.initContainers[?(@.name=="istio-init")].image,'
    'DIGEST:.status.initContainerStatuses[?(@.name=="istio-init")].imageID\'',
    "kubectl get po -n {ns} -l app=jiuxi -o "
    '\'custom-columns=PROXY:.spec.containers[?(@.name=="istio-proxy")].image,'
    'DIGEST:.status.containerStatuses[?(@.name=="istio-proxy")].imageID\'',
    shows=(
        """
        INIT DIGEST
        ......
        """,
        """
        PROXY DIGEST
        ......
        """,
    ),
    proves=12,
)
def one_image(world: World, seen: Seen) -> None:
    """The init container and the proxy name the same image, and the container runtime resolved
    both names to the same digest: not two images that happen to be called alike.
    """
    for pod in world.pods(application.APP):
        init, proxy = pod.init(INIT_CONTAINER), pod.container(PROXY_CONTAINER)
        expect(init.image, f"image of {INIT_CONTAINER}").equal(proxy.image)
        expect(init.image_id, f"digest of {INIT_CONTAINER}").equal(proxy.image_id)
        expect(init.image_id, "the digest").matches(r"sha256:[0-9a-f]{64}$", "is one of sha256")
        expect(pod.container("nginx").image_id, "digest of nginx").differ(proxy.image_id)


@one_image.breaks("istio-init is given another image")
def another_image(world: World) -> Iterator[None]:
    """The control plane's image; it has no iptables program, so the rollout stops there."""
    world.kubectl(
        "set", "image", "deployment/jiuxi", f"{INIT_CONTAINER}=docker.io/sidecar-lab/control:lab"
    )
    eventually(lambda: len(world.pods(application.APP)) == 2, "a second pod", within=20)
    yield
    world.kubectl("rollout", "undo", "deployment/jiuxi")
    application.adopt(world)


@chapter.step(
    "docker images {proxy_repository}",
    "docker inspect {proxy_image}",
    shows=(
        "",
        """
        ......
        "Entrypoint": [
        "/usr/local/bin/pilot-agent"
        ],
        ......
        """,
    ),
    proves=12,
)
def entrypoint_but_no_cmd(world: World, seen: Seen) -> None:
    """The image says what it runs by itself: Entrypoint is pilot-agent, Cmd is null. So without a
    word from the pod it would run pilot-agent without arguments.
    """
    image = world.names.resolve("proxy_image")
    tags = {f"{row['REPOSITORY']}:{row['TAG']}" for row in seen[0].rows}
    (found,) = seen[1].json()
    expect(found["Config"].get("Entrypoint"), "Entrypoint").equal([PILOT_AGENT_PATH])
    expect(found["Config"].get("Cmd"), "Cmd").equal(None)
    expect(tags, "images that Docker lists").contains(image)


@entrypoint_but_no_cmd.breaks("the image has arguments of its own")
def an_image_with_a_cmd(world: World) -> Iterator[None]:
    """An image made from the proxy's that adds a Cmd."""
    yield from _derived(world, "proxy_image", "proxy-with-cmd", 'CMD ["proxy", "--help"]\n')


def _derived(world: World, name: str, title: str, instructions: str) -> Iterator[None]:
    original = world.names[name]
    lab = world.names.resolve("lab")
    tag = f"sidecar-lab/{title}:{lab}"
    dockerfile = f"FROM {world.names.resolve(name)}\n{instructions}"
    # Labelled, so that `lab down` finds it if this run is killed before it is removed below.
    world.run("docker", "build", "--quiet", "--network", "none", "--tag", tag,
              "--label", f"sidecar-lab.name={lab}", "-", stdin=dockerfile)  # fmt: skip
    world.names[name] = tag
    yield
    world.names[name] = original
    world.docker("rmi", "--force", tag)


@chapter.step(
    "kubectl get po -n {ns} {pod} -o yaml",
    shows="""
        ......
        - args:
        - proxy
        - sidecar
        ......
        initContainers:
        ......
        - istio-iptables
        ......
    """,
    proves=12,
)
def command_for_one_args_for_the_other(world: World, seen: Seen) -> None:
    """In the pod's YAML istio-init has a `command`, istio-iptables, which replaces the image's
    Entrypoint. istio-proxy has only `args`: its first process is the image's pilot-agent, and the
    args of the pod, `proxy sidecar …`, are what follows.
    """
    spec = seen.last.yaml()["spec"]
    init = _named(spec["initContainers"], INIT_CONTAINER)
    proxy = _named(spec["containers"], PROXY_CONTAINER)
    given = [*(init.get("command") or ()), *(init.get("args") or ())]
    program = (init.get(world.mesh.program_in) or [""])[0]
    expect(program, f"first word of istio-init's {world.mesh.program_in}").equal(IPTABLES_PROGRAM)
    expect(given[:7], "command and args of istio-init").equal(
        [IPTABLES_PROGRAM, "-p", "15001", "-z", "15006", "-u", "1337"]
    )
    expect(proxy.get("command"), "istio-proxy's command").equal(None)
    expect(proxy["args"][:2], "first args of istio-proxy").equal(["proxy", "sidecar"])
    variables = {"$(POD_NAMESPACE)": world.ns}
    wanted = (PILOT_AGENT_PATH, *(_expand(word, variables) for word in proxy["args"]))
    agent = next(
        one for one in world.pod(application.APP).processes(PROXY_CONTAINER) if one.pid == 1
    )
    expect(agent.argv, "argument list of istio-proxy's first process").equal(wanted)


def _named(containers: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(one for one in containers if one["name"] == name)


def _expand(word: str, variables: Mapping[str, str]) -> str:
    for reference, value in variables.items():
        word = word.replace(reference, value)
    return word


@command_for_one_args_for_the_other.breaks("istio-proxy is given a command too")
def a_command_for_the_proxy(world: World) -> Iterator[None]:
    """The same program, spelled out: the pod works, and is not as the walkthrough says."""
    proxy = {"name": PROXY_CONTAINER, "command": [PILOT_AGENT_PATH]}
    patch = json.dumps({"spec": {"template": {"spec": {"containers": [proxy]}}}})
    world.kubectl("patch", "deployment", "jiuxi", "--patch", patch)
    application.adopt(world)
    yield
    world.kubectl("rollout", "undo", "deployment/jiuxi")
    application.adopt(world)


@chapter.step(
    "kubectl get po -n {ns} -l case -o "
    "'custom-columns=POD:.metadata.name,COMMAND:.spec.containers[0].command,"
    "ARGS:.spec.containers[0].args'",
    *(f"kubectl exec -n {{ns}} {case.name} -- ps -o args= -p 1" for case in CASES),
    shows=(
        """
        POD COMMAND ARGS
        ......
        """,
        *("" for _ in CASES),
    ),
    proves=12,
)
def the_four_cases_in_pods(world: World, seen: Seen) -> None:
    """Four pods of one image, whose Entrypoint is `nginx` and whose Cmd is `-g "daemon off;"`.
    Process 1 of each shows which settings won. With a `command` alone even Cmd is dropped: `sleep`
    does not get nginx's arguments.
    """
    printed = {
        case.name: out.stdout.strip() for case, out in zip(CASES, seen.outputs[1:], strict=True)
    }
    outside = {case.name: _first_process(world, case.name) for case in CASES}
    expect(printed, "process 1 of each pod, as ps prints it").equal(EXPECTED)
    expect(outside, "the same, seen from the node").equal(EXPECTED)


def _first_process(world: World, pod: str) -> str:
    return next(one.command for one in world.pod(f"case={pod}").processes("nginx") if one.pid == 1)


@the_four_cases_in_pods.breaks("the pod with neither is replaced by one with a command")
def another_case(world: World) -> Iterator[None]:
    """The pod is made anew as another case, and again as it was."""
    of = {case.name: case for case in CASES}
    _replace(world, "neither", of["command"])
    yield
    _replace(world, "neither", of["neither"])


def _replace(world: World, name: str, case: Case) -> None:
    world.kubectl("delete", "pod", name, "--wait=true")
    world.apply(_pod(name, case))
    world.ready(f"case={name}")


@chapter.step(
    "docker inspect --format '{{json .Config.Entrypoint}} {{json .Config.Cmd}}' {nginx_image}",
    "docker run --rm --network none --label sidecar-lab.name={lab} {nginx_image} -v",
    "docker run --rm --network none --label sidecar-lab.name={lab} --entrypoint ps {nginx_image} "
    "-o args= -p 1",
    shows=(
        "",
        "nginx version: nginx/<word>",
        "ps -o args= -p 1",
    ),
    proves=12,
)
def the_four_cases_in_plain_docker(world: World, seen: Seen) -> None:
    """The rule is the container runtime's, not Kubernetes'. `docker run IMAGE -v` replaces Cmd
    alone, so `nginx -v` prints its version; `--entrypoint ps` replaces both. The same four cases
    as above, each in a container of plain Docker, end in the same four argument lists.
    """
    image = world.names.resolve("nginx_image")
    lab = world.names.resolve("lab")
    with ThreadPoolExecutor(len(CASES)) as pool:
        found = pool.map(lambda case: _in_docker(image, lab, case), CASES)
        docker = {case.name: runs for case, runs in zip(CASES, found, strict=True)}
    expect(docker, "first process of each container").equal(EXPECTED)
    world.attach(
        "first process: pods, plain Docker",
        before=[f"{name}: {runs}" for name, runs in EXPECTED.items()],
        after=[f"{name}: {runs}" for name, runs in docker.items()],
    )


def _in_docker(image: str, lab: str, case: Case) -> str:
    with running(image, lab=lab, entrypoint=case.command, arguments=case.args) as container:

        def settled() -> str:
            # Docker's own helper comes first, and nginx needs a moment to give itself a title.
            command = container.command()
            return command if command.startswith(("sleep ", "nginx: ")) else ""

        return eventually(settled, f"the program of case {case.name} runs")


@the_four_cases_in_plain_docker.breaks("the image has another entrypoint")
def an_image_with_another_entrypoint(world: World) -> Iterator[None]:
    """An image made from nginx's whose Entrypoint has one option more."""
    yield from _derived(
        world,
        "nginx_image",
        "nginx-with-entrypoint",
        'ENTRYPOINT ["nginx", "-q"]\nCMD ["-g", "daemon off;"]\n',
    )
