"""What is known of one lab, kept in `.lab/NAME/state.json`; the rest of the project reads it.

Imports nothing heavy: `lab up` on a lab that is up, and every scenario, begin here.
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
"""Increase it when a field changes its meaning; a state of another schema is ignored."""

Phase = Literal["creating", "installing", "ready"]
"""How far `up` came.

    creating: there is no usable cluster yet. installing: there is a cluster, but its mesh is not
    proven to work. ready: everything works.
    """


@dataclass(frozen=True)
class LabState:
    """What is known of one lab. Paths are absolute; `created` is in seconds since the epoch."""

    name: str
    phase: Phase
    node: str
    """Name of the node's container."""
    network: str
    """Name of the node's Docker network."""
    kubeconfig: str
    node_image: str
    """Reference of the image that the node was created from."""
    observer_image: str
    kind: str
    """Path of the kind program."""
    kubectl: str
    """Path of the kubectl program."""
    default_cni: bool
    """Whether kind installs its own CNI (stock node image) or the image brings one."""
    kubernetes: str = ""
    mesh: str = "sidecar-lab"
    """Which mesh's control plane runs: sidecar-lab or istio."""
    tools: str = ""
    """Folder with the mesh's own command line (istioctl); "" when that is `lab` itself."""
    images: Mapping[str, str] = field(default_factory=dict)
    """Images in the node: reference → what identifies the content."""
    source: str = ""
    """Where the node image came from: pull or build."""
    stage: str = ""
    """Reference of the part of the node image that holds Kubernetes."""
    created: float = 0.0

    def to_json(self) -> str:
        """Returns the state as JSON, which `parse` reads."""
        return json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1, sort_keys=True) + "\n"

    def having(self, **changes: Any) -> "LabState":
        """Returns a copy with some fields changed."""
        return replace(self, **changes)


def parse(text: str) -> LabState | None:
    """Returns the LabState in a JSON text; None when it is damaged or of another schema."""
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
    """Returns the lab's state; None when there is none or it is damaged."""
    try:
        return parse(paths.state.read_text())
    except FileNotFoundError:
        return None


def load(paths: LabPaths) -> LabState:
    """Returns the state of a lab that is ready. Raises ClusterError when there is none."""
    state = find(paths)
    if state is None:
        raise ClusterError(f"there is no lab {paths.name!r} here", hint=f"run {up_command(paths)}")
    if state.phase != "ready":
        raise ClusterError(
            f"the lab {paths.name!r} is not complete", hint=f"run {up_command(paths)}"
        )
    return state


def save(paths: LabPaths, state: LabState) -> None:
    """Write the state so that a reader gets the old one or the new one, never a part."""
    write_atomically(paths.state, state.to_json())


def write_atomically(file: Path, text: str, mode: int = 0o600) -> None:
    """Write `text` to a file beside `file`, then rename it.

    At no moment can a user read the text whom `mode` does not allow to.
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
