"""Collects what is wrong with a pod that has a sidecar, or would get one. Pure."""

from lab.explain.findings import ailments, build, refused, traffic
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Situation, proxy_of
from lab.explain.symptoms import clean
from lab.explain.thought import think
from lab.mesh import contract


def faults(situation: Situation) -> tuple[Finding, ...]:
    """Returns the faults of the pod and its sidecar, the most important first, () if none."""
    if situation.subject.origin == "live":
        stopping = ailments.stopping(situation)
        rejected = refused.configuration(situation)
        if stopping is not None and stopping.cause is Cause.MESH_PORT:
            rejected = None  # Envoy refused the listener because of the same port
        found = (stopping, rejected)
    else:
        trial = situation.trial
        pod = trial.pod if trial is not None and trial.pod else situation.subject.pod
        if proxy_of(pod) is None:
            pod = think(situation).pod
        found = (traffic.foreseen(situation, pod), None)
    more = (traffic.outbound_ports(situation), build.webhook(situation))
    return tuple(finding for finding in (*found, *more) if finding is not None)


def remarks(situation: Situation) -> tuple[str, ...]:
    """Returns sentences about facts that are no fault of the sidecar, but help the reader."""
    sentences = []
    symptoms = situation.symptoms
    if aged := build.aged(situation):
        sentences.append(
            f"its sidecar differs from the one that is made now: {build.few(aged)}; "
            "a recreated pod gets the new one"
        )
    if symptoms is None:
        return tuple(sentences)
    proxy = symptoms.container(contract.PROXY_CONTAINER)
    waiting = proxy is not None and not proxy.ready and ailments.stopping(situation) is None
    if waiting and symptoms.age < ailments.YOUNG:
        sentences.append(
            f"{contract.PROXY_CONTAINER} is not ready yet, {symptoms.age:.0f} s after the pod was "
            "created"
        )
    for container in symptoms.containers:
        if container.name in (contract.PROXY_CONTAINER, contract.INIT_CONTAINER) or container.init:
            continue
        messages = [event.message for event in symptoms.events if event.container == container.name]
        if proxy is not None and proxy.ready and not container.ready and messages:
            sentences.append(
                clean(f"container {container.name} is not ready, the sidecar is: {messages[-1]}")
            )
    return tuple(sentences)
