"""Reads the selectors that authors write: "app=jiuxi,tier=web"."""

import re
from collections.abc import Mapping

from lab.errors import ScenarioError

_EQUALS = re.compile(r"\s*(?P<key>[A-Za-z0-9./_-]+)\s*=\s*(?P<value>[A-Za-z0-9._-]*)\s*")


def selector(text: str) -> Mapping[str, str] | None:
    """Parse a selector like "app=jiuxi,tier=web" into labels. Returns None if `text` is "".

    Only `=` is supported. Raises ScenarioError for any other selector.
    """
    if not text:
        return None
    parts = [_EQUALS.fullmatch(part) for part in text.split(",")]
    labels = {part["key"]: part["value"] for part in parts if part is not None}
    if None in parts:
        raise ScenarioError(f"{text!r} is not a selector", hint='write it as "key=value,key=value"')
    return labels
