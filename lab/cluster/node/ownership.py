"""Whose lab a name is: this checkout's, another's, somebody else's, or nobody's any more."""

from pathlib import Path

from lab.cluster.docker import daemon
from lab.cluster.node import kind
from lab.errors import RefusedError
from lab.paths import LabPaths


def find(paths: LabPaths, *, insist: bool = False) -> str:
    """The folder of an abandoned lab of this name; "" when the name is free or ours.

    `insist`: the user said that a lab whose folder is gone may be removed. Raises RefusedError
    when it is another's.
    """
    owner = kind.owner(paths.name)
    gone = bool(owner and not Path(owner).exists())
    return judge(paths, owner, gone=gone, may_go=gone and (insist or daemon.answers()))


def judge(paths: LabPaths, owner: str | None, *, gone: bool, may_go: bool) -> str:
    """The decision of `find` on plain data.

    `gone`: the owner's folder is not on this machine. `may_go`: then nobody else can have it. A
    daemon that the lab started here serves this machine only; another may serve containers and
    hosts on which the folder is.
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
