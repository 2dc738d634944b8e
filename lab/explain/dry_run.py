"""Builds the pod for a dry-run create, and interprets the API server's answer. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lab.explain.situation import Object, Subject, Trial, proxy_of
from lab.mesh import contract

_FAILED: Final = re.compile(
    r'failed calling webhook "(?P<name>[^"]+)": (?:failed to call webhook: )?(?P<why>.*)', re.S
)
_DENIED: Final = re.compile(
    r'admission webhook "(?P<name>[^"]+)" denied the request(?:: (?P<why>.*))?', re.S
)
_NAMES: Final = re.compile(r"certificate is valid for (?P<names>[^;]+?), not (?P<wanted>\S+)")
_DROPPED: Final = ("nodeName", "ephemeralContainers", "hostname", "schedulingGates")
_WARNING: Final = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')

PREFIX: Final = "lab-explain-"
"""Start of the name of the dry run's pod. The API server never stores this pod."""


def body(subject: Subject) -> dict[str, Any]:
    """Returns the pod that a dry-run create sends.

    It has the subject's labels and annotations, and its spec without the fields in _DROPPED.
    """
    metadata = subject.pod.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    spec = {key: value for key, value in subject.spec.items() if key not in _DROPPED}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": PREFIX, **kept},
        "spec": spec,
    }


def control(subject: Subject) -> dict[str, Any]:
    """Returns the pod of `body` with the label that declines a sidecar.

    The dry run of this pod shows whether the API server rejects the pod without a sidecar too.
    """
    pod = body(subject)
    metadata = pod["metadata"]
    labels = {**metadata.get("labels", {}), contract.INJECT_POD_LABEL: "false"}
    return {**pod, "metadata": {**metadata, "labels": labels}}


def read(status: int, answer: Object, warnings: Sequence[str] = ()) -> Trial:
    """Interprets the answer to a dry run: `answer` is the created pod, or a Status object."""
    texts = tuple(text for value in warnings for text in _WARNING.findall(value))
    if status < 300:
        sidecar = proxy_of(answer)
        if sidecar is None:
            return Trial("plain", warnings=texts)
        return Trial("injected", warnings=texts, native=sidecar[1], pod=answer)
    message = short(str(answer.get("message") or f"HTTP status {status}"))
    if match := _FAILED.search(message):
        return Trial("failed", match["name"], match["why"].strip(), texts)
    if match := _DENIED.search(message):
        return Trial("refused", match["name"], (match["why"] or "no reason given").strip(), texts)
    if status in (401, 403) and "cannot create resource" in message:
        return Trial("untried", message=message)
    return Trial("rejected", message=message, warnings=texts)


def short(message: str) -> str:
    """Returns a message in one line; replaces a long list of certificate names by their number."""
    message = " ".join(message.split())
    names = _NAMES.search(message)
    if names is None or names["names"].count(",") < 3:
        return message
    count = names["names"].count(",") + 1
    text = f"certificate is valid for {count} other names, not {names['wanted']}"
    return message[: names.start()] + text + message[names.end() :]


def failed_open(before: str, after: str, names: Sequence[str]) -> bool:
    """Returns whether the API server ignored a failed call of a webhook entry between two times.

    `before` and `after`: the API server's metrics at these times, in Prometheus' text format.
    `names`: the names of the webhook entries that count.
    """
    first, last = _counts(before), _counts(after)
    return any(last.get(name, 0.0) > first.get(name, 0.0) for name in names)


_COUNT: Final = re.compile(
    r'^apiserver_admission_webhook_fail_open_count\{[^}]*name="(?P<name>[^"]+)"[^}]*\} (?P<n>\S+)',
    re.M,
)


def _counts(metrics: str) -> Mapping[str, float]:
    counts: dict[str, float] = {}
    for match in _COUNT.finditer(metrics):
        counts[match["name"]] = counts.get(match["name"], 0.0) + float(match["n"])
    return counts
