"""Frozen data about the pods of a namespace and the mesh at the moment of a failure."""

from dataclasses import dataclass, field

from lab.mesh import contract
from lab.observe.api_objects import Container, Deployment, Event
from lab.observe.readings import Listener, Process, Table


@dataclass(frozen=True)
class EnvoyEvidence:
    """Envoy's state, and its numbers of accepted (`lds`, `cds`) and rejected updates."""

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
    """One pod that is not being deleted. Readings that failed are None."""

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
    """The processes of the proxy's container."""
    envoy: EnvoyEvidence | None = None

    @property
    def proxy(self) -> Container | None:
        """The sidecar, classic or native."""
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
    """A namespace at the moment of a failure.

    `expect_injected`: True when its pods must have a sidecar, False when they must not, None when
    the caller does not know. `webhook` and `discovery` are the deployments of the mesh; None if
    absent. `missing` lists the readings that failed, with the reason.
    """

    namespace: str
    expect_injected: bool | None = None
    pods: tuple[PodEvidence, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    events: tuple[Event, ...] = ()
    webhook: Deployment | None = None
    discovery: Deployment | None = None
    missing: tuple[str, ...] = field(default=(), compare=False)
