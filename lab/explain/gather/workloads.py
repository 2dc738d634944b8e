"""Reads pods, the workloads that create them, and why a workload could not create a pod."""

from typing import Any, Final

from lab.explain.errors import ExplainError
from lab.explain.gather.reader import Reader
from lab.explain.situation import Holder, Object, Subject
from lab.explain.targets import Target
from lab.kube import paths
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.mesh.workloads import WORKLOADS

_NAMES: Final = 20
"""A hint lists at most this number of names."""


def named(api: KubeApi, target: Target) -> dict[str, Any]:
    """Reads the pod or workload that `target` names. Raises ExplainError if it does not exist."""
    workload = WORKLOADS[target.kind]
    base = f"{workload.api}/namespaces/{target.namespace}/{workload.plural}"
    try:
        return api.get(f"{base}/{target.name}")
    except ApiError as error:
        if error.status != 404:
            raise
    names = [item["metadata"]["name"] for item in api.items(base)]
    hint = f"the namespace has: {', '.join(names[:_NAMES])}" if names else "the namespace has none"
    if target.kind == "Pod" and not names:
        hint += "; if its pods could not be created, name the workload: deploy/NAME"
    what = f"{target.kind} {target.name}"
    raise ExplainError(f"no {what} in namespace {target.namespace}", hint=hint)


def pods_of(api: KubeApi, workload: Object) -> list[dict[str, Any]]:
    """Returns a workload's pods, newest first. Pods that are being deleted are left out."""
    selector = (workload.get("spec") or {}).get("selector") or {}
    # A ReplicationController's selector is the bare mapping; a CronJob has none.
    wanted = selector.get("matchLabels", selector) if isinstance(selector, dict) else {}
    query = paths.labelled({key: v for key, v in wanted.items() if isinstance(v, str)})
    if not query:
        return []
    pods = api.items(paths.pods(workload["metadata"]["namespace"]), **query)
    staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    return sorted(staying, key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)


def holder_of(reader: Reader, pod: Object) -> Holder | None:
    """Returns the workload at the top of a pod's owners, None for a pod without an owner.

    For a pod of a ReplicaSet that a Deployment owns, that is the Deployment.
    """
    holder: Holder | None = None
    current, space = pod, pod["metadata"]["namespace"]
    while owner := _controller(current):
        kind, name = owner["kind"], owner["name"]
        if (workload := WORKLOADS.get(kind)) is None:
            return holder or Holder(kind, name)
        read = reader.optional(
            f"{kind} {name}",
            reader.api.get,
            f"{workload.api}/namespaces/{space}/{workload.plural}/{name}",
        )
        if read is None:
            return holder or Holder(kind, name)
        current = read
        holder = Holder(kind, name, current["metadata"], workload.pod_in(current) or {})
    return holder


def _controller(pod_or_workload: Object) -> Object | None:
    owners = pod_or_workload["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def refusals(reader: Reader, subject: Subject) -> tuple[str, ...]:
    """Returns the messages of the workload's last five FailedCreate events, newest last.

    An event counts as the workload's if the name of its object begins with the workload's name.
    """
    path = f"/api/v1/namespaces/{subject.namespace}/events"
    failures = reader.optional(
        "events", reader.api.items, path, fieldSelector="reason=FailedCreate"
    )
    mine = [
        event
        for event in failures or ()
        if str((event.get("involvedObject") or {}).get("name", "")).startswith(subject.name)
    ]
    mine.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return tuple(event.get("message", "") for event in mine[-5:])
