"""Imports images into a node image, so that no pod of the lab waits for an image.

The bake starts a container from the node image. In it runs a containerd, only for the bake, which
imports and unpacks the images. The unpacked files are then moved out of /var into /kind/store,
links are left where containerd looks for the files, and `docker commit` makes the new node image.

This saves two costs of every start of a node: kind mounts an anonymous volume at /var, into which
Docker copies everything that the node image has in /var; and containerd would unpack an image when
the image's first pod starts. The overlay file system of a pod's container then lies on files that
are in another overlay, the node's. The kernel allows these two levels. The compressed layers
(blobs) are kept as well: when containerd restarts, it drops an image whose blobs are missing.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab.cluster.build import cache, docker_images, oci
from lab.cluster.docker.client import docker
from lab.errors import BuildError, CommandError
from lab.long_command import build_log, stream
from lab.paths import cache_root
from lab.progress import Task

_START = r"""
set -e
mkdir -p /bake/root /var/lib/containerd /kind/store/blobs /kind/store/snapshots
cp -a /var/lib/containerd/. /bake/root/
cat > /bake/config.toml <<'EOF'
version = 3
root = "/bake/root"
state = "/run/bake"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.grpc.v1.cri", "io.containerd.podsandbox.controller.v1.podsandbox",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/bake/containerd.sock"
EOF
mkdir -p /run/bake
nohup containerd --config /bake/config.toml > /bake/log 2>&1 &
echo $! > /bake/pid
n=0
until ctr -a /run/bake/containerd.sock version > /dev/null 2>&1; do
  n=$((n + 1))
  if [ $n -gt 200 ] || ! kill -0 "$(cat /bake/pid)"; then cat /bake/log >&2; exit 1; fi
  sleep 0.05
done
"""

_FINISH = r"""
set -e
pid=$(cat /bake/pid)
kill "$pid"
n=0
# Not `kill -0`: it succeeds on a zombie, and the container's first process reaps no children.
while readlink "/proc/$pid/exe" > /dev/null 2>&1; do
  n=$((n + 1)); if [ $n -gt 200 ]; then echo "containerd does not stop" >&2; exit 1; fi
  sleep 0.05
done
cd /bake/root
blobs=io.containerd.content.v1.content/blobs/sha256
find $blobs -type f | while read -r blob; do
  name=${blob##*/}
  cp -a "$blob" /kind/store/blobs/; rm "$blob"; ln -s "/kind/store/blobs/$name" "$blob"
done
snapshots=io.containerd.snapshotter.v1.overlayfs/snapshots
for snapshot in $snapshots/*; do
  if [ -d "$snapshot" ] && [ ! -L "$snapshot" ]; then
    name=${snapshot##*/}
    cp -a "$snapshot" /kind/store/snapshots/
    rm -rf "$snapshot"
    ln -s "/kind/store/snapshots/$name" "$snapshot"
  fi
done
find /var/lib/containerd -mindepth 1 -delete
cp -a /bake/root/. /var/lib/containerd/
rm -f /root/.bash_history
"""

_TWEAK = r"""
set -e
# A process without CAP_SYS_RESOURCE cannot lower its oom_score_adj; nothing here depends on it.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' /etc/containerd/config.toml
# kind waits for this line or for systemd; on cgroup v1 the line comes before systemd is up.
sed -i "s/'detected cgroup v1'/'cgroup version 1'/" /usr/local/bin/entrypoint
"""

SOCKET = "/run/bake/containerd.sock"


def bake(
    inputs: cache.Inputs,
    base: str,
    images: Callable[[str], Sequence[oci.Image]],
    task: Task,
    *,
    tweak: bool = False,
) -> str:
    """Import images into a copy of the node image `base`; return the tag of the new node image.

    The tag is made from `inputs`. The function `images` must return the images to import. It gets
    the name of a running container of `base`, in which it can run commands. If `tweak` is true, two
    details of the node are changed as well: containerd's setting `restrict_oom_score_adj`, and the
    line of the node's entrypoint that kind waits for. Raises BuildError.
    """
    name = docker_images.tag(inputs)
    logfile = build_log(f"bake-{inputs.kind}")
    with _container(base, inputs, logfile) as container:
        task.update("starting containerd in the node image")
        _exec(container, _START + (_TWEAK if tweak else ""), "starting containerd", logfile)
        import_images(container, images(container), task, logfile=logfile, address=SOCKET)
        task.update("moving the images into the node image")
        _exec(container, _FINISH, "moving the images into the node image", logfile)
        version = docker("exec", container, "cat", "/kind/version").stdout.strip()
        task.update("committing the node image")
        words = ["docker", "commit", "--pause=false"]
        for change in (
            'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
            "CMD []",
            f"LABEL {docker_images.INPUTS_LABEL}={inputs.key} {docker_images.BAKE_LABEL}=done "
            f"{docker_images.KUBERNETES_LABEL}={version} "
            f"org.opencontainers.image.title=sidecar-lab/{inputs.kind} "
            f"org.opencontainers.image.base.name={docker_images.with_digest(base)}",
        ):
            words += ["--change", change]
        stream([*words, container, name], what=f"committing {name}", logfile=logfile)
    return name


def import_images(
    container: str,
    images: Sequence[oci.Image],
    task: Task,
    *,
    logfile: Path | None = None,
    address: str = "/run/containerd/containerd.sock",
) -> int:
    """Import and unpack images in a container's containerd; send only the layers it lacks.

    `address` is the path of containerd's socket in the container. Returns the total size of the
    sent layers in bytes. Raises BuildError.
    """
    logfile = logfile or build_log("import")
    ctr = ["ctr", "--address", address, "--namespace", "k8s.io"]
    listed = docker("exec", container, *ctr, "content", "ls", "-q")
    parent = cache_root() / "building"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=parent) as archive:
        sent = oci.write_archive(images, frozenset(listed.stdout.split()), archive)
        archive.seek(0)
        task.update(f"importing {len(images)} images ({sent / 1e6:.0f} MB of new layers)")
        stream(
            [
                *("docker", "exec", "-i", container, *ctr, "images", "import", "--local"),
                *(
                    "--label=io.cri-containerd.pinned=pinned",
                    "--label=io.cri-containerd.image=managed",
                ),
                *("--all-platforms", "--digests", "--skip-digest-for-named", "-"),
            ],
            what="importing images into the node",
            logfile=logfile,
            on_line=lambda line: task.update(line[:90]),
            stdin=archive,
        )
    return sent


def remove_leftovers() -> int:
    """Remove the containers of interrupted bakes and return how many there were.

    The caller must hold the lock "images", which every bake holds. Without the lock, this function
    would also remove the container of a bake that is still running.
    """
    listed = docker(
        "ps", "-aq", "--filter", f"label={docker_images.BAKE_LABEL}=making"
    ).stdout.split()
    if listed:
        docker("rm", "-f", "-v", *listed, timeout=120)
    return len(listed)


@contextlib.contextmanager
def _container(base: str, inputs: cache.Inputs, logfile: Path) -> Iterator[str]:
    name = f"sidecar-lab-bake-{inputs.short}-{os.getpid()}"
    try:
        stream(
            [
                *("docker", "run", "--detach", "--privileged", "--network", "none"),
                *("--name", name, "--label", f"{docker_images.BAKE_LABEL}=making"),
                *("--volume", "/bake", "--tmpfs", "/run", "--entrypoint", "sleep", base),
                "infinity",
            ],
            what=f"starting {base} to bake into it",
            logfile=logfile,
        )
        yield name
    finally:
        with contextlib.suppress(CommandError):
            docker("rm", "-f", "-v", name, timeout=120)


def _exec(container: str, script: str, what: str, logfile: Path) -> None:
    stream(["docker", "exec", container, "bash", "-c", script], what=what, logfile=logfile)


def image_names(container: str, version: str) -> list[str]:
    """Returns the image references that the kubeadm in `container` lists for a control plane.

    `container` is a container of the node image. `version` is the version of Kubernetes, without
    "v". Raises BuildError.
    """
    answer = docker(
        *("exec", container, "kubeadm", "config", "images", "list"),
        *("--kubernetes-version", f"v{version}"),
        check=False,
    )
    names = answer.stdout.split()
    if not answer.ok or not names:
        raise BuildError(f"`kubeadm config images list` printed no images: {answer.stderr.strip()}")
    return names
