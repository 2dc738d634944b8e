"""Before anything is injected, a pod is simple: one container, one listening port, and a network
namespace that nobody has tampered with. This chapter writes down that state, so that everything
the next chapters find can be called a change.

The walkthrough's manifest, as it is printed, cannot be applied. Its mistakes are common ones, so
the first lesson is to read what a tool says about them.
"""

import json
import re
from collections.abc import Iterator

from lab.mesh.contract import CHAINS, INJECTION_LABEL, NGINX_IMAGE
from lab.observe.parsers.iptables_list import parse_iptables_list
from lab.observe.parsers.netstat import parse_netstat
from lab.observe.readings import Listener, ports, seen_from
from lab.scenario import Chapter, Seen, World, eventually, expect
from scenarios import application

chapter = Chapter(1, "Plain nginx", namespace="jiuxi-ns", prose=__doc__, makes_namespace=True)

PRINTED = "jiuxi-deployment-as-printed.yaml"
REFUSED = "refused.yaml"


@chapter.given
def the_manifests(world: World) -> None:
    """Copy the manifest as the walkthrough prints it, and the corrected manifest."""
    world.take(PRINTED)
    world.take(application.MANIFEST)
    world.memory["printed"] = world.read(PRINTED)
    application.follow(world)


@chapter.step(
    "kubectl create ns {ns}",
    "kubectl get ns {ns} --show-labels",
    acts=[0],
    shows="""
        NAME STATUS AGE LABELS
        jiuxi-ns Active <age> kubernetes.io/metadata.name=jiuxi-ns
    """,
    proves=1,
)
def a_namespace_of_its_own(world: World, seen: Seen) -> None:
    """A namespace to work in. Nothing in it asks for injection: the label that would is absent."""
    expect(seen.rows[0]["LABELS"], "the column LABELS").lacks(INJECTION_LABEL)
    expect(world.cluster.namespace_labels(world.ns), "the namespace's labels").lacks(
        INJECTION_LABEL
    )


@a_namespace_of_its_own.breaks("the namespace asks for injection")
def a_labelled_namespace(world: World) -> Iterator[None]:
    """Label the namespace for injection; then remove the label."""
    world.kubectl("label", "ns", world.ns, f"{INJECTION_LABEL}=enabled")
    yield
    world.kubectl("label", "ns", world.ns, f"{INJECTION_LABEL}-")


@chapter.step(
    "{cli} kube-inject -f jiuxi-deployment-as-printed.yaml -o refused.yaml",
    "ls -l refused.yaml",
    allow_exit=[1, 2],
    proves=2,
    hint="the corrected file is manifests/jiuxi-deployment.yaml",
)
def the_printed_manifest_is_refused(world: World, seen: Seen) -> None:
    """The manifest as the walkthrough prints it has three mistakes. Each is named with its line,
    in one go, and nothing is written: half a manifest would be worse than none.
    """
    lines = world.memory["printed"].splitlines()
    refusal = world.mesh.refusal
    expect(seen[0].returncode, "the exit code of kube-inject").equal(refusal.exit_code)
    expect(seen[0].stdout, "its standard output").equal("")
    written = world.read(REFUSED) if (world.workdir / REFUSED).exists() else None
    expect(written, f"the file {REFUSED}").equal(refusal.writes)
    for text, complaint in refusal.complaints.items():
        at = 1 + max(number for number, line in enumerate(lines) if line.strip() == text)
        pattern = complaint.pattern.replace("FILE", re.escape(PRINTED))
        pattern = pattern.replace("LINE", str(at)).replace("NEXT", str(at + 1))
        expect(seen[0].text, f"what is said of line {at}").matches(pattern, complaint.words)


@the_printed_manifest_is_refused.breaks("the file has no mistakes")
def a_sound_file(world: World) -> Iterator[None]:
    """Replace the manifest as printed by the corrected one; then restore it."""
    printed = world.read(PRINTED)
    world.write(PRINTED, world.read(application.MANIFEST))
    yield
    world.write(PRINTED, printed)
    (world.workdir / REFUSED).unlink()


@the_printed_manifest_is_refused.breaks("kube-inject prints what it could make of it")
def half_a_manifest(world: World) -> Iterator[None]:
    """Let `{cli}` be a script that prints a part of the manifest; then restore `{cli}`.

    The script ends with the exit code that kube-inject has when it rejects the manifest.
    """
    kept = world.names["cli"]
    script = f"#!/bin/sh\nhead -n 5 {PRINTED}\nexit {world.mesh.refusal.exit_code}\n"
    world.write("half", script).chmod(0o755)
    world.names["cli"] = "./half"
    yield
    world.names["cli"] = kept


@chapter.step(
    "kubectl apply -f jiuxi-deployment.yaml -n {ns}",
    "kubectl rollout status deployment/jiuxi -n {ns} --timeout=30s",
    "kubectl get po -n {ns}",
    "kubectl get po -n {ns} -o "
    "'custom-columns=INIT:.spec.initContainers[*].name,CONTAINERS:.spec.containers[*].name'",
    acts=[0, 1],
    shows=[
        "",
        "",
        """
        NAME READY STATUS RESTARTS AGE
        jiuxi-<hash>-<hash> 1/1 Running 0 <age>
        """,
        """
        INIT CONTAINERS
        <none> nginx
        """,
    ],
    proves=[1, 2],
    hint="`kubectl describe po -n jiuxi-ns` says why a pod is not Ready",
)
def the_corrected_manifest_runs(world: World, seen: Seen) -> None:
    """With the three mistakes corrected the same file is accepted. The pod has one container:
    READY says 1/1.
    """
    pod = world.pod(application.APP)
    eventually(lambda: expect(ports(pod.listeners()), "the ports that listen").equal({80}))
    expect(pod.ready, "READY").equal("1/1")
    expect([container.name for container in pod.containers()], "the containers").equal(["nginx"])
    expect(pod.inits(), "the init containers").has_length(0)
    expect([row["NAME"] for row in seen[2].rows], "the pods that kubectl lists").equal([pod.name])


@the_corrected_manifest_runs.breaks("the deployment has more containers, and no server")
def more_containers(world: World) -> Iterator[None]:
    """Add an init container and a second container, and let nginx's container only sleep.

    Then undo these changes.
    """
    idle = {"image": NGINX_IMAGE, "imagePullPolicy": "IfNotPresent"}
    sleeps = {"command": ["sleep", "1000"]}
    patch = {
        "initContainers": [{"name": "first", "command": ["true"], **idle}],
        "containers": [{"name": "nginx", **sleeps}, {"name": "second", **sleeps, **idle}],
    }
    text = json.dumps({"spec": {"template": {"spec": patch}}})
    world.kubectl("patch", "deployment", "jiuxi", "--patch", text)
    world.rolled_out("jiuxi")
    yield
    world.kubectl("rollout", "undo", "deployment/jiuxi")
    application.adopt(world)


@the_corrected_manifest_runs.breaks("another pod stands in the namespace")
def a_second_pod(world: World) -> Iterator[None]:
    """Create a pod that does not belong to the Deployment, with an image that does not exist."""
    image = "--image=docker.io/sidecar-lab/nowhere:lab"
    world.kubectl("run", "another", image, "--image-pull-policy=Never")
    yield
    world.kubectl("delete", "pod", "another", "--grace-period=1")


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
    only = frozenset({Listener("0.0.0.0", 80, "nginx: master pro", 1)})  # noqa: S104
    outside = world.pod(application.APP).listeners()
    expect(parse_netstat(seen.stdout), "the listeners that netstat prints").equal(only)
    expect(seen_from(outside, "nginx"), "the listeners read from the node").equal(only)


@one_listener.breaks("a second server listens in the pod")
def a_second_server(world: World) -> Iterator[None]:
    """Run Python's web server on port 8080, in nginx's container; then end it."""
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
    expect(parse_iptables_list(seen.stdout).user_chains, "the chains that iptables lists").lacks(
        *CHAINS
    )
    expect(pod.nat().user_chains, "the chains that the observer reads").lacks(*CHAINS)
    world.attach("rules", before=pod.nat().rules)


@no_redirection.breaks("somebody makes one of the chains")
def a_foreign_chain(world: World) -> Iterator[None]:
    """Create an empty chain ISTIO_REDIRECT in the pod's nat table; then delete the chain."""
    pod = world.pod("app=jiuxi")
    pod.run(["iptables", "-t", "nat", "-N", CHAINS[0]])
    yield
    pod.run(["iptables", "-t", "nat", "-X", CHAINS[0]])
