"""Writes tar archives for image layers; equal content gives equal archives, byte for byte."""

import io
import tarfile
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

EPOCH = 1767225600
"""The modification time of every member: 2026-01-01T00:00:00Z.

It is fixed so that a layer's digest does not depend on when the layer was built.
"""


class Tarball:
    """Writes one tar archive, in which all members have the same modification time.

    Members belong to root, except folders that are added with another owner. Missing parent folders
    are added. Names are relative, with slashes ("usr/bin/x"). Raises ValueError when a file or link
    is added under a name that the archive already has.
    """

    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._names: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tar.close()

    def folder(self, name: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Add a folder and its parents; do not change a folder that was added before."""
        if name in self._names or name in ("", "."):
            return
        self.folder(_above(name))
        self._add(name, tarfile.DIRTYPE, mode, uid=uid, gid=gid)

    def file(self, name: str, source: Path | bytes | str, mode: int = 0o644) -> None:
        """Add a file; `source` is the path of a file to copy, or the content as bytes or text."""
        self.folder(_above(name))
        if isinstance(source, Path):
            with source.open("rb") as content:
                size = source.stat().st_size
                self._add(name, tarfile.REGTYPE, mode, content=content, size=size)
        else:
            data = source.encode() if isinstance(source, str) else source
            self._add(name, tarfile.REGTYPE, mode, content=io.BytesIO(data), size=len(data))

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link `name` that points to `target`."""
        self.folder(_above(name))
        self._add(name, tarfile.SYMTYPE, 0o777, target=target)

    def tree(self, name: str, root: Path) -> None:
        """Add every file and symbolic link below the folder `root`, with names below `name`.

        A file that its owner may execute gets the mode 755, another file gets 644.
        """
        for path in sorted(root.rglob("*")):
            inner = f"{name}/{path.relative_to(root).as_posix()}"
            if path.is_symlink():
                self.link(inner, str(path.readlink()))
            elif path.is_file():
                self.file(inner, path, 0o755 if path.stat().st_mode & 0o100 else 0o644)

    def _add(
        self,
        name: str,
        kind: bytes,
        mode: int,
        *,
        content: io.BufferedIOBase | None = None,
        size: int = 0,
        target: str = "",
        uid: int = 0,
        gid: int = 0,
    ) -> None:
        if name in self._names:
            raise ValueError(f"the archive already has a member {name}")
        self._names.add(name)
        member = tarfile.TarInfo(name)
        member.type, member.mode, member.size, member.linkname = kind, mode, size, target
        member.uid, member.gid, member.mtime = uid, gid, EPOCH
        self._tar.addfile(member, content)


def _above(name: str) -> str:
    return str(PurePosixPath(name).parent)
