"""Automatic injection makes every new pod depend on a webhook. When the API server cannot ask it,
`failurePolicy` decides: with Fail no pod is made, with Ignore a pod is made without a sidecar, and
nobody is told. Neither is right for everybody; a mesh chooses Fail, because a pod that looks well
and goes around the mesh is worse than one that is missing.

A webhook is also seldom alone. Others change pods before it and after it, and it may be asked again
about what they made. Whatever the order, there must be one sidecar in the end.

All of it is tried with a webhook configuration of this chapter's own, meant for this namespace only
and gone with it; the mesh's own is left as it is.
"""

import base64
import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from lab.mesh.contract import INIT_CONTAINER, PROXY_CONTAINER
from lab.scenario import Chapter, Seen, World, expect
from scenarios import other_injector

chapter = Chapter(8, "The webhook as a dependency", namespace="jiuxi-webhook", prose=__doc__)

Hook = dict[str, Any]
NAME = "jiuxi-webhook"
DEAD_PORT = 4444
"""A port that the webhook's Service does not have."""
WITHIN = 8.0
"""Seconds within which the API server must use a changed webhook configuration."""
APPLY = "kubectl apply --dry-run=server -n {ns} -f pod.yaml"
SHOWN = (
    APPLY + ' -o jsonpath=\'{.spec.initContainers[*].name}{"\\n"}'
    '{.spec.containers[*].name}{"\\n"}{.spec.containers[?(@.name=="istio-proxy")]'
    '.env[?(@.name=="ISTIO_META_APP_CONTAINERS")].value}{"\\n"}\''
)
"""Command line that prints three lines about the pod that the API server would create: the names
of its init containers, of its containers, and of the application containers known to its proxy."""


@chapter.given
def another_injector_and_the_meshs_entry(world: World) -> None:
    """Run another injector, read the mesh's webhook entry, and write the files for the steps."""
    world.take("kinds/pod.yaml")
    world.memory["uid"] = world.json("get", "namespace", world.ns)["metadata"]["uid"]
    entries = world.json("get", "mutatingwebhookconfiguration", world.mesh.injector)["webhooks"]
    world.memory["mesh"] = next(
        entry for entry in entries if entry["name"].startswith("namespace.")
    )
    world.memory["other"] = other_injector.running(world)
    for file, make in FILES.items():
        world.write(file, make(world))


# --- webhook configurations --------------------------------------------------------------


def _configuration(world: World, *hooks: Hook) -> str:
    # The namespace owns it, so it is deleted with the namespace, even if the chapter is aborted.
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": world.ns, "uid": world.memory["uid"]}
    return json.dumps(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": NAME, "ownerReferences": [owner]},
            "webhooks": list(hooks),
        },
        indent=1,
    )


def _here(world: World) -> Hook:
    names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [world.ns]}
    return {"namespaceSelector": {"matchExpressions": [names]}, "objectSelector": _LABELLED}


_LABELLED = {"matchLabels": {"app": "kind-pod"}}
"""Selects the pod of `pod.yaml`, but not the pod of the other injector."""


def _mesh(world: World, **changes: Any) -> Hook:
    """Return a copy of the mesh's webhook entry that selects only this chapter's namespace and pod.

    `changes` are fields of the entry with other values.
    """
    return {**copy.deepcopy(world.memory["mesh"]), **_here(world), **changes}


def _unreachable(world: World, policy: str) -> str:
    hook = _mesh(world, failurePolicy=policy)
    hook["clientConfig"]["service"]["port"] = DEAD_PORT
    return _configuration(world, hook)


def _disbelieved(world: World) -> str:
    hook = _mesh(world)
    pem, _ = other_injector.certificate("somebody.else")
    hook["clientConfig"]["caBundle"] = base64.b64encode(pem.encode()).decode()
    return _configuration(world, hook)


def _other(world: World) -> Hook:
    service = {"namespace": world.ns, "name": other_injector.NAME, "path": "/", "port": 443}
    hook = _mesh(world, name="other.jiuxi.example", reinvocationPolicy="Never")
    return {**hook, "clientConfig": {"service": service, "caBundle": world.memory["other"]}}


def _before(world: World) -> str:
    return _configuration(world, _other(world), _mesh(world))


def _after(world: World, policy: str) -> str:
    return _configuration(world, _mesh(world, reinvocationPolicy=policy), _other(world))


FILES: dict[str, Callable[[World], str]] = {
    "fail.json": lambda world: _unreachable(world, "Fail"),
    "ignore.json": lambda world: _unreachable(world, "Ignore"),
    "disbelieved.json": _disbelieved,
    "before.json": _before,
    "after.json": lambda world: _after(world, "Never"),
    "again.json": lambda world: _after(world, "IfNeeded"),
}


def _instead(
    file: str, make: Callable[[World], str], doc: str
) -> Callable[[World], Iterator[None]]:
    def written(world: World) -> Iterator[None]:
        kept = world.read(file)
        world.write(file, make(world))
        yield
        world.write(file, kept)

    written.__doc__ = doc
    return written


def _refused(world: World, seen: Seen, why: str, claim: str) -> None:
    expect(seen.last.returncode, "the exit code of `kubectl apply`").equal(1)
    expect(seen.text, "what kubectl prints").contains(
        "failed calling webhook", world.memory["mesh"]["name"]
    )
    expect(seen.text, "what kubectl prints").matches(why, claim)


# --- a webhook that cannot be asked ------------------------------------------------------


@chapter.step(
    "kubectl apply -f fail.json",
    APPLY,
    allow_exit=[1],
    within=WITHIN,
    hint="`kubectl get events` of a Deployment's ReplicaSet shows the same message",
)
def with_fail_no_pod_is_made(world: World, seen: Seen) -> None:
    """A copy of the mesh's webhook asks at a port that nobody serves. Its `failurePolicy` is Fail:
    the pod is refused, and the message names the webhook that could not be asked.
    """
    _refused(
        world, seen, rf"(?i){DEAD_PORT}|connect|endpoints", "says that nobody is reached there"
    )


with_fail_no_pod_is_made.breaks("the policy is Ignore")(
    _instead("fail.json", FILES["ignore.json"], "Write `failurePolicy: Ignore`; then restore it.")
)


@chapter.step("kubectl apply -f ignore.json", SHOWN, within=WITHIN)
def with_ignore_the_pod_is_plain(world: World, seen: Seen) -> None:
    """The same webhook, asked at the same port, with Ignore: the pod is accepted, without a
    sidecar. Nothing in the answer says that one was meant to be there.
    """
    inits, containers, _ = _shown(seen)
    expect(containers, "the containers").equal(["nginx"])
    expect(inits, "the init containers").equal([])


with_ignore_the_pod_is_plain.breaks("the webhook can be asked")(
    _instead(
        "ignore.json",
        lambda world: _configuration(world, _mesh(world, failurePolicy="Ignore")),
        "Write the webhook's right port, and still `failurePolicy: Ignore`; then restore the file.",
    )
)


@chapter.step("kubectl apply -f disbelieved.json", APPLY, allow_exit=[1], within=WITHIN)
def a_webhook_that_is_not_believed(world: World, seen: Seen) -> None:
    """The right Service and port, and another's authority in `caBundle`: the API server reaches the
    webhook and does not believe its certificate. For the pod that is the same as no webhook.
    """
    _refused(world, seen, r"x509|certificate", "says that the certificate is not believed")


a_webhook_that_is_not_believed.breaks("the bundle is the mesh's own")(
    _instead(
        "disbelieved.json",
        lambda world: _configuration(world, _mesh(world)),
        "Write the mesh's webhook entry with its own CA; then restore the file.",
    )
)


# --- other webhooks ----------------------------------------------------------------------


def _shown(seen: Seen) -> list[list[str]]:
    """Parse the three lines that SHOWN prints, each into a list of names."""
    return [re.findall(r"[^\s,]+", line) for line in seen.last.stdout.split("\n")[:3]]


def _expect_one_sidecar(seen: Seen, *applications: str) -> None:
    inits, containers, known = _shown(seen)
    expect(sorted(containers), "the containers, sorted").equal([PROXY_CONTAINER, "logger", "nginx"])
    expect(inits, "the init containers").equal([INIT_CONTAINER])
    expect(set(known), "the applications that the proxy knows of").equal(set(applications))


def _the_other_alone(world: World) -> str:
    return _configuration(world, _other(world))


ALONE = "Write only the webhook entry of the other injector; then restore the file."


@chapter.step("kubectl apply -f before.json", SHOWN, within=WITHIN)
def another_injector_before_ours(world: World, seen: Seen) -> None:
    """Somebody else's webhook is asked first and adds a container, `logger`. The sidecar's webhook
    sees a pod with two applications, and tells the proxy of both.
    """
    _expect_one_sidecar(seen, "logger", "nginx")


another_injector_before_ours.breaks("the other injector is not asked")(
    _instead(
        "before.json",
        lambda world: _configuration(world, _mesh(world)),
        "Write only the mesh's webhook entry; then restore the file.",
    )
)


@chapter.step("kubectl apply -f after.json", SHOWN, within=WITHIN)
def another_injector_after_ours(world: World, seen: Seen) -> None:
    """The other order: the sidecar is there when `logger` is added, and with `reinvocationPolicy:
    Never` nobody asks again. The proxy knows of nginx alone.
    """
    _expect_one_sidecar(seen, "nginx")


another_injector_after_ours.breaks("the other injector is not asked")(
    _instead(
        "after.json",
        lambda world: _configuration(world, _mesh(world)),
        "Write only the mesh's webhook entry; then restore the file.",
    )
)


@chapter.step("kubectl apply -f again.json", SHOWN, within=WITHIN)
def asked_again_there_is_still_one_sidecar(world: World, seen: Seen) -> None:
    """With `IfNeeded` the sidecar's webhook is asked a second time, about a pod that has a sidecar
    already. It takes its own away and injects anew: one proxy, one init container.
    """
    _expect_one_sidecar(seen, "logger", "nginx")


asked_again_there_is_still_one_sidecar.breaks("it is asked only once")(
    _instead(
        "again.json", FILES["after.json"], "Write `reinvocationPolicy: Never`; then restore it."
    )
)


# Without the mesh's injector, each of the three orders gives a pod without a sidecar.
for step, file in (
    (another_injector_before_ours, "before.json"),
    (another_injector_after_ours, "after.json"),
    (asked_again_there_is_still_one_sidecar, "again.json"),
):
    step.breaks("the mesh's injector is not asked")(_instead(file, _the_other_alone, ALONE))
