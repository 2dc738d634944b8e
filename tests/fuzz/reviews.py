"""A mutated AdmissionReview, and what is wrong with its answer. Pure but for the API server."""

import base64
import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from lab.mesh import contract
from lab.mesh.errors import AdmissionError
from lab.mesh.injector.settings import annotations as names
from lab.mesh.injector.settings.pod_settings import Settings
from lab.mesh.webhook import review as admission
from tests.fuzz import odd, pods, refusals
from tests.fuzz.seeds import NAMESPACE, Pod

DryRun = Callable[[Pod], str]
"""A pod to the API server's dry run: "" when it takes it, else what it says."""
SETTINGS: Final = Settings()
BROUGHT: Final = (
    names.OVERRIDES,
    names.USER_VOLUME,
    names.USER_VOLUME_MOUNT,
    contract.STATUS_ANNOTATION,
)
"""Annotations that hold parts of a pod."""
BYTES: Final = (
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\n", b"\\ud800", b"\xff", b"\x00",
    b"1e999", b"NaN",
)  # fmt: skip
_FIELD: Final = re.compile(r"sidecar injection: pod, field ([^:]+(?:\[\"[^\"]*\"\][^:]*)*): ")
_ANNOTATION: Final = re.compile(r"sidecar injection: annotation (\S+): ")
_NO_POD: Final = "sidecar injection: the request holds no pod"


@dataclass(frozen=True)
class Verdict:
    """`outcome` is counted; `problem` is a finding, "" if there is none."""

    outcome: str
    problem: str = ""


def review(pod: Any, **request: Any) -> dict[str, Any]:
    """The review that an API server sends for `pod`."""
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    asked = {"uid": "u-1", "kind": kind, "namespace": NAMESPACE, "operation": "CREATE",
             "object": pod, "oldObject": None, "dryRun": False, **request}  # fmt: skip
    return {"kind": "AdmissionReview", "apiVersion": admission.API_VERSION, "request": asked}


DEPTH = 5000
"""Levels of a review that is nothing but depth."""


def make(rng: Random, seeds: list[Pod]) -> bytes:
    """One mutated review, as bytes."""
    pod = copy.deepcopy(rng.choice(seeds))
    how = rng.random()
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        if how < 0.75:
            pods.change(rng, pod)
        if how >= 0.7:
            odd.mutate(rng, pod)
    whole = review(pod)
    if how > 0.95:
        odd.mutate(rng, whole)
    try:
        text = json.dumps(whole, ensure_ascii=rng.random() < 0.5)
    except (RecursionError, ValueError):  # deeper than Python writes, or its own ancestor
        text = '{"request":' * DEPTH + "1" + "}" * DEPTH
    body = text.encode(errors="surrogatepass")
    return damaged(rng, body) if 0.9 < how < 0.95 else body


def damaged(rng: Random, data: bytes) -> bytes:
    """A few bytes of `data` changed, taken out, doubled or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(changed) + 1)
        end = min(len(changed), at + rng.choice((1, 1, 4, 60)))
        what = rng.randrange(4)
        if what == 0:
            del changed[at:end]
        elif what == 1:
            changed[at:at] = changed[at:end]
        elif what == 2:
            changed[at:end] = bytes(rng.randrange(256) for _ in range(end - at))
        else:
            changed[at:at] = rng.choice(BYTES)
    return bytes(changed)


def judge(body: bytes, dry_run: DryRun | None) -> Verdict:
    """Answer the review and look at the answer; whatever is raised is a finding of the caller."""
    try:
        admission.check_request("application/json", len(body))
        answer = admission.answer(body, SETTINGS)
    except AdmissionError as error:
        sound = 400 <= error.status < 500 and error.message
        return Verdict("no review", "" if sound else f"status {error.status}, {error.message!r}")
    request = json.loads(body)["request"]
    text = json.dumps(answer.review, allow_nan=False)
    response = json.loads(text)["response"]
    pod = request.get("object")
    if response["uid"] != request["uid"]:
        return Verdict("answered", "the answer has another uid")
    if not response["allowed"]:
        return _refused(response["status"]["message"], pod, dry_run)
    if "patch" not in response:
        return Verdict("not injected", "" if answer.why else "no reason is given")
    return _injected(pod, json.loads(base64.b64decode(response["patch"])), request, dry_run)


def _refused(message: str, pod: Any, dry_run: DryRun | None) -> Verdict:
    if message == _NO_POD:
        return Verdict("refused, no pod")
    if named := _ANNOTATION.match(message):
        given = pod["metadata"]["annotations"]
        return Verdict("refused by annotation", "" if named[1] in given else f"named: {message}")
    if not (field := _FIELD.match(message)):
        return Verdict("refused", f"names no field: {message}")
    if refusals.refusal_of(message):
        return Verdict("refused by field, on purpose more strictly than an API server")
    if problem := _no_such_field(pod, field[1]):
        return Verdict("refused by field", f"{problem}: {message}")
    if dry_run and not dry_run(pod):
        return Verdict("refused by field", f"the API server takes the pod: {message}")
    return Verdict("refused by field")


def _no_such_field(pod: Any, shown: str) -> str:
    """Whether what holds the named field is there; the field itself may be missing."""
    here = pod
    parts = re.findall(r'\.?([A-Za-z_][\w-]*)|\[(\d+)\]|\["(.*?)"\]', shown)
    for key, index, quoted in parts[:-1]:
        try:
            here = here[int(index)] if index else here[key or quoted]
        except (KeyError, IndexError, TypeError):
            return f"{shown} is nowhere in the pod"
    return "" if isinstance(here, dict | list) else f"{shown} is in nothing"


def _injected(pod: Pod, patch: list[Any], request: Pod, dry_run: DryRun | None) -> Verdict:
    result = patched(pod, patch)
    if problem := _beyond(pod, result):
        return Verdict("injected", problem)
    again = admission.answer(
        json.dumps({**review(result), "request": {**request, "object": result}}).encode(), SETTINGS
    ).review["response"]
    if again.get("patch"):
        second = json.loads(base64.b64decode(again["patch"]))
        if second:
            return Verdict("injected", f"injected again it changes: {json.dumps(second)[:400]}")
    elif "nested too deep" in again.get("status", {}).get("message", ""):
        # Depth that no API server passes on: its types end where a pod's do.
        return Verdict("injected, too deep to be looked at again")
    elif not again["allowed"]:
        return Verdict("injected", f"injected again it is refused: {again['status']['message']}")
    if dry_run is None:
        return Verdict("injected")
    said = dry_run(result)
    if not said:
        return Verdict("injected, the API server takes it")
    if dry_run(pod):
        return Verdict("injected, the API server takes it neither so nor plain")
    if brought(pod, said):
        return Verdict("what an annotation brought is refused by the API server, naming the field")
    return Verdict("injected", f"the API server takes it plain, but injected: {said}")


def brought(pod: Pod, said: str) -> bool:
    """Whether the API server's words can be about what a user wrote as JSON into an annotation.

    It knows types and limits of every field; the injector does not repeat them.
    """
    given = (pod.get("metadata") or {}).get("annotations") or {}
    return any(name in given for name in BROUGHT) and bool(
        re.search(r"spec\.(\w+\[\d+\]\.)?\w+", said)
    )


def _beyond(pod: Pod, result: Pod) -> str:
    """Whether more was changed than a sidecar's own parts."""
    for holder, free in (
        ("metadata", {"labels", "annotations"}),
        ("spec", {"containers", "initContainers", "volumes"}),
    ):
        before, after = pod.get(holder) or {}, result.get(holder) or {}
        if {k: v for k, v in before.items() if k not in free} != {
            k: v for k, v in after.items() if k not in free
        }:
            return f"{holder} was changed beyond {sorted(free)}"
    outside = {"metadata", "spec"}
    same = all(result.get(k) == v for k, v in pod.items() if k not in outside)
    return "" if same and result.keys() - pod.keys() <= outside else "the pod's top was changed"


def patched(value: Any, patch: list[Any]) -> Any:
    """RFC 6902 as its text has it, for add, remove and replace; independent of lab.mesh."""
    whole = {"": _copied(value)}
    for operation in patch:
        parts = [p.replace("~1", "/").replace("~0", "~") for p in operation["path"].split("/")]
        holder: Any = whole
        for part in parts[:-1]:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        last: Any = parts[-1]
        if isinstance(holder, list):
            last = len(holder) if last == "-" else int(last)
            if last > len(holder):
                raise IndexError(operation["path"])
        if operation["op"] == "add":
            if isinstance(holder, list):
                holder.insert(last, _copied(operation["value"]))
            else:
                holder[last] = _copied(operation["value"])
        elif operation["op"] == "replace":
            holder[last]
            holder[last] = _copied(operation["value"])
        else:
            del holder[last]
    return whole[""]


def _copied(value: Any) -> Any:
    return json.loads(json.dumps(value))
