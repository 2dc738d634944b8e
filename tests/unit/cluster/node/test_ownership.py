"""Whose lab a name is, and what is said to whom it does not belong."""

from pathlib import Path

import pytest

from lab.cluster.node import ownership
from lab.errors import ClusterError
from lab.paths import LabPaths

MINE = LabPaths("x", Path("/mine/.lab/x"))
THEIRS = "/theirs/.lab/x"


@pytest.mark.parametrize("owner", [None, "/mine/.lab/x"])
def test_a_free_name_and_our_own_lab_are_ours(owner: str | None) -> None:
    assert ownership.judge(MINE, owner, gone=False, may_go=False) == ""


def test_a_lab_whose_folder_was_deleted_is_abandoned_where_nobody_else_can_have_it() -> None:
    assert ownership.judge(MINE, THEIRS, gone=True, may_go=True) == THEIRS


@pytest.mark.parametrize(
    ("owner", "gone", "said", "hint"),
    [
        (THEIRS, False, "the lab in /theirs/.lab/x", "`lab down --name x` in /theirs"),
        ("/labs/x", False, "the lab in /labs/x", "with SIDECAR_LAB_HOME=/labs"),
        (THEIRS, True, "there is no such folder on this machine", "`lab down --name x --yes`"),
        ("", False, "a kind cluster that no lab made", "`kind delete cluster --name x`"),
    ],
)
def test_what_is_anothers_is_refused_with_a_way_out(
    owner: str, gone: bool, said: str, hint: str
) -> None:
    with pytest.raises(ClusterError) as refused:
        ownership.judge(MINE, owner, gone=gone, may_go=False)
    assert said in refused.value.message
    assert hint in (refused.value.hint or "")


def test_a_foreign_cluster_is_not_touched_whatever_the_user_insists_on() -> None:
    with pytest.raises(ClusterError, match="no lab made"):
        ownership.judge(MINE, "", gone=False, may_go=True)
