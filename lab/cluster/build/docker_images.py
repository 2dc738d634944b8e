"""Images in the Docker daemon: made once for the content they are made from, found by their tag.

A tag is the first digits of the inputs' sha256, so that a tag that exists is an image that need
not be built. Only the docker command is used: contexts and remote daemons work.
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
"""On every image of ours: the sha256 of what it was built from."""
BAKE_LABEL = "sidecar-lab.bake"
"""On a container in which a node image is being made. One that no process owns is a leftover."""
KUBERNETES_LABEL = "sidecar-lab.kubernetes"
"""On a node image: the version of the Kubernetes in it."""
STAGE_LABEL = "sidecar-lab.stage"
"""On what a build only passes through."""
DOCKERFILES = PACKAGE / "cluster" / "dockerfiles"


@dataclass(frozen=True)
class DockerImage:
    """One image of ours in the daemon. `size` is in bytes, `inputs` empty for a stock image."""

    tag: str
    id: str
    size: int
    inputs: str
    created: str


def tag(inputs: cache.Inputs) -> str:
    """The local name of the image made from these inputs."""
    return f"{REPOSITORY}/{inputs.kind}:{inputs.short}"


def present(tags: Sequence[str]) -> set[str]:
    """Those of the references (repository:tag, with a digest or without) that the daemon has."""
    if not tags:
        return set()
    form = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"
    listed = set(docker("image", "ls", "--digests", "--format", form).stdout.split())
    return {one for one in tags if listed_as(one) in listed}


def listed_as(reference: str) -> str:
    """How the daemon lists a reference: what is pulled by its digest is listed without its tag."""
    digest = reference.partition("@")[2]
    return f"{digests.repository(reference)}@{digest}" if digest else reference


def architecture() -> str:
    """The daemon's architecture in Go's words (amd64, arm64)."""
    return docker("version", "--format", "{{.Server.Arch}}").stdout.strip()


def import_root(inputs: cache.Inputs, rootfs: Path, task: Task) -> str:
    """An image of one layer, the tar; returns its tag."""
    name = tag(inputs)
    task.update("importing into Docker")
    stream(
        ["docker", "import", "--change", f"LABEL {INPUTS_LABEL}={inputs.key}", rootfs, name],
        what=f"importing {rootfs.name}",
        logfile=build_log(f"image-{inputs.kind}"),
    )
    return name


def pull(reference: str, task: Task) -> str:
    """Pull an image, by the digest that its tag had at first; returns it with that digest.

    Afterwards the daemon has it under its tag as well. Raises BuildError.
    """
    asked = digests.pinned(reference)
    hint = "without a registry, use `lab up --images build`"
    if asked != reference:
        hint = f"if the registry no longer has it: take {reference} out of {digests.file()}"
    stream(
        ["docker", "pull", asked],
        what=f"pulling {asked}",
        logfile=build_log("pull"),
        on_line=lambda line: task.update(line[:90]),
        hint=hint,
    )
    if asked != reference:
        docker("tag", asked, reference)
    found = with_digest(reference)
    if "@" in found:
        digests.record(reference, found.partition("@")[2])
    return found


def with_digest(reference: str) -> str:
    """The reference and the digest under which the daemon had it from its registry."""
    if "@" in reference:
        return reference
    form = '{{join .RepoDigests " "}}'
    asked = docker("image", "inspect", "--format", form, reference, check=False)
    known = dict(one.split("@", 1) for one in asked.stdout.split() if "@" in one)
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
    """Build `dockerfiles/<dockerfile>` as the tag of `inputs`; returns the tag.

    `context(folder)` writes the build context's other files. Raises BuildError.
    """
    name = tag(inputs)
    parent = cache_root() / "building"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{inputs.key}.context-", dir=parent) as made:
        folder = Path(made)
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
    """The version of Kubernetes that a node image holds, "1.37.0": its label's, else its file's."""
    form = '{{index .Config.Labels "%s"}}' % KUBERNETES_LABEL  # noqa: UP031 - Go's template
    said = docker("image", "inspect", "--format", form, node_image).stdout.strip()
    if said in ("", "<no value>"):
        words = ("run", "--rm", "--network", "none", "--entrypoint", "cat", node_image)
        said = docker(*words, "/kind/version", timeout=120).stdout.strip()
    return said.removeprefix("v")


def remove_stages() -> None:
    """Remove the untagged images that a build of several stages leaves behind."""
    wanted = ("--force", "--filter", f"label={STAGE_LABEL}")
    docker("image", "prune", *wanted, check=False, timeout=120)


def save(tags: Sequence[str], target: Path) -> None:
    """Write the images as one archive. Raises BuildError."""
    stream(
        ["docker", "save", "--output", target, *tags],
        what=f"saving {', '.join(tags)}",
        logfile=build_log("save"),
    )


def ours() -> list[DockerImage]:
    """Every image of ours in the daemon, newest first."""
    listed = docker("image", "ls", "--filter", f"label={INPUTS_LABEL}", "--quiet", "--no-trunc")
    ids = list(dict.fromkeys(listed.stdout.split()))
    if not ids:
        return []
    found = json.loads(docker("image", "inspect", *ids).stdout)
    return sorted(
        (
            DockerImage(
                tag=name,
                id=one["Id"],
                size=one["Size"],
                inputs=one["Config"]["Labels"][INPUTS_LABEL],
                created=one["Created"],
            )
            for one in found
            for name in one["RepoTags"] or [""]
        ),
        key=lambda image: image.created,
        reverse=True,
    )


def remove(images: Sequence[DockerImage]) -> list[DockerImage]:
    """Remove images that no container uses and no image is built on; returns those removed."""
    removed = []
    for one in images:
        if docker("image", "rm", one.tag or one.id, check=False, timeout=120).ok:
            removed.append(one)
    return removed
