"""Collects the evidence for `diagnose` from a namespace; notes the readings that fail."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from lab.errors import ObservationError
from lab.mesh import contract
from lab.observe import api_objects
from lab.observe.cluster import Cluster, NotFoundError
from lab.observe.pod import Pod
from lab.scenario.failure.diagnosis import Broken, diagnose
from lab.scenario.failure.evidence import EnvoyEvidence, Evidence, PodEvidence

Reading = TypeVar("Reading")


def first_broken(
    cluster: Cluster, namespace: str, *, expect_injected: bool | None = None
) -> Broken | None:
    """Read the namespace and return its first broken link (see `diagnosis`); None if all work.

    Raises no ObservationError: what cannot be read is left out of the evidence.
    """
    return diagnose(gather(cluster, namespace, expect_injected=expect_injected))


def gather(cluster: Cluster, namespace: str, *, expect_injected: bool | None = None) -> Evidence:
    """Read the evidence about the namespace's pods. Evidence.missing lists what cannot be read."""
    missing: list[str] = []
    look = _Looker(missing)
    events = look("events", lambda: cluster.events(namespace)) or ()
    handles = look("pods", lambda: cluster.pods(namespace)) or ()
    pods = [_pod(handle, events, look) for handle in handles]
    return Evidence(
        namespace=namespace,
        expect_injected=expect_injected,
        pods=tuple(pod for pod in pods if pod is not None),
        deployments=look("deployments", lambda: cluster.deployments(namespace)) or (),
        events=events,
        webhook=look("webhook", lambda: _control(cluster, contract.WEBHOOK_SERVICE)),
        discovery=look("discovery", lambda: _control(cluster, contract.DISCOVERY_SERVICE)),
        missing=tuple(missing),
    )


@dataclass
class _Looker:
    """Calls functions that read the cluster; on ObservationError returns None and notes it."""

    missing: list[str]

    def __call__(self, what: str, reader: Callable[[], Reading]) -> Reading | None:
        try:
            return reader()
        except ObservationError as error:
            self.missing.append(f"{what}: {error.message}")
            return None


def _control(cluster: Cluster, name: str) -> api_objects.Deployment | None:
    try:
        return cluster.deployment(contract.CONTROL_NAMESPACE, name)
    except NotFoundError:
        # Another mesh may be installed, or the deployment was deleted.
        return None


def _pod(pod: Pod, events: tuple[api_objects.Event, ...], look: _Looker) -> PodEvidence | None:
    pod_object = look(f"pod {pod.name}", pod.object)
    if pod_object is None:
        return None
    known = PodEvidence(
        name=pod.name,
        containers=api_objects.pod_containers(pod_object),
        inits=api_objects.pod_inits(pod_object),
        ready=api_objects.is_ready(pod_object),
        finished=pod_object.get("status", {}).get("phase") == "Succeeded",
        scheduled=api_objects.condition(pod_object, "PodScheduled") == "True",
        unscheduled_because=api_objects.condition_message(pod_object, "PodScheduled"),
        events=tuple(event for event in events if event.about == f"Pod/{pod.name}"),
    )
    proxy = known.proxy
    if proxy is None or not proxy.running:
        return known
    about = f"pod {pod.name}"
    return replace(
        known,
        nat=look(f"rules of {about}", pod.nat),
        listeners=look(f"sockets of {about}", pod.listeners),
        processes=look(f"processes of {about}", lambda: pod.processes(contract.PROXY_CONTAINER)),
        envoy=look(f"Envoy of {about}", lambda: _envoy(pod)),
    )


def _envoy(pod: Pod) -> EnvoyEvidence:
    envoy = pod.envoy()
    stats = envoy.stats(r"^(listener_manager\.lds|cluster_manager\.cds)\.update_")
    return EnvoyEvidence(
        state=envoy.server_info().state,
        lds=stats.get("listener_manager.lds.update_success", 0),
        cds=stats.get("cluster_manager.cds.update_success", 0),
        rejected=stats.get("listener_manager.lds.update_rejected", 0)
        + stats.get("cluster_manager.cds.update_rejected", 0),
    )
