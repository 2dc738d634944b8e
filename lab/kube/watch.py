"""Follows the changes of a collection: lists its objects, then watches it.

If the watch breaks, lists the objects again.
"""

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

from lab.kube.client import KubeApi
from lab.kube.errors import ApiError, WaitError
from lab.kube.paths import Object

STARTING = (0, 429, 500, 503)
"""HTTP statuses of an API server that is starting or overloaded; 0 means no answer."""
GONE = 410
"""HTTP status when the resourceVersion to watch from is too old, so that a new list is needed."""
PAUSE = 0.2
"""Seconds to wait before the next list, after a failed list or a watch without any event."""


def watch(
    api: KubeApi,
    path: str,
    seconds: float,
    query: Mapping[str, str] | None = None,
    *,
    patient: bool = True,
) -> Generator[list[Object], None, None]:
    """Yields all objects of the collection at `path`: at once, and again after every change.

    Ends after `seconds`. Raises ApiError when the API server refuses the list. If the server is
    starting or does not answer, tries again; if `patient` is False, raises ApiError then, too.
    """
    deadline = time.monotonic() + seconds
    asked = dict(query or {})
    while time.monotonic() < deadline:
        try:
            listed = api.get(path, **asked)
        except ApiError as error:
            if not patient or error.status not in STARTING:
                raise
            time.sleep(PAUSE)
            continue
        objects = {_key(item): item for item in listed.get("items") or ()}
        yield list(objects.values())
        version = listed["metadata"]["resourceVersion"]
        changed = False
        for kind, item in _events(api, path, asked, version, deadline):
            if kind == "DELETED":
                objects.pop(_key(item), None)
            elif kind in ("ADDED", "MODIFIED"):
                objects[_key(item)] = item
            else:  # ERROR: the version is too old, so list again
                break
            changed = True
            yield list(objects.values())
        if not changed:
            time.sleep(min(PAUSE, max(0.0, deadline - time.monotonic())))


def wait(
    api: KubeApi,
    path: str,
    met: Callable[[Sequence[Object]], bool],
    *,
    what: str,
    timeout: float,
    query: Mapping[str, str] | None = None,
    describe: Callable[[Object], str],
) -> tuple[Object, ...]:
    """Wait until `met` is true for the objects of the collection at `path`; return them.

    After `timeout` seconds, raises WaitError: its message contains `what`, a text that names what
    was waited for, and describes the last objects. Raises ApiError at once when the API server
    refuses or does not answer.
    """
    objects: list[Object] = []
    for objects in watch(api, path, timeout, query, patient=False):
        if met(tuple(objects)):
            return tuple(objects)
    last = "\n  ".join(describe(item) for item in objects) or "nothing"
    raise WaitError(f"waited {timeout:g} s for {what}; last seen:\n  {last}", objects)


def _events(
    api: KubeApi, path: str, query: Mapping[str, str], version: str, deadline: float
) -> Iterator[tuple[str, Object]]:
    left = deadline - time.monotonic()
    if left <= 0:
        return
    # The server ends the watch at its own timeout, in whole seconds; ours is exact.
    asked = {**query, "watch": "true", "resourceVersion": version}
    asked["timeoutSeconds"] = str(int(left) + 1)
    try:
        for came, line in api.lines(path, asked, seconds=left):
            event = json.loads(line)
            yield event["type"], event["object"]
            if came >= deadline:
                return
    except ApiError as error:
        if error.status not in (*STARTING, GONE):
            raise
    except ValueError:
        return  # the connection broke within a line


def _key(item: Object) -> tuple[str, str]:
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]
