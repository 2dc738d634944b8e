"""Debian roots: what a builder that was killed leaves is swept by the next."""

import os
import subprocess
import sys
from pathlib import Path

from lab.cluster import rootfs


def test_only_work_folders_of_dead_builders_are_swept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f"{rootfs.WORKDIR}{ended.pid}-x"
    alive = tmp_path / f"{rootfs.WORKDIR}{os.getpid()}-x"
    strange = tmp_path / f"{rootfs.WORKDIR}of-somebody"
    for folder in (dead, alive, strange):
        (folder / "etc").mkdir(parents=True)
    rootfs.sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, strange])


def test_mmdebstrap_mounts_where_its_end_unmounts(tmp_path: Path) -> None:
    words = rootfs.bootstrap(rootfs.BASE, "amd64", tmp_path / "rootfs.tar", tmp_path)
    assert words[: words.index("mmdebstrap")] == ["unshare", "--mount", "--propagation", "private"]
