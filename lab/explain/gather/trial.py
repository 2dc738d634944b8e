"""Sends dry-run creates of a pod to an API server."""

import json
from dataclasses import replace
from typing import Any, Final

from lab.explain import dry_run
from lab.explain.gather.reader import Reader
from lab.explain.situation import Object, Situation, Trial
from lab.kube.client import KubeApi
from lab.kube.paths import pods

TRIAL_SECONDS: Final = 45.0
"""Time limit of a dry run. The API server itself waits up to 30 s for each webhook."""


def attempt(reader: Reader, situation: Situation) -> Trial:
    """Sends a dry-run create of the pod and returns the answer.

    If the pod comes back without a sidecar, the API server may have ignored a failed webhook call.
    To find out, this function sends a second dry run, and reads the API server's counters of such
    calls before and after it.
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
    """Sends one dry-run create of a pod and interprets the answer."""
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
    """Decodes the answer's JSON object. A text that is not JSON becomes the message of a Status."""
    try:
        answer = json.loads(data)
    except ValueError:
        return {"message": data.decode(errors="replace")[:500]}
    return answer if isinstance(answer, dict) else {}
