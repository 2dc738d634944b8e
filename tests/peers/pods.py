"""Small pods as plain data, to which a case adds what is special about it."""

from collections.abc import Mapping
from typing import Any

Data = dict[str, Any]


def pod(spec: Mapping[str, Any] | None = None, **metadata: Any) -> Data:
    """A Pod with one container, and what else is given."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}, **metadata},
        "spec": {"containers": [{"name": "app", "image": "nginx"}], **(spec or {})},
    }


def app(**fields: Any) -> Data:
    """A Pod whose one container has these fields."""
    return pod({"containers": [{"name": "app", "image": "nginx", **fields}]})
