"""Lists the kinds that hold pods: where an API server serves each, and where its pods are.

A new kind is one line here: `lab kube-inject` opens it and `lab explain` accepts its names.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Workload(NamedTuple):
    """A kind. `template`: the path of its pod template, () for a Pod, which is the pod itself.

    `short`: the short name that people type. `rolls`: it replaces its pods when the template
    changes. `runs_once`: its pods end.
    """

    kind: str
    api_version: str
    short: str
    template: tuple[str, ...] = ("spec", "template")
    rolls: bool = False
    runs_once: bool = False

    @property
    def plural(self) -> str:
        """The name of the kind in the API's paths."""
        return f"{self.kind.lower()}s"

    @property
    def api(self) -> str:
        """The path below which the API server serves it, without a namespace: /apis/apps/v1."""
        return f"/{'apis' if '/' in self.api_version else 'api'}/{self.api_version}"

    @property
    def aliases(self) -> tuple[str, ...]:
        """The names that kubectl accepts for it, in lower case."""
        return tuple(dict.fromkeys((self.short, self.kind.lower(), self.plural)))

    def pod_in(self, value: Mapping[str, Any]) -> Any:
        """Returns the pod or pod template in an object of this kind; None if there is none."""
        node: Any = value
        for key in self.template:
            node = node.get(key) if isinstance(node, Mapping) else None
        return node


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
"""apiVersion and kind of the List, which holds objects of any kind."""
API_VERSIONS: Final = {
    LIST[1]: LIST[0],
    **{kind: workload.api_version for kind, workload in WORKLOADS.items()},
}
"""The kinds that the injector opens, with the apiVersion of each."""


def of(api_version: object, kind: object) -> Workload | None:
    """Returns the workload of an object's type; None for another type, even of the same kind."""
    workload = WORKLOADS.get(kind) if isinstance(kind, str) else None
    return workload if workload is not None and workload.api_version == api_version else None


def in_words() -> str:
    """Returns the kinds for a sentence: "Pod, Deployment, ... and List"."""
    return f"{', '.join(WORKLOADS)} and {LIST[1]}"
