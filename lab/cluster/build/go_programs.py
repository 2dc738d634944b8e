"""Defines components of Go programs and compiles the programs, one at a time.

A component is a set of programs from one Go module in `sources/`. The module's go.mod and go.sum
pin the versions and hashes of everything that it needs, and Go compares what the module proxy
serves with these hashes. Go works in a copy of the module, so that the checkout is not changed. Go
keeps its caches in the lab's cache; the user's own Go caches are neither read nor written.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.cluster.build import cache, go_tool
from lab.cluster.versions import Versions
from lab.command import run
from lab.errors import BuildError, CommandError
from lab.long_command import build_log, stream
from lab.paths import PACKAGE, cache_root
from lab.progress import Task

SOURCES = PACKAGE / "cluster" / "sources"
COMPILING = "go-compile"
"""The name of the lock that a process holds while it uses Go's caches."""


@dataclass(frozen=True)
class Component:
    """A set of programs that are built from one Go module.

    `folder` is the module's folder in `sources/`; two components can share it. `programs` maps a
    program's file name to its Go package.
    """

    name: str
    folder: str
    programs: Mapping[str, str]
    variables: Mapping[str, str]
    """Maps the names of the Go variables that the linker sets with -X to their values."""

    @property
    def source(self) -> Path:
        """The folder in `sources/` that holds the module's go.mod and go.sum."""
        return SOURCES / self.folder


def kubernetes(versions: Versions) -> Component:
    """Returns the component with Kubernetes' control plane, kube-proxy, kubelet and kubeadm."""
    major, minor, _ = versions.kubernetes.split(".")
    package = "k8s.io/component-base/version"
    names = (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-proxy",
        "kube-scheduler",
        "kubeadm",
        "kubelet",
    )
    return Component(
        "kubernetes",
        f"kubernetes-{versions.kubernetes}",
        {name: f"k8s.io/kubernetes/cmd/{name}" for name in names},
        {
            f"{package}.gitVersion": f"v{versions.kubernetes}",
            f"{package}.gitMajor": major,
            f"{package}.gitMinor": minor,
            f"{package}.gitTreeState": "clean",
        },
    )


def etcd(versions: Versions) -> Component:
    """Returns the component with the etcd server."""
    return Component("etcd", f"etcd-{versions.etcd}", {"etcd": "go.etcd.io/etcd/server/v3"}, {})


def coredns(versions: Versions) -> Component:
    """Returns the component with CoreDNS.

    The main program is ours: it contains only the plugins that kubeadm's Corefile uses.
    """
    return Component("coredns", f"coredns-{versions.coredns}", {"coredns": "."}, {})


def containerd(versions: Versions) -> Component:
    """Returns the component with containerd, its shim and its client `ctr`."""
    module = "github.com/containerd/containerd/v2"
    names = ("containerd", "containerd-shim-runc-v2", "ctr")
    return Component(
        "containerd",
        f"containerd-{versions.containerd}",
        {name: f"{module}/cmd/{name}" for name in names},
        {f"{module}/version.Version": versions.containerd},
    )


def cni_plugins(versions: Versions) -> Component:
    """Returns the component with the CNI plugins that the built node's CNI configuration needs."""
    module = "github.com/containernetworking/plugins/plugins"
    packages = ("ipam/host-local", "main/bridge", "main/loopback", "main/ptp", "meta/portmap")
    return Component(
        "cni-plugins",
        f"cni-plugins-{versions.cni_plugins}",
        {package.rpartition("/")[2]: f"{module}/{package}" for package in packages},
        {},
    )


def pause() -> Component:
    """Returns the component with our own `pause`, the program of each pod's sandbox container."""
    return Component("pause", "pause", {"pause": "."}, {})


def kind(versions: Versions) -> Component:
    """Returns the component with the program `kind`, which runs on the host."""
    return Component("kind", f"kind-{versions.kind}", {"kind": "sigs.k8s.io/kind"}, {})


def istioctl() -> Component:
    """Returns the component with real Istio's command `istioctl`, which runs on the host."""
    return Component("istioctl", "istio", {"istioctl": "istio.io/istio/istioctl/cmd/istioctl"}, {})


def istio() -> Component:
    """Returns the component with real Istio's pilot-agent and pilot-discovery (the control plane).

    pilot-agent is also the program that writes Istio's iptables rules.
    """
    names = ("pilot-agent", "pilot-discovery")
    return Component(
        "istio", "istio", {name: f"istio.io/istio/pilot/cmd/{name}" for name in names}, {}
    )


def prober(versions: Versions) -> Component:
    """Returns the component with the prober, which runs kubelet's own code for probes and hooks.

    Tests compare the probes and hooks of our agent with those of this program.
    """
    package = "k8s.io/component-base/version"
    major, minor, _ = versions.kubernetes.split(".")
    return Component(
        "prober",
        f"prober-{versions.kubernetes}",
        {"prober": "."},
        {f"{package}.gitMajor": major, f"{package}.gitMinor": minor},
    )


def node_components(versions: Versions) -> list[Component]:
    """Returns the components of a built node image, the one that compiles longest first."""
    return [
        kubernetes(versions),
        containerd(versions),
        coredns(versions),
        etcd(versions),
        cni_plugins(versions),
        pause(),
    ]


def inputs(component: Component, system: str, architecture: str) -> cache.Inputs:
    """Returns the cache inputs of a component's programs; the version of Go is one of the inputs.

    `system` and `architecture` are values of GOOS and GOARCH. Raises BuildError when the
    component's folder in `sources/` has no go.mod.
    """
    if not (component.source / "go.mod").is_file():
        raise BuildError(
            f"there is no Go module for {component.folder}",
            hint=f"add lab/cluster/sources/{component.folder} with go.mod and go.sum",
        )
    return cache.Inputs(
        f"go-{component.name}",
        {
            "source": cache.tree_digest(component.source),
            "go": go_tool.chosen(go_tool.needed_go(component.source / "go.mod")).version,
            "programs": repr(sorted(component.programs.items())),
            "variables": repr(sorted(component.variables.items())),
            "system": system,
            "architecture": architecture,
        },
    )


def build(component: Component, system: str, architecture: str, task: Task) -> cache.Entry:
    """Returns the cache entry with the component's programs.

    Compiles the programs if they are not in the cache. `system` and `architecture` are values of
    GOOS and GOARCH. Raises BuildError, which names the log.
    """
    wanted = inputs(component, system, architecture)
    return cache.obtain(
        wanted, lambda folder: _compile(component, system, architecture, folder, task), task=task
    )


def _compile(
    component: Component, system: str, architecture: str, folder: Path, task: Task
) -> cache.Facts:
    needed = go_tool.needed_go(component.source / "go.mod")
    toolchain = go_tool.chosen(needed)
    go = go_tool.command(toolchain, needed, task)
    logfile = build_log(f"go-{component.name}")
    environment = go_tool.environment(go, system, architecture)
    packages = sorted(set(component.programs.values()))
    hint = "the Go module proxy (GOPROXY) must be reachable, and the disk must not be full"
    task.update("waiting for another compile")
    with cache.named_lock(COMPILING), copied(component) as source:
        (cache_root() / "go").mkdir(exist_ok=True)
        (cache_root() / "go" / "used").touch()
        task.update("fetching modules")
        count = 0

        def on_download(line: str) -> None:
            nonlocal count
            count += line.startswith("go: downloading")
            task.update(f"fetching modules: {line.removeprefix('go: downloading ')}", done=count)

        stream(
            [go, "mod", "download"],
            what=f"fetching the modules of {component.folder}",
            logfile=logfile,
            on_line=on_download,
            base=environment,
            cwd=source,
            hint=hint,
        )
        listed = run(
            [go, "list", "-mod=readonly", "-deps", *packages],
            base=environment,
            cwd=source,
        )
        total = len(listed.stdout.split())
        compiled = 0

        def on_compile(line: str) -> None:
            nonlocal compiled
            compiled += "/" in line and " " not in line
            task.update(line, done=min(compiled, total), total=total)

        for name, package in component.programs.items():
            stream(
                [
                    *(go, "build", "-v", "-mod=readonly", "-trimpath", "-buildvcs=false"),
                    *("-ldflags", linker_flags(component)),
                    *("-o", folder / name, package),
                ],
                what=f"compiling {name} ({component.folder})",
                logfile=logfile,
                on_line=on_compile,
                base=environment,
                cwd=source,
                hint=hint,
            )
    return {"go": toolchain.version, "packages": total, "log": str(logfile)}


@contextmanager
def copied(component: Component) -> Iterator[Path]:
    """Yields the path of a temporary copy of the component's module, in which Go works.

    The caller holds the lock COMPILING. The folder's name begins with the lock's name, so that
    `lab cache prune` can tell whether the folder is in use.
    """
    parent = cache_root() / "building"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{COMPILING}.", dir=parent) as temporary:
        folder = Path(temporary, component.folder)
        shutil.copytree(component.source, folder, copy_function=shutil.copyfile)
        yield folder


def linker_flags(component: Component) -> str:
    """Returns the value of -ldflags, which strips symbols and sets the component's variables."""
    words = ["-s", "-w"]
    for name, value in sorted(component.variables.items()):
        words += ["-X", f"{name}={value}"]
    return " ".join(words)


def module_folder(component: Component, module: str, version: str, task: Task) -> Path:
    """Returns the folder in Go's module cache that holds the source of a module.

    `module` must be one of the modules that `component` needs. Downloads the source if the cache
    lacks it. Raises BuildError when the source cannot be downloaded.
    """
    needed = go_tool.needed_go(component.source / "go.mod")
    go = go_tool.command(go_tool.chosen(needed), needed, task)
    environment = go_tool.environment(go, "linux", "amd64")
    try:
        with cache.named_lock(COMPILING), copied(component) as source:
            run([go, "mod", "download", module], base=environment, cwd=source)
            listed = run(
                [go, "list", "-m", "-mod=mod", "-f", "{{.Dir}}", f"{module}@{version}"],
                base=environment,
                cwd=source,
            )
    except CommandError as error:
        raise BuildError(
            f"the source of {module} {version} cannot be fetched: {error.message}",
            hint="the Go module proxy (GOPROXY) must be reachable",
        ) from error
    return Path(listed.stdout.strip())
