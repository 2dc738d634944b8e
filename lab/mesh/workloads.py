"""Lists the kinds of objects that are a pod or hold a pod template.

For each kind it gives the template's path in the object, and the kind's path in the API.
To support a new kind, add one line here: then `lab kube-inject` injects its objects, and
`lab explain` accepts its names.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple


class Workload(NamedTuple):
    """A kind of objects with pods. `template`: the path of its pod template, () for a Pod itself.

    `short`: the short name that people type. `rolls`: whether a change of the template replaces the
    object's pods. `runs_once`: whether the object's pods run to completion.
    """

    kind: str
    api_version: str
    short: str
    template: tuple[str, ...] = ("spec", "template")
    rolls: bool = False
    runs_once: bool = False

    @property
    def plural(self) -> str:
        """The plural name of the kind, as in the API's paths."""
        return f"{self.kind.lower()}s"

    @property
    def api(self) -> str:
        """The API path below which objects of this kind are served, such as /apis/apps/v1."""
        return f"/{'apis' if '/' in self.api_version else 'api'}/{self.api_version}"

    @property
    def aliases(self) -> tuple[str, ...]:
        """The names that kubectl accepts for this kind, in lower case."""
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
"""Kind → workload."""
LIST: Final = ("v1", "List")
"""apiVersion and kind of a List, an object that holds objects of any kind."""
API_VERSIONS: Final = {
    LIST[1]: LIST[0],
    **{kind: workload.api_version for kind, workload in WORKLOADS.items()},
}
"""Kind → apiVersion, for each kind in which the injector looks for pods."""


def of(api_version: object, kind: object) -> Workload | None:
    """Returns the workload for an apiVersion and kind; None if one of the two does not match."""
    workload = WORKLOADS.get(kind) if isinstance(kind, str) else None
    return workload if workload is not None and workload.api_version == api_version else None


def in_words() -> str:
    """Returns the kinds as part of a sentence: "Pod, Deployment, ... and List"."""
    return f"{', '.join(WORKLOADS)} and {LIST[1]}"
