"""Go programs from their modules: which components, one compile at a time.

Each component is a Go module of ours in `sources/`, whose go.mod and go.sum pin every byte; Go
checks what the module proxy serves against them. It works in a copy, so that nothing it does
changes the checkout. Caches of modules and objects live below the lab's cache, so that the user's
own are neither needed nor filled.
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
"""The lock of whoever uses Go's caches."""


@dataclass(frozen=True)
class Component:
    """One module in `sources/`: the programs built from it, file name → Go package."""

    name: str
    folder: str
    programs: Mapping[str, str]
    variables: Mapping[str, str]
    """Set with the linker's -X."""

    @property
    def source(self) -> Path:
        """The folder with go.mod and go.sum."""
        return SOURCES / self.folder


def kubernetes(versions: Versions) -> Component:
    """The control plane, the kubelet and kubeadm."""
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
    """The etcd server."""
    return Component("etcd", f"etcd-{versions.etcd}", {"etcd": "go.etcd.io/etcd/server/v3"}, {})


def coredns(versions: Versions) -> Component:
    """CoreDNS by a main program of ours, with the plugins that kubeadm's Corefile names."""
    return Component("coredns", f"coredns-{versions.coredns}", {"coredns": "."}, {})


def containerd(versions: Versions) -> Component:
    """containerd, its shim and its client."""
    module = "github.com/containerd/containerd/v2"
    names = ("containerd", "containerd-shim-runc-v2", "ctr")
    return Component(
        "containerd",
        f"containerd-{versions.containerd}",
        {name: f"{module}/cmd/{name}" for name in names},
        {f"{module}/version.Version": versions.containerd},
    )


def cni_plugins(versions: Versions) -> Component:
    """The CNI plugins that one node's static configuration needs."""
    module = "github.com/containernetworking/plugins/plugins"
    packages = ("ipam/host-local", "main/bridge", "main/loopback", "main/ptp", "meta/portmap")
    return Component(
        "cni-plugins",
        f"cni-plugins-{versions.cni_plugins}",
        {package.rpartition("/")[2]: f"{module}/{package}" for package in packages},
        {},
    )


def pause() -> Component:
    """The program of a pod's first container, our own."""
    return Component("pause", "pause", {"pause": "."}, {})


def kind(versions: Versions) -> Component:
    """kind itself, for the operator's own system."""
    return Component("kind", f"kind-{versions.kind}", {"kind": "sigs.k8s.io/kind"}, {})


def istioctl() -> Component:
    """Real Istio's command line, for the operator's own system."""
    return Component("istioctl", "istio", {"istioctl": "istio.io/istio/istioctl/cmd/istioctl"}, {})


def istio() -> Component:
    """Real Istio's agent (which is its iptables program too) and its control plane."""
    names = ("pilot-agent", "pilot-discovery")
    return Component(
        "istio", "istio", {name: f"istio.io/istio/pilot/cmd/{name}" for name in names}, {}
    )


def prober(versions: Versions) -> Component:
    """Kubelet's own probes and hooks as a program, for comparing the agent's with them."""
    package = "k8s.io/component-base/version"
    major, minor, _ = versions.kubernetes.split(".")
    return Component(
        "prober",
        f"prober-{versions.kubernetes}",
        {"prober": "."},
        {f"{package}.gitMajor": major, f"{package}.gitMinor": minor},
    )


def node_components(versions: Versions) -> list[Component]:
    """What a built node image needs, longest first."""
    return [
        kubernetes(versions),
        containerd(versions),
        coredns(versions),
        etcd(versions),
        cni_plugins(versions),
        pause(),
    ]


def inputs(component: Component, system: str, architecture: str) -> cache.Inputs:
    """What the programs depend on, the Go that builds them among it."""
    if not (component.source / "go.mod").is_file():
        raise BuildError(
            f"there is no module for {component.folder}",
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
    """The component's programs for GOOS `system` and GOARCH `architecture`, in one folder.

    Raises BuildError with the log's name.
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
    hint = "the module proxy must be reachable (GOPROXY), and the disk not full"
    task.update("waiting for another compile")
    with cache.named_lock(COMPILING), copied(component) as source:
        (cache_root() / "go").mkdir(exist_ok=True)
        (cache_root() / "go" / "used").touch()
        task.update("fetching modules")
        count = 0

        def fetched(line: str) -> None:
            nonlocal count
            count += line.startswith("go: downloading")
            task.update(f"fetching modules: {line.removeprefix('go: downloading ')}", done=count)

        stream(
            [go, "mod", "download"],
            what=f"fetching the modules of {component.folder}",
            logfile=logfile,
            on_line=fetched,
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

        def said(line: str) -> None:
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
                on_line=said,
                base=environment,
                cwd=source,
                hint=hint,
            )
    return {"go": toolchain.version, "packages": total, "log": str(logfile)}


@contextmanager
def copied(component: Component) -> Iterator[Path]:
    """The component's module in a folder of its own, for Go to work in; under the lock COMPILING.

    By its name `lab cache prune` tells whether somebody still works in it.
    """
    parent = cache_root() / "building"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{COMPILING}.", dir=parent) as made:
        folder = Path(made, component.folder)
        shutil.copytree(component.source, folder, copy_function=shutil.copyfile)
        yield folder


def linker_flags(component: Component) -> str:
    """Without symbols, and with the version variables set."""
    words = ["-s", "-w"]
    for name, value in sorted(component.variables.items()):
        words += ["-X", f"{name}={value}"]
    return " ".join(words)


def module_folder(component: Component, module: str, version: str, task: Task) -> Path:
    """Where the source of `module` lies in the module cache, fetched if need be."""
    needed = go_tool.needed_go(component.source / "go.mod")
    go = go_tool.command(go_tool.chosen(needed), needed, task)
    environment = go_tool.environment(go, "linux", "amd64")
    try:
        with cache.named_lock(COMPILING), copied(component) as source:
            run([go, "mod", "download", module], base=environment, cwd=source)
            found = run(
                [go, "list", "-m", "-mod=mod", "-f", "{{.Dir}}", f"{module}@{version}"],
                base=environment,
                cwd=source,
            )
    except CommandError as error:
        raise BuildError(
            f"the source of {module} {version} cannot be fetched: {error.message}",
            hint="the module proxy must be reachable (GOPROXY)",
        ) from error
    return Path(found.stdout.strip())
