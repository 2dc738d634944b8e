"""A row of the table of accepted differences, and the tests of which rows are made."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lab.mesh.workloads import WORKLOADS
from tests.peers.meaning import ABSENT, Difference

Test = Callable[[Difference], bool]


@dataclass(frozen=True)
class Row:
    """Differences at a `path` (a regular expression for all of it; PROXY and INIT stand for our
    containers, wherever they are) for which `when` holds.
    """

    name: str
    path: str
    reason: str
    when: Test = lambda _: True

    def accepts(self, difference: Difference) -> bool:
        """Whether this row explains the difference."""
        whole = self.path.replace("PROXY", _PROXY).replace("INIT", _INIT)
        path = re.sub(r"^items\.\d+\.", "", difference.path)
        while path != (shorter := re.sub(r"^items\.\d+\.", "", path)):
            path = shorter
        return bool(re.fullmatch(whole, path)) and self.when(difference)


_PROXY: Final = r"pod\.spec\.(?:containers|initContainers)\.istio-proxy"
_INIT: Final = r"pod\.spec\.initContainers\.istio-init"


def only_theirs(*values: Any) -> Test:
    """Ours has nothing there, Istio's has one of the values (any, where none is given)."""
    return lambda d: d.ours is ABSENT and (not values or d.theirs in values)


def only_ours(*values: Any) -> Test:
    """Istio's has nothing there, ours has one of the values (any, where none is given)."""
    return lambda d: d.theirs is ABSENT and (not values or d.ours in values)


def pair(ours: Any, theirs: Any) -> Test:
    """Exactly these two."""
    return lambda d: (d.ours, d.theirs) == (ours, theirs)


def both(*tests: Test) -> Test:
    """All of the tests hold."""
    return lambda d: all(test(d) for test in tests)


def one_of(*tests: Test) -> Test:
    """One of the tests holds."""
    return lambda d: any(test(d) for test in tests)


def refusing(*words: str) -> Test:
    """Only ours refuses, with one of these words in its message."""
    return lambda d: d.theirs is ABSENT and any(word in str(d.ours) for word in words)


def without_auto(containers: Any) -> Any:
    """Containers as Istio keeps them: without `image: auto`, or an empty one."""
    if containers is ABSENT:
        return ABSENT
    return [
        {key: value for key, value in one.items() if not (key == "image" and value in ("auto", ""))}
        for one in containers
    ]


def kept_probe(difference: Difference) -> bool:
    """Ours left a probe of the one container as it was given, which no agent can ask."""
    container = difference.given["spec"]["containers"][0]
    probe = container[difference.path.split(".")[4]]
    target = probe.get("httpGet") or probe.get("tcpSocket") or {}
    ports = {port.get("name") for port in container.get("ports") or ()}
    unknown = isinstance(target.get("port"), str) and target["port"] not in ports
    left = difference.ours in (*target.values(), target, ABSENT)
    return left and bool(unknown or target.get("host") or target.get("port") == 15020)


def of_another_host(difference: Difference) -> bool:
    """Every probe that Istio handed to its agent is one of another host."""
    asked = difference.theirs["value"].values()
    return all(
        target.get("host")
        for probe in asked
        for target in probe.values()
        if isinstance(target, dict)
    )


def kind(*kinds: str) -> Test:
    """The object that was injected is one of these."""
    return lambda d: d.given.get("kind") in kinds


def annotated(name: str, *values: str) -> Test:
    """The pod has this annotation, with one of the values where any are given."""

    def test(difference: Difference) -> bool:
        given = _annotations(difference.given)
        return name in given and (not values or given[name] in values)

    return test


def _annotations(given: Mapping[str, Any]) -> Mapping[str, str]:
    workload = WORKLOADS.get(str(given.get("kind")))
    template: Any = (workload.pod_in(given) if workload else given) or {}
    found: Mapping[str, str] = (template.get("metadata") or {}).get("annotations") or {}
    return found


def namespace_filled_in(difference: Difference) -> bool:
    """Kubelet fills in what Istio's injector has written out."""
    namespace = (difference.given.get("metadata") or {}).get("namespace") or "default"
    return bool(str(difference.ours).replace("$(POD_NAMESPACE)", namespace) == difference.theirs)


def zeros(difference: Difference) -> bool:
    """Istio's has counters there, and all are 0."""
    return all(value == 0 for value in difference.theirs.values())
