"""Frozen dataclasses: the state of a namespace's pods and of the mesh when a step failed."""

from dataclasses import dataclass, field

from lab.mesh import contract
from lab.observe.api_objects import Container, Deployment, Event
from lab.observe.readings import Listener, Process, Table


@dataclass(frozen=True)
class EnvoyEvidence:
    """The state of an Envoy, and how many updates it has accepted and rejected.

    `lds` counts the accepted updates of listeners, `cds` those of clusters; `rejected` counts the
    rejected updates of both.
    """

    state: str
    lds: int
    cds: int
    rejected: int = 0

    @property
    def received(self) -> bool:
        """Whether Envoy has accepted listeners and clusters from discovery."""
        return self.lds > 0 and self.cds > 0


@dataclass(frozen=True)
class PodEvidence:
    """One pod that is not being deleted.

    `nat`, `listeners`, `processes` and `envoy` are None if they could not be read, or if the pod
    has no running sidecar.
    """

    name: str
    containers: tuple[Container, ...] = ()
    inits: tuple[Container, ...] = ()
    ready: bool = False
    finished: bool = False
    """Whether the pod's phase is Succeeded."""
    scheduled: bool = True
    unscheduled_because: str = ""
    events: tuple[Event, ...] = ()
    nat: Table | None = None
    listeners: frozenset[Listener] | None = None
    processes: tuple[Process, ...] | None = None
    """The processes in the container istio-proxy."""
    envoy: EnvoyEvidence | None = None

    @property
    def proxy(self) -> Container | None:
        """The sidecar's container (classic or native); None if the pod has no sidecar."""
        containers = (*self.containers, *(init for init in self.inits if init.sidecar))
        return next(
            (container for container in containers if container.name == contract.PROXY_CONTAINER),
            None,
        )

    @property
    def rules_wanted(self) -> bool:
        """Whether the pod has the init container that creates the rules."""
        return any(init.name == contract.INIT_CONTAINER for init in self.inits)


@dataclass(frozen=True)
class Evidence:
    """The state of a namespace when a step failed.

    `expect_injected` is True if the namespace's pods must have a sidecar, False if they must not,
    None if the caller does not know. `webhook` and `discovery` are the mesh's Deployments; each is
    None if it does not exist or could not be read. `missing` lists the readings that failed, each
    with the reason.
    """

    namespace: str
    expect_injected: bool | None = None
    pods: tuple[PodEvidence, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    events: tuple[Event, ...] = ()
    webhook: Deployment | None = None
    discovery: Deployment | None = None
    missing: tuple[str, ...] = field(default=(), compare=False)
