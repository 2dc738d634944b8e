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

import shlex
from collections.abc import Mapping
from typing import Any

from lab.mesh.contract import (
    INIT_CONTAINER,
    IPTABLES_PROGRAM,
    PILOT_AGENT_PATH,
    PROXY_CONTAINER,
)
from lab.scenario import Chapter, Seen, World, expect
from scenarios import application, image_cases
from scenarios.image_cases import CASES, EXPECTED, Case

chapter = Chapter(5, "One image, two programs", namespace="jiuxi-one-image", prose=__doc__)


@chapter.given
def an_injected_nginx_and_four_pods(world: World) -> None:
    """Apply an injected nginx, and one pod of nginx's image for each case of the table."""
    world.write("four-cases.yaml", "---\n".join(image_cases.pod(case.name, case) for case in CASES))
    world.kubectl("apply", "-f", "four-cases.yaml")
    application.injected(world)
    for case in CASES:
        world.ready(f"case={case.name}")


@chapter.given
def the_images_names(world: World) -> None:
    """Set placeholders for the names of the lab's images in Docker, and for the lab's name."""
    assert world.lab is not None
    for name, key in (("proxy", world.mesh.proxy_image), ("nginx", "nginx")):
        world.names[f"{name}_image"] = world.lab.images[key]
    world.names["lab"] = world.lab.name


@chapter.step(
    "kubectl get po -n {ns} {pod} -o "
    '\'custom-columns=INIT:.spec.initContainers[?(@.name=="istio-init")].image,'
    'DIGEST:.status.initContainerStatuses[?(@.name=="istio-init")].imageID\'',
    "kubectl get po -n {ns} {pod} -o "
    '\'custom-columns=PROXY:.spec.containers[?(@.name=="istio-proxy")].image,'
    'DIGEST:.status.containerStatuses[?(@.name=="istio-proxy")].imageID\'',
    proves=12,
)
def one_image(world: World, seen: Seen) -> None:
    """The init container and the proxy name the same image, and the container runtime resolved
    both names to the same digest: not two images that happen to be called alike.
    """
    pod = application.spoken_of(world)
    init, proxy = pod.init(INIT_CONTAINER), pod.container(PROXY_CONTAINER)
    expect(init.image, f"the image of {INIT_CONTAINER}").equal(proxy.image, "is istio-proxy's")
    expect(init.image_id, f"the digest of {INIT_CONTAINER}").equal(
        proxy.image_id, "is istio-proxy's"
    )
    expect(init.image_id, "that digest").matches(r"sha256:[0-9a-f]{64}$", "is one of sha256")
    expect(pod.container("nginx").image_id, "the digest of nginx").differ(
        proxy.image_id, "is another"
    )


one_image.breaks("istio-init has another image, and istio-proxy nginx's")(image_cases.another_image)


one_image.breaks("istio-init has an image that nobody has")(image_cases.a_missing_image)


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
    (inspected,) = seen[1].json()
    expect(inspected["Config"].get("Entrypoint"), "Entrypoint").equal([PILOT_AGENT_PATH])
    expect(inspected["Config"].get("Cmd"), "Cmd").equal(None)
    expect(tags, "the images that Docker lists").contains(image)


entrypoint_but_no_cmd.breaks("the image has an Entrypoint and arguments of its own")(
    image_cases.an_image_with_a_cmd
)


@chapter.step(
    "kubectl get po -n {ns} {pod} -o yaml",
    "kubectl exec -n {ns} {pod} -c istio-proxy -- ps -ww -o args= -p 1",
    shows=(
        """
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
        "",
    ),
    proves=12,
)
def command_for_one_args_for_the_other(world: World, seen: Seen) -> None:
    """In the pod's YAML istio-init has a `command`, istio-iptables, which replaces the image's
    Entrypoint. istio-proxy has only `args`: its first process is the image's pilot-agent, and the
    args of the pod, `proxy sidecar …`, are what follows.
    """
    spec = seen[0].yaml()["spec"]
    init = _named(spec["initContainers"], INIT_CONTAINER)
    proxy = _named(spec["containers"], PROXY_CONTAINER)
    words = [*(init.get("command") or ()), *(init.get("args") or ())]
    program = (init.get(world.mesh.program_in) or [""])[0]
    expect(program, f"the first word of istio-init's {world.mesh.program_in}").equal(
        IPTABLES_PROGRAM
    )
    expect(words[:7], "the first words of its command and args").equal(
        [IPTABLES_PROGRAM, "-p", "15001", "-z", "15006", "-u", "1337"]
    )
    expect(proxy.get("command"), "the command of istio-proxy").equal(None)
    args = proxy.get("args") or []
    expect(args[:2], "the first args of istio-proxy").equal(["proxy", "sidecar"])
    variables = {"$(POD_NAMESPACE)": world.ns}
    wanted = " ".join([PILOT_AGENT_PATH, *(_expand(word, variables) for word in args)])
    expect(seen[1].stdout.strip(), "the first process of istio-proxy").equal(
        wanted, "is the image's Entrypoint with these args"
    )
    outside = application.spoken_of(world).processes(PROXY_CONTAINER)
    expect(
        [process.command for process in outside if process.pid == 1],
        "that process, read from the node,",
    ).equal([wanted], "is the same")


def _named(containers: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(container for container in containers if container["name"] == name)


def _expand(word: str, variables: Mapping[str, str]) -> str:
    for reference, value in variables.items():
        word = word.replace(reference, value)
    return word


command_for_one_args_for_the_other.breaks("both containers have other commands")(
    image_cases.other_commands
)


@chapter.step(
    "kubectl get po -n {ns} -l case -o "
    "'custom-columns=POD:.metadata.name,COMMAND:.spec.containers[0].command,"
    "ARGS:.spec.containers[0].args'",
    *(f"kubectl exec -n {{ns}} {case.name} -- ps -o args= -p 1" for case in CASES),
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
    for case in CASES:
        expect(printed[case.name], f"process 1 of the pod {case.name}").equal(case.runs)
    expect(outside, "the processes read from the node").equal(EXPECTED, "are the same four")


def _first_process(world: World, pod: str) -> str:
    return next(
        process.command
        for process in world.pod(f"case={pod}").processes("nginx")
        if process.pid == 1
    )


the_four_cases_in_pods.breaks("each pod is that of another case")(image_cases.other_cases)


IN_DOCKER = "docker run --network none --label sidecar-lab.name={lab}"


def _started(case: Case) -> str:
    """Return the `docker run` command line that starts the container of `case` in background."""
    start = f"{IN_DOCKER} --detach --name {{lab}}-{case.name}"
    entry, *rest = case.command or ("",)
    words = [*rest, *(case.args or ())]
    image = f"--entrypoint {entry} {{nginx_image}}" if entry else "{nginx_image}"
    return f"{start} {image} {shlex.join(words)}".rstrip()


@chapter.step(
    "docker inspect --format '{{json .Config.Entrypoint}} {{json .Config.Cmd}}' {nginx_image}",
    f"{IN_DOCKER} --rm {{nginx_image}} -v",
    f"{IN_DOCKER} --rm --entrypoint ps {{nginx_image}} -o args= -p 1",
    *(_started(case) for case in CASES),
    *(f"docker exec {{lab}}-{case.name} ps -ww -o args= -p 1" for case in CASES),
    "docker rm --force " + " ".join(f"{{lab}}-{case.name}" for case in CASES),
    shows=(
        "",
        "nginx version: nginx/<word>",
        "ps -o args= -p 1",
        *("" for _ in CASES),
        *(case.runs for case in CASES),
        "",
    ),
    # nginx needs a moment to set its process title.
    waits=dict.fromkeys(range(7, 11), 5),
    proves=12,
)
def the_four_cases_in_plain_docker(world: World, seen: Seen) -> None:
    """The rule is the container runtime's, not Kubernetes'. `docker run IMAGE -v` replaces Cmd
    alone, so `nginx -v` prints its version; `--entrypoint ps` replaces both. The same four cases
    as above, each in a container of plain Docker, end in the same four argument lists.
    """
    printed = dict(zip(EXPECTED, (out.stdout.strip() for out in seen.outputs[7:11]), strict=True))
    expect(printed, "the first processes of the four containers").equal(
        EXPECTED, "are those of the four pods"
    )
    world.attach(
        "first process: pods, plain Docker",
        before=[f"{name}: {runs}" for name, runs in EXPECTED.items()],
        after=[f"{name}: {runs}" for name, runs in printed.items()],
    )


the_four_cases_in_plain_docker.breaks("the image has another entrypoint, and other programs")(
    image_cases.an_image_with_another_entrypoint
)
