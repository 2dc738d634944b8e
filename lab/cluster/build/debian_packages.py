"""Unpacks Debian packages into an image layer with the standard library, without dpkg."""

import io
import lzma
import re
import tarfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from lab.cluster.build.tarball import Tarball
from lab.errors import BuildError

_MERGED = re.compile(r"^(bin|sbin|lib|lib32|lib64)(/|$)")
"""Matches the beginning of a path if it is a folder that Debian has merged into /usr.

In a Debian root file system, /bin is a link to /usr/bin, /lib is a link to /usr/lib, and so on.
Some packages still hold files under /bin or /lib.
"""
_SKIPPED = re.compile(
    r"usr/share/(doc|man|info|locale|lintian|bug|bash-completion)/|usr/lib/systemd/|"
    r"etc/(init\.d|logrotate\.d|ufw|cron\.[a-z]+)/"
)


def members(deb: Path) -> Iterator[tuple[str, bytes]]:
    """Yields the name and the content of each member of the Debian package `deb`.

    A .deb file is an `ar` archive. Raises BuildError when the file is not an `ar` archive.
    """
    data = deb.read_bytes()
    if not data.startswith(b"!<arch>\n"):
        raise BuildError(f"{deb.name} is not a Debian package")
    offset = 8
    while offset + 60 <= len(data):
        header = data[offset : offset + 60]
        size = int(header[48:58])
        yield header[:16].decode().strip().rstrip("/"), data[offset + 60 : offset + 60 + size]
        offset += 60 + size + size % 2


def add(layer: Tarball, debs: Iterable[Path], *, without: Collection[str] = ()) -> list[str]:
    """Add the files of the packages to a layer and return the names of the .deb files.

    These files of the packages are left out: documentation, translations, shell completions, files
    for services (systemd, init.d, cron, logrotate, ufw), and the paths in `without`.
    Raises BuildError for a package that cannot be read.
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
        raise BuildError(f"{deb.name}: {name} is compressed in a way that the lab cannot read")
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        for member in tar:
            path = member.name.removeprefix("./").rstrip("/")
            path = _MERGED.sub(r"usr/\1\2", path)
            if not path or path in without or _SKIPPED.match(f"{path}/"):
                continue
            if member.isdir():
                continue  # the layer adds a folder with the first file in it
            if member.issym():
                layer.link(path, member.linkname)
            elif member.isfile():
                data = tar.extractfile(member)
                assert data is not None
                layer.file(path, data.read(), member.mode)
            else:
                raise BuildError(
                    f"{deb.name}: {member.name} is neither a file, a folder nor a symbolic link"
                )
