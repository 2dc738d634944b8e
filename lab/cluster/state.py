"""The record of one lab, in `.lab/NAME/state.json`: `lab up` writes it, other commands read it.

This module imports nothing that loads slowly, since nearly every command needs it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from lab.errors import ClusterError
from lab.paths import LabPaths

SCHEMA = 1
"""The version of the file format: a file with another version is ignored.

Increase it when a field changes its meaning.
"""

Phase = Literal["creating", "installing", "ready"]
"""How far `lab up` got.

    creating: there is no usable cluster yet. installing: there is a cluster, but its mesh has not
    been shown to work. ready: everything works.
    """


@dataclass(frozen=True)
class LabState:
    """The record of one lab. Paths are absolute; `created` is in seconds since the epoch."""

    name: str
    phase: Phase
    node: str
    """Name of the node's container."""
    network: str
    """Name of the node's Docker network."""
    kubeconfig: str
    node_image: str
    """Tag of the node image that the last `up` built or pulled; the node may be older."""
    observer_image: str
    kind: str
    """Path of the kind program."""
    kubectl: str
    """Path of the kubectl program."""
    default_cni: bool
    """True: kind installs its own CNI (stock node image). False: our node image contains one."""
    kubernetes: str = ""
    mesh: str = "sidecar-lab"
    """The mesh whose control plane is installed: sidecar-lab or istio."""
    tools: str = ""
    """Folder that contains istioctl, when the mesh is Istio; "" for our mesh."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Images in the node: name → tag in Docker, which changes with the content."""
    source: str = ""
    """How the node image was obtained: pull or build."""
    stage: str = ""
    """Reference of the image with Kubernetes that the node image is built on (or the stock image).

    When it changes, the cluster must be created again.
    """
    created: float = 0.0

    def to_json(self) -> str:
        """Returns the state as JSON text for `parse`."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    def having(self, **changes: Any) -> "LabState":
        """Returns a copy of the record in which the fields named in `changes` have new values."""
        return replace(self, **changes)


def parse(text: str) -> LabState | None:
    """Parses the JSON text of a LabState; returns None if it is damaged or has another schema."""
    try:
        document = json.loads(text)
    except ValueError:
        return None
    if not isinstance(document, dict) or document.pop("schema", None) != SCHEMA:
        return None
    known = {field.name for field in fields(LabState)}
    try:
        return LabState(**{key: value for key, value in document.items() if key in known})
    except TypeError:
        return None


def find(paths: LabPaths) -> LabState | None:
    """Returns the lab's state; None when its file is absent, damaged or of another schema."""
    try:
        return parse(paths.state.read_text())
    except FileNotFoundError:
        return None


def load(paths: LabPaths) -> LabState:
    """Returns the lab's state. Raises ClusterError when the lab does not exist or is not ready."""
    state = find(paths)
    if state is None:
        raise ClusterError(f"there is no lab {paths.name!r} here", hint=f"run {up_command(paths)}")
    if state.phase != "ready":
        raise ClusterError(
            f"the lab {paths.name!r} is not complete", hint=f"run {up_command(paths)}"
        )
    return state


def save(paths: LabPaths, state: LabState) -> None:
    """Write the state so that a reader gets the old state or the new one, never a part of one."""
    write_atomically(paths.state, state.to_json())


def write_atomically(file: Path, text: str, mode: int = 0o600) -> None:
    """Write `text` to a new file in the same folder, then rename it to `file`.

    `mode`: the permissions of `file`. Even while the text is written, only users who have access
    by `mode` can read it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".new")
    # A file that an interrupted writer left may be readable by others, or be a link.
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    partial.chmod(mode)
    partial.replace(file)


def up_command(paths: LabPaths) -> str:
    """Returns the command that brings this lab up, in backticks."""
    from lab.paths import DEFAULT_NAME

    named = "" if paths.name == DEFAULT_NAME else f" --name {paths.name}"
    return f"`lab up{named}`"
