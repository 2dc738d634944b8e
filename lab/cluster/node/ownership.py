"""Finds who owns a lab's name: this checkout, another one, no lab at all, or a deleted folder."""

from pathlib import Path

from lab.cluster.docker import daemon
from lab.cluster.node import kind
from lab.errors import RefusedError
from lab.paths import LabPaths


def find(paths: LabPaths, *, insist: bool = False) -> str:
    """Returns "" when the name is free or ours, or the folder of an abandoned lab of this name.

    `insist`: the user agrees to remove a lab whose folder is gone. Raises RefusedError when the
    name belongs to another lab, or to a cluster that no lab created.
    """
    owner = kind.owner(paths.name)
    gone = bool(owner and not Path(owner).exists())
    return judge(paths, owner, gone=gone, may_go=gone and (insist or daemon.answers()))


def judge(paths: LabPaths, owner: str | None, *, gone: bool, may_go: bool) -> str:
    """Decides for `find`, from plain data.

    `gone`: the owner's folder is not on this machine. `may_go`: such a lab may be removed, since
    the user agrees, or since the lab itself started the daemon: that daemon serves only this
    machine. Another daemon may serve other machines, on which the folder exists.
    """
    if owner is None or owner == str(paths.root):
        return ""
    taken = f"the name {paths.name!r} is taken by"
    if not owner:
        raise RefusedError(
            f"{taken} a kind cluster that no lab made: it is not touched",
            hint=f"use another --name, or `kind delete cluster --name {paths.name}`",
        )
    if gone and may_go:
        return owner
    if gone:
        raise RefusedError(
            f"{taken} the lab in {owner}, and there is no such folder on this machine",
            hint=f"if it was deleted, `lab down --name {paths.name} --yes` removes that lab; "
            "else use another --name",
        )
    raise RefusedError(
        f"{taken} the lab in {owner}: it is not touched from here",
        hint=f"use another --name, or `lab down --name {paths.name}` {_where(Path(owner).parent)}",
    )


def _where(labs: Path) -> str:
    return f"in {labs.parent}" if labs.name == ".lab" else f"with SIDECAR_LAB_HOME={labs}"
