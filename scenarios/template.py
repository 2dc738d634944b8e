"""A template: copy it to `ch9_<your topic>.py` and say here, in your own words, what the chapter
shows and why a reader should care. This text is the chapter's introduction.

A second paragraph is shown as one. docs/writing-a-chapter.md explains every line below.
"""

from collections.abc import Iterator

from lab.observe.readings import ports
from lab.scenario import Chapter, Seen, World, eventually, expect
from scenarios import application

chapter = Chapter(9, "A title of a few words", namespace="jiuxi-nine", prose=__doc__)


@chapter.given
def an_injected_nginx(world: World) -> None:
    """Prepare the world for the first step: the walkthrough's nginx with a sidecar."""
    application.injected(world)


@chapter.step(
    "kubectl get po -n {ns} {pod}",
    shows="""
        NAME READY STATUS RESTARTS AGE
        jiuxi-<hash>-<hash> 2/2 Running 0 <age>
    """,
    hint="`kubectl describe po -n jiuxi-nine` says why a pod is not Ready",
)
def the_pod_has_a_sidecar(world: World, seen: Seen) -> None:
    """The step's text: what the reader sees, and what follows from it. Two containers run, and
    Envoy listens beside nginx.
    """
    pod = application.spoken_of(world)
    expect(seen.rows[0]["READY"], "READY as kubectl prints it").equal("2/2")
    expect([container.name for container in pod.containers()], "the containers").contains(
        "istio-proxy"
    )
    eventually(lambda: expect(ports(pod.listeners()), "the ports that listen").contains(15001))


@the_pod_has_a_sidecar.breaks("the pod has no sidecar")
def a_plain_pod(world: World) -> Iterator[None]:
    """Make the change after which the step's check must fail, `yield`, and undo the change."""
    world.apply(f"{application.STAND_IN}  containers:\n{application.container('nginx')}")
    world.ready("app=stand-in")
    yield from application.another_pod(world, "stand-in")
    world.kubectl("delete", "pod", "stand-in", "--force", "--grace-period=0")
