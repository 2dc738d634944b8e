"""The one table of the kinds that hold pods: where an API server serves each, where its pods are.

A further kind is one line here: `lab kube-inject` opens it and `lab explain` takes its names.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Workload(NamedTuple):
    """A kind. `template`: the path of its pod template, () for a Pod, which is the pod itself.

    `short`: what people type for it. `rolls`: it replaces its pods when the template changes.
    `runs_once`: its pods come to an end.
    """

    kind: str
    api_version: str
    short: str
    template: tuple[str, ...] = ("spec", "template")
    rolls: bool = False
    runs_once: bool = False

    @property
    def plural(self) -> str:
        """Its name in the API's paths."""
        return f"{self.kind.lower()}s"

    @property
    def api(self) -> str:
        """The path below which the API server serves it, without a namespace: /apis/apps/v1."""
        return f"/{'apis' if '/' in self.api_version else 'api'}/{self.api_version}"

    @property
    def aliases(self) -> tuple[str, ...]:
        """What kubectl takes for it, in lower case."""
        return tuple(dict.fromkeys((self.short, self.kind.lower(), self.plural)))

    def pod_in(self, value: Mapping[str, Any]) -> Any:
        """The pod or pod template in an object of this kind; None where there is none."""
        found: Any = value
        for key in self.template:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found


_ALL: Final = (
    Workload("Pod", "v1", "po", template=()),
    Workload("Deployment", "apps/v1", "deploy", rolls=True),
    Workload("DaemonSet", "apps/v1", "ds", rolls=True),
    Workload("StatefulSet", "apps/v1", "sts", rolls=True),
    Workload("ReplicaSet", "apps/v1", "rs"),
    Workload("ReplicationController", "v1", "rc"),
    Workload("Job", "batch/v1", "job", runs_once=True),
    Workload(
        "CronJob",
        "batch/v1",
        "cj",
        template=("spec", "jobTemplate", "spec", "template"),
        runs_once=True,
    ),
)
WORKLOADS: Final = {workload.kind: workload for workload in _ALL}
"""By kind."""
LIST: Final = ("v1", "List")
"""apiVersion and kind of what holds objects of any kind."""
API_VERSIONS: Final = {
    LIST[1]: LIST[0],
    **{kind: one.api_version for kind, one in WORKLOADS.items()},
}
"""The kinds that the injector opens, and the API that serves each of them."""


def of(api_version: object, kind: object) -> Workload | None:
    """The workload that an object's type names; None for anything else of that kind's name."""
    found = WORKLOADS.get(kind) if isinstance(kind, str) else None
    return found if found is not None and found.api_version == api_version else None


def spoken() -> str:
    """The kinds in a sentence: "Pod, Deployment, ... and List"."""
    return f"{', '.join(WORKLOADS)} and {LIST[1]}"
