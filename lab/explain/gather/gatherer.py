"""Builds a Situation from an API server's answers, with reads and dry-run creates. Thin.

This module judges nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from lab.explain import dry_run
from lab.explain.errors import ExplainError
from lab.explain.findings import build
from lab.explain.gather import api_objects, injector_settings
from lab.explain.gather.examine import examine
from lab.explain.situation import (
    Entry,
    Holder,
    Namespace,
    Object,
    RootPlace,
    Service,
    Situation,
    Subject,
    Trial,
    discovery_of,
    proxy_of,
)
from lab.explain.targets import Target
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.kube.paths import pods
from lab.mesh.workloads import WORKLOADS

_CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_NAMES: Final = 20
"""Upper limit of the pod names in a hint."""
TRIAL_SECONDS: Final = 45.0
"""For the dry run: the API server waits up to 30 s for each webhook."""
Found = TypeVar("Found")


class Gatherer:
    """Asks one API server, and keeps a text for each thing that it could not read."""

    def __init__(
        self, api: KubeApi, kubectl: tuple[str, ...], restore: tuple[str, ...] = ()
    ) -> None:
        self._api = api
        self._kubectl = kubectl
        self._restore = restore
        self._unknown: list[str] = []
        self._webhook: tuple[tuple[Entry, ...] | None, Mapping[tuple[str, str], Service]] | None
        self._webhook = None

    def live(self, target: Target) -> list[Subject]:
        """Returns the pod, or a workload's template and its pods.

        Raises ExplainError if the target does not exist.
        """
        target_object = self._named(target)
        if target.kind == "Pod":
            return [self._pod(target_object, self._holder(target_object))]
        workload = WORKLOADS[target.kind]
        template = workload.pod_in(target_object) or {}
        holder = Holder(target.kind, target.name, target_object["metadata"], template)
        subject = Subject(
            origin="template",
            namespace=target.namespace,
            name=target.name,
            pod=template,
            holder=holder,
            where=workload.template,
        )
        return [subject, *(self._pod(pod, holder) for pod in self._pods(target_object))]

    def situation(self, subject: Subject, space: Namespace | None, *, tried: bool) -> Situation:
        """Returns everything that is known about one subject.

        `space`: the namespace from the manifest, used if the cluster does not have it yet.
        `tried`: whether a dry run is allowed.
        """
        self._unknown = []
        entries, services = self._mesh()
        namespace = self._namespace(subject.namespace)
        if space is not None and (namespace is None or not namespace.exists):
            namespace = space
        known = Situation(
            subject=subject,
            namespace=namespace,
            entries=entries,
            services=services,
            kubectl=self._kubectl,
            restore=self._restore,
        )
        settings = injector_settings.read(self._api, known, self._unknown)
        refusals = self._refusals(subject) if subject.origin == "template" else ()
        known = replace(known, settings=settings, refusals=refusals)
        injected = subject.origin == "live" and proxy_of(subject.pod) is not None
        if injected:
            known = self._examined(known)
        # A dry run for an injected pod shows whether the webhook that runs now makes the
        # difference, or an earlier one made it.
        wanted = tried and (not injected or build.aged(known))
        there = namespace is not None and namespace.exists and namespace is not space
        if wanted and there:
            answer = self._try(known)
            rejected = answer.outcome == "rejected"
            control = (
                self._create(subject.namespace, dry_run.control(subject)) if rejected else None
            )
            known = replace(known, trial=answer, control=control)
            known = replace(known, generations=self._generations(known))
        return replace(known, unknown=tuple(self._unknown))

    def _examined(self, known: Situation) -> Situation:
        """Returns `known` with an existing pod's symptoms and, if it is not ready, discovery's
        Service.
        """
        where = discovery_of(known)
        observed = examine(self._api, known.subject.pod, where)
        services = dict(known.services)
        if not observed.ready and where not in services and (service := self._service(*where)):
            services[where] = service
        return replace(known, symptoms=observed, services=services)

    def _generations(self, known: Situation) -> tuple[str, ...]:
        """Returns a text for each webhook pod, () if all have the same images and template."""
        where = next((entry.service for entry in known.matching if entry.service), None)
        service = known.services.get(where) if where else None
        if service is None or not service.selector:
            return ()
        chosen = ",".join(f"{key}={value}" for key, value in service.selector.items())
        path = f"/api/v1/namespaces/{service.namespace}/pods"
        pods = self._optional("the webhook's pods", self._api.items, path, labelSelector=chosen)
        return api_objects.generations(pods or ())

    def _named(self, target: Target) -> dict[str, Any]:
        workload = WORKLOADS[target.kind]
        base = f"{workload.api}/namespaces/{target.namespace}/{workload.plural}"
        try:
            return self._api.get(f"{base}/{target.name}")
        except ApiError as error:
            if error.status != 404:
                raise
        names = [item["metadata"]["name"] for item in self._api.items(base)]
        hint = f"there is: {', '.join(names[:_NAMES])}" if names else "there is none"
        if target.kind == "Pod" and not names:
            hint += "; for pods that could not be created: deploy/NAME"
        what = f"{target.kind} {target.name}"
        raise ExplainError(f"no {what} in namespace {target.namespace}", hint=hint)

    def _pod(self, pod: Object, holder: Holder | None) -> Subject:
        meta = pod["metadata"]
        return Subject(
            origin="live",
            namespace=meta["namespace"],
            name=meta["name"],
            pod=pod,
            holder=holder,
            created=meta.get("creationTimestamp", ""),
        )

    def _pods(self, workload: Object) -> list[dict[str, Any]]:
        """Returns the pods of a workload, newest first, without those that are being deleted."""
        selector = (workload.get("spec") or {}).get("selector") or {}
        # A ReplicationController's selector is the bare mapping; a CronJob has none.
        wanted = selector.get("matchLabels", selector) if isinstance(selector, dict) else {}
        chosen = ",".join(f"{k}={v}" for k, v in wanted.items() if isinstance(v, str))
        if not chosen:
            return []
        path = f"/api/v1/namespaces/{workload['metadata']['namespace']}/pods"
        pods = self._api.items(path, labelSelector=chosen)
        staying = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        return sorted(staying, key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)

    def _holder(self, pod: Object) -> Holder | None:
        """Returns the topmost workload that owns a pod, such as a ReplicaSet's Deployment or a
        Job's CronJob; None for a pod without an owner.
        """
        holder: Holder | None = None
        current, space = pod, pod["metadata"]["namespace"]
        while owner := _controller(current):
            kind, name = owner["kind"], owner["name"]
            if (workload := WORKLOADS.get(kind)) is None:
                return holder or Holder(kind, name)
            read = self._optional(
                f"{kind} {name}",
                self._api.get,
                f"{workload.api}/namespaces/{space}/{workload.plural}/{name}",
            )
            if read is None:
                return holder or Holder(kind, name)
            current = read
            holder = Holder(kind, name, current["metadata"], workload.pod_in(current) or {})
        return holder

    def _namespace(self, name: str) -> Namespace | None:
        try:
            return api_objects.namespace(self._api.get(f"/api/v1/namespaces/{name}"))
        except ApiError as error:
            if error.status == 404:
                return Namespace(name, exists=False)
            self._cannot(f"namespace {name}", error)
            return None

    def _mesh(self) -> tuple[tuple[Entry, ...] | None, Mapping[tuple[str, str], Service]]:
        if self._webhook is None:
            listed = self._optional("webhook configurations", self._api.items, _CONFIGURATIONS)
            entries = None if listed is None else api_objects.entries(listed)
            wanted = dict.fromkeys(entry.service for entry in entries or () if entry.service)
            read = {key: self._service(*key) for key in wanted}
            services = {key: value for key, value in read.items() if value is not None}
            self._webhook = entries, services
        return self._webhook

    def _service(self, namespace: str, name: str) -> Service | None:
        base = f"/api/v1/namespaces/{namespace}"
        try:
            service = self._api.get(f"{base}/services/{name}")
        except ApiError as error:
            if error.status == 404:
                return Service(namespace, name, exists=False)
            self._cannot(f"Service {namespace}/{name}", error)
            return None
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        pieces = self._optional(
            "endpoints", self._api.items, slices, labelSelector=f"kubernetes.io/service-name={name}"
        )
        if pieces is None:
            return None
        deployments = self._optional(
            "Deployments", self._api.items, f"/apis/apps/v1/namespaces/{namespace}/deployments"
        )
        return api_objects.service(
            service, pieces, deployments or (), self._root(RootPlace.of(namespace, name))
        )

    def _root(self, place: RootPlace) -> str:
        """Returns the root certificate that the mesh publishes, "" if it cannot be read."""
        try:
            published = self._api.get(
                f"/api/v1/namespaces/{place.namespace}/{place.resource}s/{place.name}"
            )
        except ApiError:
            return ""  # without it, the other facts still explain the pod
        return api_objects.root(place, published)

    def _refusals(self, subject: Subject) -> tuple[str, ...]:
        path = f"/api/v1/namespaces/{subject.namespace}/events"
        failures = self._optional(
            "events", self._api.items, path, fieldSelector="reason=FailedCreate"
        )
        mine = [
            event
            for event in failures or ()
            if str((event.get("involvedObject") or {}).get("name", "")).startswith(subject.name)
        ]
        mine.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
        return tuple(event.get("message", "") for event in mine[-5:])

    def _try(self, situation: Situation) -> Trial:
        """Dry-runs the pod. If the API server may have ignored a failed call, compares its
        counters before and after a second dry run.
        """
        space, body = situation.subject.namespace, dry_run.body(situation.subject)
        answer = self._create(space, body)
        doubtful = [entry.name for entry in situation.matching if entry.ignores_failure]
        if answer.outcome != "plain" or not doubtful:
            return answer
        before = self._optional("the API server's metrics", self._api.text, "/metrics")
        if before is None:
            return answer
        answer = self._create(space, body)
        after = self._optional("the API server's metrics", self._api.text, "/metrics")
        passed = after is not None and dry_run.failed_open(before, after, doubtful)
        return replace(answer, passed_over=passed)

    def _create(self, namespace: str, body: Object) -> Trial:
        answer = self._api.send(
            "POST",
            pods(namespace),
            query={"dryRun": "All", "fieldManager": "lab-explain"},
            body=body,
            timeout=TRIAL_SECONDS,
        )
        warnings = answer.headers.getlist("warning")
        return dry_run.read(answer.status, _decoded(answer.data), warnings)

    def _optional(
        self, what: str, read: Callable[..., Found], path: str, **query: str
    ) -> Found | None:
        """Returns what `read` returns. If it may not be read or does not exist, records that and
        returns None.
        """
        try:
            return read(path, **query)
        except ApiError as error:
            self._cannot(what, error)
            return None

    def _cannot(self, what: str, error: ApiError) -> None:
        if error.status not in (401, 403, 404):
            raise error
        gap = f"{what} (status {error.status})"
        if gap not in self._unknown:
            self._unknown.append(gap)


def _decoded(data: bytes) -> dict[str, Any]:
    """Returns the object or Status of an answer; of any other text, the text as a message."""
    try:
        answer = json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace")[:500]}
    return answer if isinstance(answer, dict) else {}


def _controller(pod_or_workload: Object) -> Object | None:
    owners = pod_or_workload["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)
