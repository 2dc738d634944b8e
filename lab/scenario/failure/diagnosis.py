"""Which link of the chain broke first, so that a failure says where to look and not only what.

admission → scheduling → init → rules → agent → discovery → Envoy → app. Each link works only when
those before it do, so the first broken one explains the rest. `diagnose` is pure and takes
Evidence; `gather` (in lab/scenario/failure/evidence.py) collects that from a namespace.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, get_args

from lab.mesh import contract
from lab.observe.api_objects import Container, Deployment, Event
from lab.observe.readings import Listener, Process, Table, ports

Link = Literal["admission", "scheduling", "init", "rules", "agent", "discovery", "Envoy", "app"]
LINKS: tuple[Link, ...] = get_args(Link)
"""In the order in which a pod passes them."""


@dataclass(frozen=True)
class Broken:
    """The first broken link: `evidence` is one sentence of what was seen, `hint` where to look."""

    link: Link
    evidence: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.link}: {self.evidence}"


@dataclass(frozen=True)
class EnvoyEvidence:
    """What Envoy said of itself; `received` is how many LDS and CDS updates it accepted."""

    state: str
    lds: int
    cds: int
    rejected: int = 0

    @property
    def received(self) -> bool:
        """Whether it has listeners and clusters from discovery."""
        return self.lds > 0 and self.cds > 0


@dataclass(frozen=True)
class PodEvidence:
    """One pod that is not being deleted. What could not be looked at is None."""

    name: str
    containers: tuple[Container, ...] = ()
    inits: tuple[Container, ...] = ()
    ready: bool = False
    finished: bool = False
    """Whether its phase is Succeeded."""
    scheduled: bool = True
    unscheduled_because: str = ""
    events: tuple[Event, ...] = ()
    nat: Table | None = None
    listeners: frozenset[Listener] | None = None
    processes: tuple[Process, ...] | None = None
    """Of the proxy's container."""
    envoy: EnvoyEvidence | None = None

    @property
    def proxy(self) -> Container | None:
        """The sidecar, classic or native."""
        every = (*self.containers, *(one for one in self.inits if one.sidecar))
        return next((one for one in every if one.name == contract.PROXY_CONTAINER), None)

    @property
    def rules_wanted(self) -> bool:
        """Whether an init container was there to make rules."""
        return any(one.name == contract.INIT_CONTAINER for one in self.inits)


@dataclass(frozen=True)
class Evidence:
    """A namespace at the moment of a failure.

    `expect_injected`: True when its pods ought to have a sidecar, False when not, None when
    the caller does not know. `webhook` and `discovery` are the mesh's own deployments.
    `missing` says what could not be looked at, and why.
    """

    namespace: str
    expect_injected: bool | None = None
    pods: tuple[PodEvidence, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    events: tuple[Event, ...] = ()
    webhook: Deployment | None = None
    discovery: Deployment | None = None
    missing: tuple[str, ...] = field(default=(), compare=False)


def diagnose(evidence: Evidence) -> Broken | None:
    """The first broken link over all pods of the namespace; None when every link holds."""
    found = [broken for look in _LOOKS for broken in look(evidence)]
    return min(found, key=lambda one: LINKS.index(one.link), default=None)


def _admission(seen: Evidence) -> Iterator[Broken]:
    refused = [one for one in seen.events if one.warning and one.reason == "FailedCreate"]
    short = [one for one in seen.deployments if one.replicas < one.wanted or not one.current]
    if refused and (short or not seen.pods):
        last = refused[-1]
        ready = seen.webhook.ready if seen.webhook else 0
        yield Broken(
            "admission",
            f"{last.about} could not create a pod: {last.message}",
            f"the webhook has {ready} ready replica(s): `kubectl logs -n "
            f"{contract.CONTROL_NAMESPACE} deployment/{contract.WEBHOOK_SERVICE}`",
        )
    if seen.expect_injected is None:
        return
    for pod in seen.pods:
        if seen.expect_injected and pod.proxy is None:
            yield Broken(
                "admission",
                f"pod {pod.name} has no container {contract.PROXY_CONTAINER}: it was not injected",
                f"is the namespace labelled {contract.INJECTION_LABEL}=enabled, "
                "and was the pod made after that?",
            )
        if not seen.expect_injected and pod.proxy is not None:
            yield Broken(
                "admission",
                f"pod {pod.name} has a container {contract.PROXY_CONTAINER}, though it should not",
                f"does the namespace still carry the label {contract.INJECTION_LABEL}?",
            )


_SANDBOX = frozenset({"FailedCreatePodSandBox", "FailedMount", "FailedAttachVolume"})


def _scheduling(seen: Evidence) -> Iterator[Broken]:
    for pod in seen.pods:
        if not pod.scheduled:
            yield Broken(
                "scheduling",
                f"pod {pod.name} has no node: {pod.unscheduled_because or 'not scheduled yet'}",
                "`kubectl describe node` says what the node has left",
            )
        every = (*pod.inits, *pod.containers)
        if pod.ready or any(one.container_id for one in every):
            continue
        for event in reversed(pod.events):
            if event.warning and event.reason in _SANDBOX:
                if contract.CA_CONFIG_MAP in event.message:
                    yield Broken(
                        "discovery",
                        f"pod {pod.name} waits for the ConfigMap {contract.CA_CONFIG_MAP}, "
                        f"which discovery makes in every namespace: {event.message}",
                        _discovery_hint(),
                    )
                else:
                    yield Broken(
                        "scheduling",
                        f"pod {pod.name} cannot start on its node: {event.message}",
                        "`kubectl describe pod` lists its volumes and events",
                    )
                break


def _init(seen: Evidence) -> Iterator[Broken]:
    for pod in seen.pods:
        if not pod.scheduled:
            continue
        for one in pod.inits:
            if one.sidecar or one.done:
                continue
            if one.state == "waiting" and not one.reason and not one.restarts:
                continue  # its turn has not come
            if one.reason == "PodInitializing" and not one.restarts:
                continue
            yield Broken(
                "init",
                f"init container {one.name} of pod {pod.name} {_state(one)}",
                f"`kubectl logs {pod.name} -n {seen.namespace} -c {one.name}`",
            )
            break


def _rules(seen: Evidence) -> Iterator[Broken]:
    for pod in seen.pods:
        initialised = any(one.name == contract.INIT_CONTAINER and one.done for one in pod.inits)
        if pod.nat is None or pod.proxy is None or not initialised:
            continue
        lacking = lacking_rules(pod.nat)
        if lacking:
            yield Broken(
                "rules",
                f"the nat table of pod {pod.name} lacks {', '.join(lacking)}",
                f"`kubectl logs {pod.name} -n {seen.namespace} -c {contract.INIT_CONTAINER}` "
                "says what was applied",
            )


def lacking_rules(nat: Table) -> tuple[str, ...]:
    """What the redirection cannot work without and this table does not have, in words."""
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


def _agent(seen: Evidence) -> Iterator[Broken]:
    for pod in seen.pods:
        proxy = pod.proxy
        if proxy is None or pod.finished or not _initialised(pod):
            continue
        look = f"`kubectl logs {pod.name} -n {seen.namespace} -c {contract.PROXY_CONTAINER}`"
        if not proxy.running:
            yield Broken("agent", f"the proxy's container of pod {pod.name} {_state(proxy)}", look)
        elif pod.listeners is not None and contract.AGENT_PORT not in ports(pod.listeners):
            yield Broken(
                "agent",
                f"nothing listens on the agent's port {contract.AGENT_PORT} in pod {pod.name}",
                look,
            )


def _discovery(seen: Evidence) -> Iterator[Broken]:
    meshed = [pod for pod in seen.pods if pod.proxy is not None and not pod.finished]
    if meshed and seen.discovery is not None and seen.discovery.available == 0:
        yield Broken("discovery", f"no replica is available ({seen.discovery})", _discovery_hint())
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
                f"the reason is in `kubectl logs {pod.name} -n {seen.namespace} "
                f"-c {contract.PROXY_CONTAINER}`",
            )


def _envoy(seen: Evidence) -> Iterator[Broken]:
    for pod in seen.pods:
        proxy = pod.proxy
        if proxy is None or not proxy.running or pod.finished:
            continue
        look = f"`kubectl logs {pod.name} -n {seen.namespace} -c {contract.PROXY_CONTAINER}`"
        if pod.processes is not None and not any(_is_envoy(one) for one in pod.processes):
            yield Broken("Envoy", f"no Envoy process runs in pod {pod.name}", look)
        elif pod.envoy is None and pod.listeners is not None:
            yield Broken("Envoy", f"Envoy's admin port of pod {pod.name} does not answer", look)
        elif pod.envoy is not None and pod.envoy.state != "LIVE":
            yield Broken("Envoy", f"Envoy of pod {pod.name} says {pod.envoy.state}", look)
        elif pod.listeners is not None:
            wanted = {contract.ENVOY_ADMIN_PORT, contract.OUTBOUND_PORT, contract.INBOUND_PORT}
            absent = sorted(wanted - ports(pod.listeners))
            if absent:
                yield Broken(
                    "Envoy",
                    f"Envoy of pod {pod.name} does not listen on {', '.join(map(str, absent))}",
                    look,
                )


def _app(seen: Evidence) -> Iterator[Broken]:
    for pod in seen.pods:
        if pod.finished or not _initialised(pod):
            continue
        for one in pod.containers:
            if one.name == contract.PROXY_CONTAINER or one.done or (one.running and one.ready):
                continue
            yield Broken(
                "app",
                f"container {one.name} of pod {pod.name} {_state(one)}",
                f"`kubectl logs {pod.name} -n {seen.namespace} -c {one.name}`",
            )


_LOOKS = (_admission, _scheduling, _init, _rules, _agent, _discovery, _envoy, _app)


def _initialised(pod: PodEvidence) -> bool:
    return pod.scheduled and all(one.sidecar or one.done for one in pod.inits)


def _is_envoy(process: Process) -> bool:
    return process.program == "envoy" and "<defunct>" not in process.command


def _state(one: Container) -> str:
    parts: Iterable[str] = ()
    if one.state == "terminated":
        text, parts = f"ended with exit code {one.exit_code}", (one.reason, one.message)
    elif one.running:
        text = "is running" if one.ready or one.init else "is running, but not ready"
    else:
        text, parts = f"is {one.state}", (one.reason, one.message)
    if one.restarts:
        last = "" if one.last_exit_code is None else f", last exit code {one.last_exit_code}"
        text += f" after {one.restarts} restart(s){last}"
    said = ": ".join(part for part in parts if part)
    return f"{text} ({said[:300]})" if said else text


def _discovery_hint() -> str:
    return f"`kubectl logs -n {contract.CONTROL_NAMESPACE} deployment/{contract.DISCOVERY_SERVICE}`"
