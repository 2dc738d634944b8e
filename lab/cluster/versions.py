"""The versions of the software that the lab is built from.

To try another version of Kubernetes, change DEFAULT.
"""

from dataclasses import dataclass
from typing import Final

DEBIAN_SUITE: Final = "bookworm"
"""The Debian suite of the images. Its systemd 252 runs under cgroup v1; systemd 258 does not."""
PYTHON: Final = "3.11"
"""The version of /usr/bin/python3 in the images, for which the Python wheels are chosen."""


@dataclass(frozen=True)
class Versions:
    """The versions that one lab is built from.

    `sources/` has a folder with go.mod and go.sum for each version of these Go programs. The
    folder's name ends with the version; only Istio's folder has no version in its name.
    """

    kubernetes: str = "1.37.2"
    etcd: str = "v3.7.0"
    coredns: str = "v1.14.6"
    containerd: str = "v2.3.7"
    cni_plugins: str = "v1.9.1"
    kind: str = "v0.33.0"
    istio: str = "v0.0.0-20260827124520-eed52ebb66ad"
    """A commit of Istio's master (1.31), used by `lab up --mesh istio` and by `nox -s peers`."""

    @property
    def kubernetes_minor(self) -> str:
        """Minor version of Kubernetes, for instance "1.37"."""
        return self.kubernetes.rpartition(".")[0]


KUBERNETES_VERSIONS: Final = ("1.37.2", "1.36.3", "1.35.4", "1.34.4", "1.33.13")
"""The versions of Kubernetes that have a folder in `sources/`.

1.32.13 has no folder: the Go module proxy lacks k8s.io/cri-client of 1.32.12 and 1.32.13.
"""

STOCK_NODES: Final = {
    # The default of kind v0.33.0 (its pkg/apis/config/defaults/image.go).
    "1.37": "kindest/node:v1.37.0@sha256:"
    "a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5",
}
"""Minor version of Kubernetes → the stock node image (the one that kind publishes) to pull.

For a minor version that is not listed here, `stock_node` makes the tag from the version.

The digest of the pulled image is in our node image's label `org.opencontainers.image.base.name`.
"""

STOCK_BASE: Final = f"debian:{DEBIAN_SUITE}-slim"
"""The image that our base image is built from when the lab pulls images instead of building them.

A label of our base image holds its digest.
"""

DEFAULT: Final = Versions(kubernetes="1.37.2")


def stock_node(versions: Versions) -> str:
    """Returns the reference of the node image to pull for these versions."""
    return STOCK_NODES.get(versions.kubernetes_minor, f"kindest/node:v{versions.kubernetes}")
