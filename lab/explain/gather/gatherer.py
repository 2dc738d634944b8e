"""Builds a Situation from an API server's answers to reads and dry-run creates.

This module only collects facts; verdict.py draws the conclusions.
"""

from dataclasses import replace

from lab.explain import dry_run
from lab.explain.findings import build
from lab.explain.gather import api_objects, injector_settings, trial, workloads
from lab.explain.gather.examine import examine
from lab.explain.gather.mesh import Mesh
from lab.explain.gather.reader import Reader
from lab.explain.situation import (
    Holder,
    Namespace,
    Object,
    Situation,
    Subject,
    discovery_of,
    proxy_of,
)
from lab.explain.targets import Target
from lab.kube.client import KubeApi
from lab.kube.errors import ApiError
from lab.mesh.workloads import WORKLOADS


class Gatherer:
    """Builds Situations of pods from what one API server answers.

    Each Situation also lists what could not be read.
    """

    def __init__(
        self, api: KubeApi, kubectl: tuple[str, ...], restore: tuple[str, ...] = ()
    ) -> None:
        self._api = api
        self._kubectl = kubectl
        self._restore = restore
        self._reader = Reader(api)
        self._mesh = Mesh(self._reader)
        self._gaps: tuple[str, ...] = ()

    def live(self, target: Target) -> list[Subject]:
        """Returns the target as subjects: the pod alone, or a workload's pod template and its pods.

        Raises ExplainError if the target does not exist.
        """
        target_object = workloads.named(self._api, target)
        if target.kind == "Pod":
            pod = _pod(target_object, workloads.holder_of(self._reader, target_object))
            self._gaps = tuple(self._reader.unknown)  # an owner may be hidden from us
            return [pod]
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
        return [
            subject,
            *(_pod(pod, holder) for pod in workloads.pods_of(self._api, target_object)),
        ]

    def situation(self, subject: Subject, space: Namespace | None, *, tried: bool) -> Situation:
        """Reads and returns everything that is needed to explain one subject.

        `space`: the manifest's Namespace, used if the cluster does not have the namespace yet.
        `tried`: whether a dry run is allowed.
        """
        self._reader.unknown = list(self._gaps)
        entries, services = self._mesh.webhook()
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
        settings = injector_settings.read(self._api, known, self._reader.unknown)
        refusals = workloads.refusals(self._reader, subject) if subject.origin == "template" else ()
        known = replace(known, settings=settings, refusals=refusals)
        injected = subject.origin == "live" and proxy_of(subject.pod) is not None
        if injected:
            known = self._examined(known)
        # A dry run for an injected pod shows whether the webhook that runs now makes the
        # difference, or an earlier one made it.
        wanted = tried and (not injected or build.aged(known))
        there = namespace is not None and namespace.exists and namespace is not space
        if wanted and there:
            answer = trial.attempt(self._reader, known)
            rejected = answer.outcome == "rejected"
            control = (
                trial.create(self._api, subject.namespace, dry_run.control(subject))
                if rejected
                else None
            )
            known = replace(known, trial=answer, control=control)
            known = replace(known, generations=self._mesh.generations(known))
        return replace(known, unknown=tuple(self._reader.unknown))

    def _examined(self, known: Situation) -> Situation:
        """Returns the situation `known`, completed with the symptoms of the existing pod.

        If the pod is not ready, the Service of discovery is added too.
        """
        where = discovery_of(known)
        observed = examine(self._api, known.subject.pod, where)
        services = dict(known.services)
        if not observed.ready and where not in services and (service := self._mesh.service(*where)):
            services[where] = service
        return replace(known, symptoms=observed, services=services)

    def _namespace(self, name: str) -> Namespace | None:
        try:
            return api_objects.namespace(self._api.get(f"/api/v1/namespaces/{name}"))
        except ApiError as error:
            if error.status == 404:
                return Namespace(name, exists=False)
            self._reader.cannot(f"namespace {name}", error)
            return None


def _pod(pod: Object, holder: Holder | None) -> Subject:
    meta = pod["metadata"]
    return Subject(
        origin="live",
        namespace=meta["namespace"],
        name=meta["name"],
        pod=pod,
        holder=holder,
        created=meta.get("creationTimestamp", ""),
    )
