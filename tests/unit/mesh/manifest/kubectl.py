"""The kubectl of this environment as a judge of texts: it reads them without any cluster."""

import json
import subprocess
from typing import Any

from lab.cluster.images import ensure

LINE = ["annotate", "--local", "-f", "-", "-o", "json", "seen=y"]


def read(text: str | bytes) -> tuple[list[Any], str]:
    """The objects that kubectl makes of a stream, and what it says against the rest of it."""
    data = text.encode() if isinstance(text, str) else text
    done = subprocess.run(
        [ensure.kubectl(), *LINE], input=data, capture_output=True, timeout=60, check=False
    )
    assert bool(done.returncode) == bool(done.stderr), done
    values, said = _values(done.stdout.decode()), done.stderr.decode()
    if not said and any("apiVersion" not in one for one in values):
        said = "apiVersion not set"  # `kubectl apply` says so; what reads alone does not look
    return values, said


def _values(text: str) -> list[Any]:
    found, decoder, at = [], json.JSONDecoder(), 0
    while text[at:].strip():
        value, at = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        value["metadata"]["annotations"].pop("seen")
        if not value["metadata"]["annotations"]:
            del value["metadata"]["annotations"]
        found.append(value)
    return found
