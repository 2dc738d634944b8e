"""Builds the Debian root file systems that images start from: the node's, and our images' base.

When images are built and not pulled, mmdebstrap builds both root file systems on this host. When
images are pulled from a registry, neither is built: our base starts from Debian's stock image
(images/lab_images.py), and the stock node image already has a root file system.
"""

import os
import shlex
import shutil
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from lab.cluster.build import cache, debian_record
from lab.cluster.host_changes import apt
from lab.cluster.versions import DEBIAN_SUITE
from lab.errors import BuildError, HostError
from lab.long_command import build_log, stream
from lab.progress import Task

PROXY_USER = ("istio-proxy", 1337)
"""Name and number of the proxy's user.

The user is created in the base, so that no other layer has to change /etc/passwd, and so that `ps`
can show the user's name.
"""

BASE_PACKAGES = (
    "ca-certificates",
    "curl",
    "iproute2",
    "iptables",
    "net-tools",
    "procps",
    "python3",
)
NODE_PACKAGES = (
    *("bash", "ca-certificates", "conntrack", "curl", "e2fsprogs", "ethtool", "iproute2"),
    *("iptables", "jq", "kmod", "libseccomp2", "mount", "nftables", "pigz", "procps", "runc"),
    *("systemd", "systemd-sysv", "util-linux"),
)
NGINX_PACKAGES = ("nginx",)
"""The packages of the nginx image.

When apt downloads them, it uses the base root's list of installed packages. So it also downloads
the dependencies that the base root lacks, and no others.
"""

UNREAD = ("doc", "man", "info", "locale", "lintian", "bug", "bash-completion")
"""Folders of /usr/share that are left out, because nobody reads them in a container.

The copyright files in /usr/share/doc are kept.
"""


@dataclass(frozen=True)
class Root:
    """Describes one Debian root file system. The object's repr is part of the cache key.

    `packages` are installed; `download` are packages that are downloaded but not installed; `user`
    is the name and number of a user to create; `unread` are folders of /usr/share to leave out.
    """

    name: str
    packages: tuple[str, ...]
    download: tuple[str, ...] = ()
    user: tuple[str, int] | None = None
    suite: str = DEBIAN_SUITE
    unread: tuple[str, ...] = field(default=UNREAD)


NODE = Root("node", NODE_PACKAGES)
BASE = Root("base", BASE_PACKAGES, NGINX_PACKAGES, PROXY_USER)


def inputs(root: Root, architecture: str) -> cache.Inputs:
    """Returns the cache inputs of a Debian root file system.

    Package versions are among the inputs only if the user asks for recorded versions
    (debian_record.wanted). So a cached root is still used after Debian has published security
    updates. To install the updates, prune the cache entry; the next build then installs them.
    """
    values = {"root": repr(root), "architecture": architecture, "format": "3"}
    if asked := debian_record.pins(debian_record.wanted()):
        values["pins"] = asked
    return cache.Inputs(f"rootfs-{root.name}", values)


def build(root: Root, architecture: str, task: Task) -> cache.Entry:
    """Returns the root's cache entry, and builds it first if there is none.

    The entry holds the file `rootfs.tar` and the downloaded packages in `debs/`; its facts hold
    the version and hash of each installed package. If the user asks for recorded versions
    (debian_record.wanted), a package is installed in its recorded version if Debian's package
    mirror still has that version, else in the current version. Raises HostError when mmdebstrap
    cannot be installed. Raises BuildError when mmdebstrap fails, or when a package has a recorded
    version but another hash.
    """
    return cache.obtain(
        inputs(root, architecture), lambda folder: _build(root, architecture, folder, task),
        task=task,
    )  # fmt: skip


def _build(root: Root, architecture: str, folder: Path, task: Task) -> cache.Facts:
    logfile = build_log(f"rootfs-{root.name}")
    ensure_mmdebstrap(task)
    debs = folder / "debs"
    debs.mkdir()
    target = folder / "rootfs.tar"
    # An interrupted mmdebstrap leaves folders behind; here, the next builder removes them. In the
    # system's temporary folder, other users could replace them by a link.
    wanted = inputs(root, architecture)
    with tempfile.TemporaryDirectory(prefix=f"{wanted.key}.work-", dir=folder.parent) as workdir:
        Path(workdir).chmod(0o711)  # apt downloads as its own user
        asked = debian_record.wanted()
        pins = Path(workdir, "pins")
        pins.write_text(debian_record.pins(asked))
        stream(
            bootstrap(root, architecture, target, debs, pins if asked else None),
            what=f"building the Debian root of {root.name}",
            logfile=logfile,
            on_line=lambda line: task.update(line.removeprefix("I: ")[:100]),
            env={"TMPDIR": workdir},
            hint="Debian's package mirror must be reachable",
        )
    for stray in debs.iterdir():
        if stray.suffix != ".deb":
            cache.remove_tree(stray) if stray.is_dir() else stray.unlink()
    packages = recorded_packages(target)
    downloaded = debian_record.of_files(debs.glob("*.deb"))
    if not packages:
        raise BuildError(
            f"mmdebstrap wrote no list of the installed packages into {target}",
            hint=f"the log is {logfile}",
        )
    moved = debian_record.compare(asked, {*packages, *downloaded})
    if moved:
        task.update(f"{len(moved)} packages are newer: the archive lacks the recorded versions")
    return {
        "packages": {package.name: package.version for package in packages},
        "hashes": {package.name: package.sha256 for package in packages},
        "downloaded": sorted(path.name for path in debs.glob("*.deb")),
        "moved": moved,
    }


def bootstrap(
    root: Root, architecture: str, target: Path, debs: Path, pins: Path | None = None
) -> list[str | Path]:
    """Returns the mmdebstrap command that builds `root` as the tar file `target`.

    The command writes the packages of `root.download` into the folder `debs`. `pins` is the path of
    a file of apt preferences, or None if no versions are preferred.
    """
    # In a mount namespace of its own: otherwise a killed mmdebstrap leaves /proc and /sys mounted.
    words: list[str | Path] = ["unshare", "--mount", "--propagation", "private", "mmdebstrap"]
    words += ["--variant=minbase", f"--architectures={architecture}"]
    words.append(f"--include={','.join(root.packages)}")
    for name in root.unread:
        words.append(f"--dpkgopt=path-exclude=/usr/share/{name}/*")
    words.append("--dpkgopt=path-include=/usr/share/doc/*/copyright")
    if pins is not None:
        into = f'"$1"{debian_record.PIN_FILE}'
        words.append(
            f'--setup-hook=mkdir -p "$1/etc/apt/preferences.d" && '
            f"cp {shlex.quote(str(pins))} {into} && chmod 644 {into}"
        )
    if root.user is not None:
        name, number = root.user
        passwd = f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin"
        words.append(f'--customize-hook=echo {passwd} >> "$1/etc/passwd"')
        words.append(f'--customize-hook=echo {name}:x:{number}: >> "$1/etc/group"')
    if root.download:
        names = " ".join(root.download)
        # The folder of apt's downloaded packages is emptied before the download, so that only these
        # packages are copied out, and after it, so that the root does not hold them as well.
        drop = '--customize-hook=rm -f "$1"/var/cache/apt/archives/*.deb'
        words.append(drop)
        words.append(
            '--customize-hook=APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get --yes '
            f"--no-install-recommends --download-only install {names}"
        )
        words.append(f"--customize-hook=sync-out /var/cache/apt/archives {shlex.quote(str(debs))}")
        words.append(drop)
    record = debian_record.recorder('"$1"', 'env APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-cache')
    words.append(f"--customize-hook={record}")
    if pins is not None:
        words.append(f'--customize-hook=rm "$1"{debian_record.PIN_FILE}')
    return [*words, root.suite, target]


def ensure_mmdebstrap(task: Task) -> None:
    """Install mmdebstrap with apt if it is not on PATH.

    Raises HostError if this user is not root, if this machine has no apt-get, or if the
    installation fails.
    """
    if shutil.which("mmdebstrap"):
        return
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not (root and shutil.which("apt-get")):
        raise HostError(
            "building images needs mmdebstrap, which is not installed",
            hint="on Debian or Ubuntu: sudo apt-get install mmdebstrap debian-archive-keyring; "
            "elsewhere use `lab up --images pull`, which needs a container registry",
        )
    logfile = build_log("mmdebstrap")
    names = ("mmdebstrap", "debian-archive-keyring")
    task.update("installing mmdebstrap")
    if not apt.install(names, logfile):
        apt.refresh(logfile)
        if not apt.install(names, logfile):
            raise HostError(
                f"mmdebstrap could not be installed; the log is {logfile}",
                hint="apt-get must be able to reach a package mirror",
            )


def recorded_packages(rootfs: Path) -> list[debian_record.Package]:
    """Returns the packages of the record in `rootfs`, the tar file of a root file system.

    Returns an empty list when the tar file holds no record.
    """
    with tarfile.open(rootfs) as tar:
        for member in tar:
            if member.name.removeprefix("./") == f"{debian_record.FOLDER}/root":
                content = tar.extractfile(member)
                assert content is not None
                return debian_record.parse(content.read().decode())
    return []
