"""Finds the first broken link of the chain, so that a failure tells the reader where to look.

The chain is: admission → scheduling → init → rules → agent → discovery → Envoy → app. Each link
works only when the links before it work, so the first broken link explains the others. `diagnose`
does no I/O: it takes Evidence, which `gather` (lab/scenario/failure/gather.py) collects from a
namespace.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from lab.mesh import contract
from lab.observe.api_objects import Container
from lab.observe.readings import Process, Table, ports
from lab.scenario.failure.evidence import Evidence, PodEvidence

Link = Literal["admission", "scheduling", "init", "rules", "agent", "discovery", "Envoy", "app"]
LINKS: tuple[Link, ...] = get_args(Link)
"""The links, in the order in which a pod passes them."""


@dataclass(frozen=True)
class Broken:
    """A broken link of the chain.

    `evidence` is one sentence with the observation; `hint` says where to look.
    """

    link: Link
    evidence: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.link}: {self.evidence}"


def diagnose(evidence: Evidence) -> Broken | None:
    """Return the first link of the chain that is broken in the namespace; None if all links work.

    A link counts as broken even if it is broken for only one pod.
    """
    broken_links = [broken for look in _LOOKS for broken in look(evidence)]
    return min(broken_links, key=lambda broken: LINKS.index(broken.link), default=None)


def _admission(evidence: Evidence) -> Iterator[Broken]:
    refused = [
        event for event in evidence.events if event.warning and event.reason == "FailedCreate"
    ]
    short = [
        deployment
        for deployment in evidence.deployments
        if deployment.replicas < deployment.wanted or not deployment.current
    ]
    if refused and (short or not evidence.pods):
        last = refused[-1]
        ready = evidence.webhook.ready if evidence.webhook else 0
        yield Broken(
            "admission",
            f"{last.about} could not create a pod: {last.message}",
            f"the webhook has {ready} ready replica(s): `kubectl logs -n "
            f"{contract.CONTROL_NAMESPACE} deployment/{contract.WEBHOOK_SERVICE}`",
        )
    if evidence.expect_injected is None:
        return
    for pod in evidence.pods:
        if evidence.expect_injected and pod.proxy is None:
            yield Broken(
                "admission",
                f"pod {pod.name} has no container {contract.PROXY_CONTAINER}: it was not injected",
                f"is the namespace labelled {contract.INJECTION_LABEL}=enabled, "
                "and was the pod created after that?",
            )
        if not evidence.expect_injected and pod.proxy is not None:
            yield Broken(
                "admission",
                f"pod {pod.name} has a container {contract.PROXY_CONTAINER}, though it should not",
                f"does the namespace still carry the label {contract.INJECTION_LABEL}?",
            )


_SANDBOX = frozenset({"FailedCreatePodSandBox", "FailedMount", "FailedAttachVolume"})


def _scheduling(evidence: Evidence) -> Iterator[Broken]:
    for pod in evidence.pods:
        if not pod.scheduled:
            yield Broken(
                "scheduling",
                f"pod {pod.name} has no node: {pod.unscheduled_because or 'not scheduled yet'}",
                "`kubectl describe node` shows the free resources of the node",
            )
        containers = (*pod.inits, *pod.containers)
        if pod.ready or any(container.container_id for container in containers):
            continue
        for event in reversed(pod.events):
            if event.warning and event.reason in _SANDBOX:
                if contract.CA_CONFIG_MAP in event.message:
                    yield Broken(
                        "discovery",
                        f"pod {pod.name} waits for the ConfigMap {contract.CA_CONFIG_MAP}, "
                        f"which discovery creates in every namespace: {event.message}",
                        _discovery_hint(),
                    )
                else:
                    yield Broken(
                        "scheduling",
                        f"pod {pod.name} cannot start on its node: {event.message}",
                        "`kubectl describe pod` lists its volumes and events",
                    )
                break


def _init(evidence: Evidence) -> Iterator[Broken]:
    for pod in evidence.pods:
        if not pod.scheduled:
            continue
        for init in pod.inits:
            if init.sidecar or init.done:
                continue
            if init.state == "waiting" and not init.reason and not init.restarts:
                continue  # it has not started yet
            if init.reason == "PodInitializing" and not init.restarts:
                continue
            yield Broken(
                "init",
                f"init container {init.name} of pod {pod.name} {_state(init)}",
                f"`kubectl logs {pod.name} -n {evidence.namespace} -c {init.name}`",
            )
            break


def _rules(evidence: Evidence) -> Iterator[Broken]:
    for pod in evidence.pods:
        initialised = any(init.name == contract.INIT_CONTAINER and init.done for init in pod.inits)
        if pod.nat is None or pod.proxy is None or not initialised:
            continue
        lacking = lacking_rules(pod.nat)
        if lacking:
            yield Broken(
                "rules",
                f"the nat table of pod {pod.name} lacks {', '.join(lacking)}",
                f"`kubectl logs {pod.name} -n {evidence.namespace} -c {contract.INIT_CONTAINER}` "
                "shows the rules that it applied",
            )


def lacking_rules(nat: Table) -> tuple[str, ...]:
    """Return the chains and rules, by name, that the redirection needs and `nat` does not have."""
    lacking = [f"chain {name}" for name in contract.CHAINS if not nat.has(name)]
    for chain, target in (
        ("OUTPUT", contract.CHAIN_OUTPUT),
        ("PREROUTING", contract.CHAIN_INBOUND),
    ):
        if not any(rule.target == target for rule in nat.chain(chain).rules):
            lacking.append(f"the jump from {chain} to {target}")
    for chain, port in (
        (contract.CHAIN_REDIRECT, contract.OUTBOUND_PORT),
        (contract.CHAIN_IN_REDIRECT, contract.INBOUND_PORT),
    ):
        wanted = f"--to-ports {port}"
        if nat.has(chain) and not any(wanted in rule.options for rule in nat.chain(chain).rules):
            lacking.append(f"the redirection to {port} in {chain}")
    return tuple(lacking)


def _agent(evidence: Evidence) -> Iterator[Broken]:
    for pod in evidence.pods:
        proxy = pod.proxy
        if proxy is None or pod.finished or not _initialised(pod):
            continue
        look = f"`kubectl logs {pod.name} -n {evidence.namespace} -c {contract.PROXY_CONTAINER}`"
        if not proxy.running:
            yield Broken("agent", f"the proxy's container of pod {pod.name} {_state(proxy)}", look)
        elif pod.listeners is not None and contract.AGENT_PORT not in ports(pod.listeners):
            yield Broken(
                "agent",
                f"nothing listens on the agent's port {contract.AGENT_PORT} in pod {pod.name}",
                look,
            )


def _discovery(evidence: Evidence) -> Iterator[Broken]:
    meshed = [pod for pod in evidence.pods if pod.proxy is not None and not pod.finished]
    if meshed and evidence.discovery is not None and evidence.discovery.available == 0:
        yield Broken(
            "discovery", f"no replica is available ({evidence.discovery})", _discovery_hint()
        )
    for pod in meshed:
        if pod.envoy is None:
            continue
        if not pod.envoy.received:
            yield Broken(
                "discovery",
                f"Envoy of pod {pod.name} has accepted {pod.envoy.lds} listener and "
                f"{pod.envoy.cds} cluster updates",
                _discovery_hint(),
            )
        elif pod.envoy.rejected:
            yield Broken(
                "discovery",
                f"Envoy of pod {pod.name} rejected {pod.envoy.rejected} update(s)",
                f"the reason is in `kubectl logs {pod.name} -n {evidence.namespace} "
                f"-c {contract.PROXY_CONTAINER}`",
            )


def _envoy(evidence: Evidence) -> Iterator[Broken]:
    for pod in evidence.pods:
        proxy = pod.proxy
        if proxy is None or not proxy.running or pod.finished:
            continue
        look = f"`kubectl logs {pod.name} -n {evidence.namespace} -c {contract.PROXY_CONTAINER}`"
        if pod.processes is not None and not any(_is_envoy(process) for process in pod.processes):
            yield Broken("Envoy", f"no Envoy process runs in pod {pod.name}", look)
        elif pod.envoy is None and pod.listeners is not None:
            yield Broken("Envoy", f"Envoy's admin port of pod {pod.name} does not answer", look)
        elif pod.envoy is not None and pod.envoy.state != "LIVE":
            yield Broken("Envoy", f"Envoy of pod {pod.name} is in state {pod.envoy.state}", look)
        elif pod.listeners is not None:
            wanted = {contract.ENVOY_ADMIN_PORT, contract.OUTBOUND_PORT, contract.INBOUND_PORT}
            absent = sorted(wanted - ports(pod.listeners))
            if absent:
                yield Broken(
                    "Envoy",
                    f"Envoy of pod {pod.name} does not listen on {', '.join(map(str, absent))}",
                    look,
                )


def _app(evidence: Evidence) -> Iterator[Broken]:
    for pod in evidence.pods:
        if pod.finished or not _initialised(pod):
            continue
        for container in pod.containers:
            if (
                container.name == contract.PROXY_CONTAINER
                or container.done
                or (container.running and container.ready)
            ):
                continue
            yield Broken(
                "app",
                f"container {container.name} of pod {pod.name} {_state(container)}",
                f"`kubectl logs {pod.name} -n {evidence.namespace} -c {container.name}`",
            )


_LOOKS = (_admission, _scheduling, _init, _rules, _agent, _discovery, _envoy, _app)


def _initialised(pod: PodEvidence) -> bool:
    return pod.scheduled and all(init.sidecar or init.done for init in pod.inits)


def _is_envoy(process: Process) -> bool:
    return process.program == "envoy" and "<defunct>" not in process.command


def _state(container: Container) -> str:
    parts: Iterable[str] = ()
    if container.state == "terminated":
        text, parts = (
            f"ended with exit code {container.exit_code}",
            (container.reason, container.message),
        )
    elif container.running:
        text = "is running" if container.ready or container.init else "is running, but not ready"
    else:
        text, parts = f"is {container.state}", (container.reason, container.message)
    if container.restarts:
        last = (
            ""
            if container.last_exit_code is None
            else f", last exit code {container.last_exit_code}"
        )
        text += f" after {container.restarts} restart(s){last}"
    reason = ": ".join(part for part in parts if part)
    return f"{text} ({reason[:300]})" if reason else text


def _discovery_hint() -> str:
    return f"`kubectl logs -n {contract.CONTROL_NAMESPACE} deployment/{contract.DISCOVERY_SERVICE}`"
