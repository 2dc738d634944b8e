"""Sends dry-run creates of a pod to an API server. Thin."""

import json
from dataclasses import replace
from typing import Any, Final

from lab.explain import dry_run
from lab.explain.gather.reader import Reader
from lab.explain.situation import Object, Situation, Trial
from lab.kube.client import KubeApi
from lab.kube.paths import pods

TRIAL_SECONDS: Final = 45.0
"""For the dry run: the API server waits up to 30 s for each webhook."""


def attempt(reader: Reader, situation: Situation) -> Trial:
    """Dry-runs the pod. If the API server may have ignored a failed call, compares its
    counters before and after a second dry run.
    """
    space, body = situation.subject.namespace, dry_run.body(situation.subject)
    answer = create(reader.api, space, body)
    doubtful = [entry.name for entry in situation.matching if entry.ignores_failure]
    if answer.outcome != "plain" or not doubtful:
        return answer
    before = reader.optional("the API server's metrics", reader.api.text, "/metrics")
    if before is None:
        return answer
    answer = create(reader.api, space, body)
    after = reader.optional("the API server's metrics", reader.api.text, "/metrics")
    passed = after is not None and dry_run.failed_open(before, after, doubtful)
    return replace(answer, passed_over=passed)


def create(api: KubeApi, namespace: str, body: Object) -> Trial:
    """Returns the meaning of the answer to one dry-run create of a pod."""
    answer = api.send(
        "POST",
        pods(namespace),
        query={"dryRun": "All", "fieldManager": "lab-explain"},
        body=body,
        timeout=TRIAL_SECONDS,
    )
    warnings = answer.headers.getlist("warning")
    return dry_run.read(answer.status, _decoded(answer.data), warnings)


def _decoded(data: bytes) -> dict[str, Any]:
    """Returns the object or Status of an answer; of any other text, the text as a message."""
    try:
        answer = json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace")[:500]}
    return answer if isinstance(answer, dict) else {}
