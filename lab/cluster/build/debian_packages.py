"""Debian packages turned into one image layer, without dpkg: read with the standard library."""

import io
import lzma
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from lab.cluster.build.tarball import Tarball
from lab.errors import BuildError

_MERGED = re.compile(r"^(bin|sbin|lib|lib32|lib64)(/|$)")
"""Folders that Debian's merged /usr has as links: packages still name them the old way."""
_SKIPPED = re.compile(
    r"usr/share/(doc|man|info|locale|lintian|bug|bash-completion)/|usr/lib/systemd/|"
    r"etc/(init\.d|logrotate\.d|ufw|cron\.[a-z]+)/"
)


def members(deb: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each member of an `ar` archive, which is what a .deb is.

    Raises BuildError when it is none.
    """
    data = deb.read_bytes()
    if not data.startswith(b"!<arch>\n"):
        raise BuildError(f"{deb.name} is no Debian package")
    place = 8
    while place + 60 <= len(data):
        header = data[place : place + 60]
        size = int(header[48:58])
        yield header[:16].decode().strip().rstrip("/"), data[place + 60 : place + 60 + size]
        place += 60 + size + size % 2


def add(layer: Tarball, debs: Iterable[Path], *, without: Collection[str] = ()) -> list[str]:
    """Add the files of the packages to a layer; documentation and units of systemd are left out,
    and so are the paths in `without`.

    Returns the packages' file names. Raises BuildError for what is no package of a known form.
    """
    added = []
    for deb in sorted(debs):
        for name, content in members(deb):
            if name.startswith("data.tar"):
                _add_data(layer, deb, name, content, without)
        added.append(deb.name)
    return added


def _add_data(
    layer: Tarball, deb: Path, name: str, content: bytes, without: Collection[str]
) -> None:
    if name == "data.tar.xz":
        content = lzma.decompress(content)
    elif name != "data.tar":
        raise BuildError(f"{deb.name}: cannot read {name}")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            path = member.name.removeprefix("./").rstrip("/")
            path = _MERGED.sub(r"usr/\1\2", path)
            if not path or path in without or _SKIPPED.match(f"{path}/"):
                continue
            if member.isdir():
                continue  # made when something is put into it
            if member.issym():
                layer.link(path, member.linkname)
            elif member.isfile():
                data = tar.extractfile(member)
                assert data is not None
                layer.file(path, data.read(), member.mode)
            else:
                raise BuildError(f"{deb.name}: {member.name} is neither file, folder nor link")
