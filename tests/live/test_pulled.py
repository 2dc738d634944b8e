"""Images pulled by digest, from Debian's docker-registry on the loopback of a daemon of our own."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster.build import digests, docker_images
from lab.cluster.docker import daemon
from lab.cluster.docker.client import docker
from lab.errors import BuildError
from lab.progress import Quiet, Task
from tests.live.test_dockerd import own

__all__ = ["own"]

pytestmark = pytest.mark.live
REFERENCE = "127.0.0.1:5000/base:1"
SETTINGS = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: {folder}
http:
  addr: 127.0.0.1:5000
"""


def registry_program(folder: Path) -> Path:
    """Out of Debian's package, which is not installed: it would start a service of its own."""
    words = ["apt-get", "-o", "APT::Sandbox::User=root", "download", "docker-registry"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    (deb,) = folder.glob("docker-registry_*.deb")
    subprocess.run(["dpkg-deb", "-x", deb, folder / "unpacked"], check=True)
    return folder / "unpacked" / "usr" / "bin" / "docker-registry"


@pytest.fixture
def registry(own: Path, tmp_path: Path) -> Iterator[Path]:
    """A registry that the daemon reaches; the folder in which it keeps its data."""
    program = registry_program(tmp_path)
    started = daemon.start()
    assert started is not None
    inside = ["nsenter", f"--net=/proc/{started.pid}/ns/net"]
    subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
    settings, folder = tmp_path / "registry.yml", tmp_path / "registry"
    settings.write_text(SETTINGS.format(folder=folder))
    with (tmp_path / "registry.log").open("w") as log:
        serving = subprocess.Popen([*inside, program, "serve", settings], stdout=log, stderr=log)
        try:
            yield folder
        finally:
            serving.terminate()
            serving.wait(10)


@pytest.fixture
def task(registry: Path) -> Iterator[Task]:
    with Quiet().task("pull") as one:
        yield one


def push(folder: Path, text: str) -> None:
    """An image of one file under the one tag, in the registry and no longer in the daemon."""
    (folder / "content").mkdir(exist_ok=True)
    (folder / "content" / "text").write_text(text)
    words = ["tar", "-c", "-C", str(folder / "content"), "text"]
    archive = subprocess.run(words, capture_output=True, check=True).stdout
    subprocess.run(["docker", "import", "-", REFERENCE], input=archive, check=True)
    deadline = time.monotonic() + 20
    while not (pushed := docker("push", REFERENCE, check=False)).ok:
        assert time.monotonic() < deadline, pushed.stderr
    forget()


def forget() -> None:
    listed = docker("image", "ls", "-q", "--no-trunc").stdout.split()
    if listed:
        docker("image", "rm", "-f", *set(listed))


def content(reference: str) -> str:
    made = docker("create", reference, "none").stdout.strip()
    copied = docker("cp", f"{made}:/text", "-").stdout
    docker("rm", made)
    return copied


def test_a_tag_that_was_moved_is_pulled_as_it_was_at_first(
    registry: Path, task: Task, tmp_path: Path
) -> None:
    push(tmp_path, "the first")
    first = docker_images.pull(REFERENCE, task)
    assert json.loads(digests.file().read_text())[REFERENCE]["digest"] in first
    forget()
    push(tmp_path, "moved")
    assert docker_images.pull(REFERENCE, task) == first
    assert "the first" in content(REFERENCE)
    assert docker_images.present([REFERENCE, first]) == {REFERENCE, first}
    forget()

    # Who wants what is served now takes the line out.
    digests.file().unlink()
    second = docker_images.pull(REFERENCE, task)
    assert second != first
    assert "moved" in content(REFERENCE)
    forget()

    # And where it is served no longer, that is said, and where the line is.
    shutil.rmtree(registry)
    with pytest.raises(BuildError) as failed:
        docker_images.pull(REFERENCE, task)
    assert second.partition("@")[2] in failed.value.message
    assert str(digests.file()) in failed.value.hint
