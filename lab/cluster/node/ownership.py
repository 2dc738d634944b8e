"""Finds out whether a lab's name is free, ours, or taken by another lab or cluster.

The name is also the name of a kind cluster on the Docker daemon, so two labs cannot share it.
"""

from pathlib import Path

from lab.cluster.docker import daemon
from lab.cluster.node import kind
from lab.errors import RefusedError
from lab.paths import LabPaths


def find(paths: LabPaths, *, insist: bool = False) -> str:
    """Returns "" when the lab's name is free, or belongs to this lab already.

    If the name belongs to another lab, whose folder no longer exists, and that lab may be removed,
    returns the path of that folder. `insist` is true when the user agrees to such a removal. Raises
    RefusedError when the name belongs to any other lab, or to a cluster that no lab created.
    """
    owner = kind.owner(paths.name)
    gone = bool(owner and not Path(owner).exists())
    return judge(paths, owner, gone=gone, may_go=gone and (insist or daemon.answers()))


def judge(paths: LabPaths, owner: str | None, *, gone: bool, may_go: bool) -> str:
    """Returns what `find` returns; decides from its arguments alone and does no I/O.

    `owner` is the result of kind.owner. `gone` is true when the owner's folder does not exist on
    this machine. `may_go` is true when a lab whose folder is gone may be removed. It may be removed
    if the user agrees, or if the lab itself started the Docker daemon: such a daemon serves only
    this machine. Any other daemon may also serve another machine, on which the folder still exists.
    """
    if owner is None or owner == str(paths.root):
        return ""
    taken = f"the name {paths.name!r} is taken by"
    if not owner:
        raise RefusedError(
            f"{taken} a kind cluster that no lab made; this cluster is not touched",
            hint="use another --name, or delete that cluster with "
            f"`kind delete cluster --name {paths.name}`",
        )
    if gone and may_go:
        return owner
    if gone:
        raise RefusedError(
            f"{taken} the lab in {owner}, and there is no such folder on this machine",
            hint=f"if the folder was deleted, `lab down --name {paths.name} --yes` removes its "
            "lab; else use another --name",
        )
    raise RefusedError(
        f"{taken} the lab in {owner}; that lab is not touched from here",
        hint=f"use another --name, or run `lab down --name {paths.name}` "
        f"{_where(Path(owner).parent)}",
    )


def _where(labs: Path) -> str:
    return f"in {labs.parent}" if labs.name == ".lab" else f"with SIDECAR_LAB_HOME={labs}"
