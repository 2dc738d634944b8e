"""Builds, pulls and lists images in the Docker daemon; an image's tag comes from its inputs.

The tag of an image of ours is the first digits of the sha256 of the image's inputs: if the daemon
has an image with this tag, the image need not be built. This module talks to the daemon only
through the `docker` command, so Docker contexts and remote daemons work.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.build import cache, digests
from lab.cluster.docker.client import docker
from lab.long_command import build_log, stream
from lab.paths import PACKAGE, cache_root
from lab.progress import Task

REPOSITORY = "sidecar-lab"
INPUTS_LABEL = "sidecar-lab.inputs"
"""The label of every image of ours; its value is the sha256 of the image's inputs."""
BAKE_LABEL = "sidecar-lab.bake"
"""The label of every baked image (value `done`) and of the container of a bake (value `making`).

When no process holds the lock "images", a container with the value `making` was left behind by an
interrupted bake.
"""
KUBERNETES_LABEL = "sidecar-lab.kubernetes"
"""The label of every baked image; its value is the version of Kubernetes in the image."""
STAGE_LABEL = "sidecar-lab.stage"
"""The label of the intermediate images that a Dockerfile with several stages makes."""
DOCKERFILES = PACKAGE / "cluster" / "dockerfiles"


@dataclass(frozen=True)
class DockerImage:
    """Describes one image of ours in the daemon. `tag` is repository:tag, or "" without a tag.

    `size` is in bytes, `inputs` is the sha256 of the image's inputs, and `created` is the time of
    creation that Docker reports.
    """

    tag: str
    id: str
    size: int
    inputs: str
    created: str


def tag(inputs: cache.Inputs) -> str:
    """Returns the name (repository:tag) of the image that is built from these inputs."""
    return f"{REPOSITORY}/{inputs.kind}:{inputs.short}"


def present(tags: Sequence[str]) -> set[str]:
    """Returns those references in `tags` that the daemon has.

    A reference is repository:tag, with or without a digest.
    """
    if not tags:
        return set()
    form = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"
    listed = set(docker("image", "ls", "--digests", "--format", form).stdout.split())
    return {reference for reference in tags if listed_as(reference) in listed}


def listed_as(reference: str) -> str:
    """Returns a reference in the form in which the daemon lists it.

    A reference with a digest loses its tag; another reference is returned unchanged.
    """
    digest = reference.partition("@")[2]
    return f"{digests.repository(reference)}@{digest}" if digest else reference


def architecture() -> str:
    """Returns the daemon's architecture as Go names it (amd64, arm64)."""
    return docker("version", "--format", "{{.Server.Arch}}").stdout.strip()


def import_root(inputs: cache.Inputs, rootfs: Path, task: Task) -> str:
    """Import a root file system (a tar file) as an image of one layer; return the image's tag."""
    name = tag(inputs)
    task.update("importing into Docker")
    stream(
        ["docker", "import", "--change", f"LABEL {INPUTS_LABEL}={inputs.key}", rootfs, name],
        what=f"importing {rootfs.name}",
        logfile=build_log(f"image-{inputs.kind}"),
    )
    return name


def pull(reference: str, task: Task) -> str:
    """Pull an image by the digest of its first pull; return the reference with that digest.

    The first pull itself is by tag, unless `reference` has a digest. Afterwards the daemon has the
    image under its tag as well. Raises BuildError.
    """
    asked = digests.pinned(reference)
    hint = "without a registry, use `lab up --images build`"
    if asked != reference:
        hint = f"if the registry no longer has it, remove {reference} from {digests.file()}"
    stream(
        ["docker", "pull", asked],
        what=f"pulling {asked}",
        logfile=build_log("pull"),
        on_line=lambda line: task.update(line[:90]),
        hint=hint,
    )
    if asked != reference:
        docker("tag", asked, reference)
    pulled = with_digest(reference)
    if "@" in pulled:
        digests.record(reference, pulled.partition("@")[2])
    return pulled


def with_digest(reference: str) -> str:
    """Returns the reference with the digest that the image has in its registry.

    Returns the reference unchanged if it has a digest already, or if the daemon knows none.
    """
    if "@" in reference:
        return reference
    form = '{{join .RepoDigests " "}}'
    answer = docker("image", "inspect", "--format", form, reference, check=False)
    known = dict(name.split("@", 1) for name in answer.stdout.split() if "@" in name)
    digest = known.get(digests.repository(reference))
    return f"{reference}@{digest}" if digest else reference


def build(
    inputs: cache.Inputs,
    *,
    dockerfile: str,
    arguments: Mapping[str, str],
    context: Callable[[Path], None] | None,
    task: Task,
) -> str:
    """Build an image from `dockerfiles/<dockerfile>/Dockerfile`; return the image's tag.

    The tag is made from `inputs`. `arguments` are the build arguments. `context(folder)` must write
    into `folder` the files that the Dockerfile uses; it is None if there are no such files. Raises
    BuildError.
    """
    name = tag(inputs)
    parent = cache_root() / "building"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{inputs.key}.context-", dir=parent) as context_folder:
        folder = Path(context_folder)
        shutil.copyfile(DOCKERFILES / dockerfile / "Dockerfile", folder / "Dockerfile")
        if context is not None:
            task.update(f"{inputs.kind}: gathering files")
            context(folder)
        words: list[str | Path] = ["docker", "build", "--force-rm", "--tag", name]
        for key, value in arguments.items():
            words += ["--build-arg", f"{key}={value}"]
        words += ["--label", f"{INPUTS_LABEL}={inputs.key}"]
        words += ["--label", "org.opencontainers.image.title=" + f"{REPOSITORY}/{inputs.kind}"]
        words += ["--label", "org.opencontainers.image.vendor=Sidecar Lab"]
        words += ["--label", f"org.opencontainers.image.revision={inputs.short}"]
        stream(
            [*words, folder],
            what=f"building the image {inputs.kind}",
            logfile=build_log(f"image-{inputs.kind}"),
            on_line=lambda line: task.update(f"{inputs.kind}: {line[:90]}"),
            # The default builder sees local images, and attestations would be a second manifest.
            env={"BUILDX_BUILDER": "default", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
        )
    return name


def kubernetes_of(node_image: str) -> str:
    """Returns the version of Kubernetes in a node image, for instance "1.37.0".

    The version is read from the image's label or, without a label, from the image's /kind/version.
    """
    form = '{{index .Config.Labels "%s"}}' % KUBERNETES_LABEL  # noqa: UP031 - Go's template
    version = docker("image", "inspect", "--format", form, node_image).stdout.strip()
    if version in ("", "<no value>"):
        words = ("run", "--rm", "--network", "none", "--entrypoint", "cat", node_image)
        version = docker(*words, "/kind/version", timeout=120).stdout.strip()
    return version.removeprefix("v")


def remove_stages() -> None:
    """Remove the untagged images that are left by the build of a Dockerfile with several stages."""
    wanted = ("--force", "--filter", f"label={STAGE_LABEL}")
    docker("image", "prune", *wanted, check=False, timeout=120)


def save(tags: Sequence[str], target: Path) -> None:
    """Write the images `tags` into the archive `target` (`docker save`). Raises BuildError."""
    stream(
        ["docker", "save", "--output", target, *tags],
        what=f"saving {', '.join(tags)}",
        logfile=build_log("save"),
    )


def ours() -> list[DockerImage]:
    """Returns every image of ours in the daemon, newest first.

    An image with several tags is returned once for each tag.
    """
    listed = docker("image", "ls", "--filter", f"label={INPUTS_LABEL}", "--quiet", "--no-trunc")
    ids = list(dict.fromkeys(listed.stdout.split()))
    if not ids:
        return []
    inspected = json.loads(docker("image", "inspect", *ids).stdout)
    return sorted(
        (
            DockerImage(
                tag=name,
                id=entry["Id"],
                size=entry["Size"],
                inputs=entry["Config"]["Labels"][INPUTS_LABEL],
                created=entry["Created"],
            )
            for entry in inspected
            for name in entry["RepoTags"] or [""]
        ),
        key=lambda image: image.created,
        reverse=True,
    )


def remove(images: Sequence[DockerImage]) -> list[DockerImage]:
    """Try to remove each image from the daemon; return the images that were removed.

    Docker does not remove an image that a container uses or that another image is built on.
    """
    removed = []
    for image in images:
        if docker("image", "rm", image.tag or image.id, check=False, timeout=120).ok:
            removed.append(image)
    return removed
