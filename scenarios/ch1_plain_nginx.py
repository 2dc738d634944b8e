"""Before anything is injected, a pod is simple: one container, one listening port, and a network
namespace that nobody has tampered with. This chapter writes down that state, so that everything
the next chapters find can be called a change.

The walkthrough's manifest, as it is printed, cannot be applied. Its mistakes are common ones, so
the first lesson is to read what a tool says about them.
"""

import re
from collections.abc import Iterator

from lab.mesh.contract import CHAINS, INJECTION_LABEL
from lab.observe.model import Listener, seen_from
from lab.observe.parsers.iptables_list import parse_iptables_list
from lab.observe.parsers.netstat import parse_netstat
from lab.scenario import Chapter, Seen, World, eventually, expect
from scenarios import application

chapter = Chapter(1, "Plain nginx", namespace="jiuxi-ns", prose=__doc__, makes_namespace=True)

PRINTED = "jiuxi-deployment-as-printed.yaml"
REFUSED = "refused.yaml"


@chapter.given
def the_manifests(world: World) -> None:
    """The walkthrough's file as printed, and the corrected one."""
    world.take(PRINTED)
    world.take(application.MANIFEST)


@chapter.step("kubectl create ns {ns}", shows="namespace/jiuxi-ns created", proves=1)
def a_namespace_of_its_own(world: World, seen: Seen) -> None:
    """A namespace to work in. Nothing in it asks for injection: the label that would is absent."""
    expect(world.cluster.namespace_labels(world.ns), "labels of the namespace").lacks(
        INJECTION_LABEL
    )


@a_namespace_of_its_own.breaks("the namespace asks for injection", rerun=False)
def a_labelled_namespace(world: World) -> Iterator[None]:
    """Label it, then take the label off."""
    world.kubectl("label", "ns", world.ns, f"{INJECTION_LABEL}=enabled")
    yield
    world.kubectl("label", "ns", world.ns, f"{INJECTION_LABEL}-")


@chapter.step(
    "{cli} kube-inject -f jiuxi-deployment-as-printed.yaml -o refused.yaml",
    allow_exit=[1, 2],
    proves=2,
    hint="the corrected file is manifests/jiuxi-deployment.yaml",
)
def the_printed_manifest_is_refused(world: World, seen: Seen) -> None:
    """The manifest as the walkthrough prints it has three mistakes. Each is named with its line,
    in one go, and nothing is written: half a manifest would be worse than none.
    """
    lines = world.read(PRINTED).splitlines()
    refusal = world.mesh.refusal
    expect(seen.last.returncode, "exit code").equal(refusal.exit_code)
    expect(seen.stdout, "standard output").equal("")
    written = world.read(REFUSED) if (world.workdir / REFUSED).exists() else None
    expect(written, "the output file").equal(refusal.writes)
    for text, complaint in refusal.complaints.items():
        at = 1 + max(number for number, line in enumerate(lines) if line.strip() == text)
        pattern = complaint.replace("FILE", re.escape(PRINTED))
        pattern = pattern.replace("LINE", str(at)).replace("NEXT", str(at + 1))
        expect(seen.text, f"what is said of line {at}").matches(pattern, "names the mistake")


@the_printed_manifest_is_refused.breaks("the file has no mistakes")
def a_sound_file(world: World) -> Iterator[None]:
    """Put the corrected text in the printed file's place."""
    printed = world.read(PRINTED)
    world.write(PRINTED, world.read(application.MANIFEST))
    yield
    world.write(PRINTED, printed)
    (world.workdir / REFUSED).unlink()


@chapter.step(
    "kubectl apply -f jiuxi-deployment.yaml -n {ns}",
    "kubectl rollout status deployment/jiuxi -n {ns} --timeout=30s",
    "kubectl get po -n {ns}",
    shows=["deployment.apps/jiuxi <any>", "", ""],
    proves=[1, 2],
    hint="`kubectl describe po -n jiuxi-ns` says why a pod is not Ready",
)
def the_corrected_manifest_runs(world: World, seen: Seen) -> None:
    """With the three mistakes corrected the same file is accepted. The pod has one container:
    READY says 1/1.
    """
    (pod,) = world.ready("app=jiuxi", within=20)
    application.adopt(world)
    expect(pod.ready, "READY").equal("1/1")
    expect([one.name for one in pod.containers()], "containers").equal(["nginx"])
    expect(pod.inits(), "init containers").has_length(0)
    expect([row["NAME"] for row in seen.rows], "pods that kubectl lists").contains(pod.name)


@the_corrected_manifest_runs.breaks("the deployment asks for an image nobody has", rerun=False)
def a_missing_image(world: World) -> Iterator[None]:
    """A rollout that cannot end leaves two pods, one of them not Ready."""
    world.kubectl("set", "image", "deployment/jiuxi", "nginx=docker.io/sidecar-lab/nowhere:lab")
    world.cluster.wait(
        f"/api/v1/namespaces/{world.ns}/pods",
        lambda pods: len(pods) == 2,
        what="a second pod",
        timeout=20,
    )
    yield
    world.kubectl("rollout", "undo", "deployment/jiuxi")
    application.adopt(world)


@chapter.step(
    "kubectl exec -n {ns} {pod} -- netstat -ntlp",
    shows="""
        Active Internet connections (only servers)
        Proto Recv-Q Send-Q Local Address <any>
        tcp <number> <number> 0.0.0.0:80 0.0.0.0:* LISTEN 1/nginx: master pro
    """,
    proves=1,
)
def one_listener(world: World, seen: Seen) -> None:
    """Only nginx's master process listens, on port 80 of every address."""
    pod = world.pod("app=jiuxi")
    outside = pod.listeners()
    expect(parse_netstat(seen.stdout), "listeners that netstat prints").equal(
        frozenset({Listener("0.0.0.0", 80, "nginx: master pro", 1)})  # noqa: S104
    )
    expect(seen_from(outside, "nginx"), "the same, read from outside").equal(
        parse_netstat(seen.stdout)
    )


@one_listener.breaks("a second server listens in the pod")
def a_second_server(world: World) -> Iterator[None]:
    """Python's web server on port 8080, in nginx's container."""
    end = world.start_in(
        world.names.resolve("pod"), "nginx", "python3", "-m", "http.server", "8080"
    )
    pod = world.pod("app=jiuxi")
    eventually(lambda: len(pod.listeners()) == 2, "the second server listens", within=10)
    yield
    end()
    eventually(lambda: len(pod.listeners()) == 1, "the second server is gone", within=10)


@chapter.step(
    "docker exec --privileged {node} nsenter -t {pid} -n iptables -nvL -t nat",
    proves=1,
)
def no_redirection(world: World, seen: Seen) -> None:
    """The pod's network namespace, entered from its node as root: the nat table has none of the
    four ISTIO chains. Whatever redirects traffic later was not here before.
    """
    pod = world.pod("app=jiuxi")
    expect(parse_iptables_list(seen.stdout).user_chains, "chains that somebody made").lacks(*CHAINS)
    expect(pod.nat().user_chains, "the same, read by the observer").lacks(*CHAINS)
    world.attach("rules", before=pod.nat().rules)


@no_redirection.breaks("somebody makes one of the chains")
def a_foreign_chain(world: World) -> Iterator[None]:
    """An empty ISTIO_REDIRECT in the pod's nat table."""
    pod = world.pod("app=jiuxi")
    pod.run(["iptables", "-t", "nat", "-N", CHAINS[0]])
    yield
    pod.run(["iptables", "-t", "nat", "-X", CHAINS[0]])
