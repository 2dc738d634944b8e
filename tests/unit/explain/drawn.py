"""Manifests drawn by number: every kind, every annotation of the injector, and what people err in.

The same number gives the same manifest. A third are those of the fuzzer, which mutates texts.
"""

import copy
import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.injector import inject
from lab.mesh.injector.owners import owner_of
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.workloads import WORKLOADS
from tests.fuzz import seeds, texts
from tests.fuzz.odd import TEXTS
from tests.peers.values import VALUES

Spec = dict[str, Any]
ALL_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    **{name: (*VALUES.get(name, ()), "", "nonsense", "-1", "[]", "1,2") for name in names.RULES},
    names.TEMPLATES: ("sidecar", "gateway", "sidecar,gateway", ""),
    names.USER_VOLUME: ('{"d":{"emptyDir":{}}}', '[{"name":"d","emptyDir":{}}]', "{", "7"),
    names.USER_VOLUME_MOUNT: ('{"d":{"mountPath":"/d"}}', '[{"name":"d","mountPath":"/d"}]', "{}"),
    names.EXCLUDE_OUTBOUND_CIDRS: ("169.254.169.254", "10.0.0.0/8", "10.0.0.0/33", "fd00::/8", "x"),
}


def _annotated(rng: Random, pod: Spec) -> None:
    name = rng.choice(sorted(ALL_VALUES))
    pod["metadata"].setdefault("annotations", {})[name] = rng.choice(ALL_VALUES[name])


def _junk(rng: Random, pod: Spec) -> None:
    name = rng.choice(sorted(ALL_VALUES))
    pod["metadata"].setdefault("annotations", {})[name] = rng.choice(TEXTS)[:300]


def _limits(rng: Random, pod: Spec) -> None:
    given = pod["metadata"].setdefault("annotations", {})
    given[names.PROXY_CPU], given[names.PROXY_CPU_LIMIT] = rng.choice(
        (("2", "100m"), ("100m", "2"), ("1", "1"), ("1", "999m"))
    )


def _label(rng: Random, pod: Spec) -> None:
    wish = rng.choice(("true", "false", "False", "yes", ""))
    where = rng.choice(("labels", "annotations"))
    pod["metadata"].setdefault(where, {})[contract.INJECT_POD_LABEL] = wish


def _spec(rng: Random, pod: Spec) -> None:
    pod["spec"] |= rng.choice(
        (
            {"os": {"name": "windows"}},
            {"nodeSelector": {"kubernetes.io/os": "windows"}},
            {"hostNetwork": True},
            {"hostNetwork": "true"},
            {"dnsPolicy": "Default"},
            {"initContainers": [{"name": "app", "image": "b"}]},
            {"initContainers": [{"name": "first", "image": "b"}]},
            {"resources": {"limits": {"cpu": "1m"}}},
            {"securityContext": {"runAsUser": contract.PROXY_UID}},
            {"volumes": [{"name": "istio-envoy", "emptyDir": {}}]},
            {"containers": [{"name": contract.PROXY_CONTAINER, "image": "auto"}]},
            {"containers": []},
            {"containers": [{"image": "nameless"}]},
        )
    )


def _type(rng: Random, pod: Spec) -> None:
    """A field of the wrong type, as a missing quote or dash makes it."""
    place, value = rng.choice(
        (
            (("metadata", "labels"), {"version": 1.1}),
            (("metadata", "annotations"), {"on": True}),
            (("metadata", "labels"), ["app"]),
            (("spec", "containers"), {"name": "a"}),
            (("spec", "volumes"), [{"emptyDir": {}}]),
            (("spec", "securityContext"), []),
            (("spec",), None),
            (("metadata",), "name: web"),
        )
    )
    holder = pod
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value


def _injected(rng: Random, pod: Spec) -> None:
    """As an injection left it, on which somebody may have worked since."""
    made = inject.inject(copy.deepcopy(pod), "default", owner_of(pod), Settings())
    pod |= copy.deepcopy(dict(made.template))


_EDITS: Final[tuple[tuple[int, Callable[[Random, Spec], None]], ...]] = (
    (8, _annotated), (2, _junk), (2, _limits), (2, _label), (3, _spec), (2, _type), (1, _injected),
)  # fmt: skip


def manifest(number: int) -> bytes:
    """The manifest of a number: one document or more."""
    rng = Random(number)
    if number % 3 == 0:
        return texts.make(rng, _seeds())
    documents = [_workload(rng, n) for n in range(rng.choice((1, 1, 1, 2)))]
    if rng.random() < 0.1:
        documents = [{"apiVersion": "v1", "kind": "List", "items": documents}]
    if rng.random() < 0.1:
        documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}})
    return "\n---\n".join(json.dumps(one) for one in documents).encode()


_known: list[Any] = []


def _seeds() -> Any:
    if not _known:
        _known.append(seeds.texts())
    return _known[0]


def _workload(rng: Random, number: int) -> Spec:
    kind = rng.choice(sorted(WORKLOADS))
    pod: Spec = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": "a"}]},
    }
    weights = [weight for weight, _ in _EDITS]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        (edit,) = rng.choices([one for _, one in _EDITS], weights)
        # An edit of what a former one has broken is none.
        if isinstance(pod["metadata"], dict) and isinstance(pod["spec"], dict):
            try:
                edit(rng, pod)
            except Exception:  # noqa: BLE001 - what cannot be injected stays as it is
                continue
    space = rng.choice(("", "", "", "shop", "kube-system"))
    meta = {"name": f"web-{number}", **({"namespace": space} if space else {})}
    whole: Spec = {"apiVersion": WORKLOADS[kind].api_version, "kind": kind, "metadata": meta}
    if kind == "Pod":
        own = pod["metadata"]
        whole["metadata"] = {**own, **meta} if isinstance(own, dict) else own
        whole["spec"] = pod["spec"]
        return whole
    inner: Any = pod
    for key in reversed(WORKLOADS[kind].template):
        inner = {key: inner}
    whole |= inner
    return whole
