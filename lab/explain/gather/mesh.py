"""Reads the control plane of a cluster's mesh: webhook entries, their Services and pods."""

from collections.abc import Mapping
from typing import Final

from lab.explain.gather import api_objects
from lab.explain.gather.reader import Reader
from lab.explain.situation import Entry, RootPlace, Service, Situation
from lab.kube import paths
from lab.kube.errors import ApiError

_CONFIGURATIONS: Final = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


class Mesh:
    """Reads the control plane of a mesh; reads the webhook entries and their Services only once."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._webhook: tuple[tuple[Entry, ...] | None, Mapping[tuple[str, str], Service]] | None
        self._webhook = None
        self._gaps: list[str] = []

    def webhook(self) -> tuple[tuple[Entry, ...] | None, Mapping[tuple[str, str], Service]]:
        """Returns the webhook entries (None if they cannot be read) and the Services they call.

        The first call reads them. Each call adds what could not be read to the reader's `unknown`,
        so that the Situation of every subject lists it.
        """
        if self._webhook is None:
            before, self._reader.unknown = self._reader.unknown, self._gaps
            listed = self._reader.optional(
                "webhook configurations", self._reader.api.items, _CONFIGURATIONS
            )
            entries = None if listed is None else api_objects.entries(listed)
            wanted = dict.fromkeys(entry.service for entry in entries or () if entry.service)
            read = {key: self.service(*key) for key in wanted}
            services = {key: value for key, value in read.items() if value is not None}
            self._webhook = entries, services
            self._reader.unknown = before
        self._reader.unknown += [gap for gap in self._gaps if gap not in self._reader.unknown]
        return self._webhook

    def service(self, namespace: str, name: str) -> Service | None:
        """Returns a Service with its endpoints and Deployments, None if it cannot be read."""
        base = f"/api/v1/namespaces/{namespace}"
        try:
            service = self._reader.api.get(f"{base}/services/{name}")
        except ApiError as error:
            if error.status == 404:
                return Service(namespace, name, exists=False)
            self._reader.cannot(f"Service {namespace}/{name}", error)
            return None
        slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
        pieces = self._reader.optional(
            "endpoints",
            self._reader.api.items,
            slices,
            labelSelector=f"kubernetes.io/service-name={name}",
        )
        if pieces is None:
            return None
        deployments = self._reader.optional(
            "Deployments",
            self._reader.api.items,
            f"/apis/apps/v1/namespaces/{namespace}/deployments",
        )
        return api_objects.service(
            service, pieces, deployments or (), self._root(RootPlace.of(namespace, name))
        )

    def _root(self, place: RootPlace) -> str:
        """Returns the root certificate that the mesh publishes, "" if it cannot be read."""
        try:
            published = self._reader.api.get(
                f"/api/v1/namespaces/{place.namespace}/{place.resource}s/{place.name}"
            )
        except ApiError:
            return ""  # without it, the other facts still explain the pod
        return api_objects.root(place, published)

    def generations(self, known: Situation) -> tuple[str, ...]:
        """Reads the webhook's pods, and returns one text for each ready pod if they differ.

        A text has the pod's name, images and template. Returns () if all are equal.
        """
        where = next((entry.service for entry in known.matching if entry.service), None)
        service = known.services.get(where) if where else None
        if service is None or not service.selector:
            return ()
        pods = self._reader.optional(
            "the webhook's pods",
            self._reader.api.items,
            paths.pods(service.namespace),
            **paths.labelled(service.selector),
        )
        return api_objects.generations(pods or ())
