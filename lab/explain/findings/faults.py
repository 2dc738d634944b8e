"""All that is wrong with a pod that has a sidecar, or would get one. Pure."""

from lab.explain.findings import ailments, build, refused, traffic
from lab.explain.findings.causes import Cause, Finding
from lab.explain.situation import Situation, proxy_of
from lab.explain.symptoms import clean
from lab.explain.thought import think
from lab.mesh import contract


def faults(situation: Situation) -> tuple[Finding, ...]:
    """What is found, the weightiest first; () where nothing is."""
    if situation.subject.origin == "live":
        stopping = ailments.stopping(situation)
        rejected = refused.configuration(situation)
        if stopping is not None and stopping.cause is Cause.MESH_PORT:
            rejected = None  # it is the listener of that very port
        found = (stopping, rejected)
    else:
        trial = situation.trial
        pod = trial.pod if trial is not None and trial.pod else situation.subject.pod
        if proxy_of(pod) is None:
            pod = think(situation).pod
        found = (traffic.foreseen(situation, pod), None)
    more = (traffic.outbound_ports(situation), build.webhook(situation))
    return tuple(one for one in (*found, *more) if one is not None)


def remarks(situation: Situation) -> tuple[str, ...]:
    """What is no fault of the sidecar, and yet worth a sentence."""
    told = []
    seen = situation.symptoms
    if aged := build.aged(situation):
        told.append(
            f"its sidecar is not the one that is made now: {build.few(aged)}; "
            "a pod that is made anew gets that"
        )
    if seen is None:
        return tuple(told)
    proxy = seen.container(contract.PROXY_CONTAINER)
    waiting = proxy is not None and not proxy.ready and ailments.stopping(situation) is None
    if waiting and seen.age < ailments.YOUNG:
        told.append(
            f"{contract.PROXY_CONTAINER} is not ready yet, {seen.age:.0f} s after the pod was made"
        )
    for one in seen.containers:
        if one.name in (contract.PROXY_CONTAINER, contract.INIT_CONTAINER) or one.init:
            continue
        said = [each.message for each in seen.events if each.container == one.name]
        if proxy is not None and proxy.ready and not one.ready and said:
            told.append(clean(f"container {one.name} is not ready, the sidecar is: {said[-1]}"))
    return tuple(told)
