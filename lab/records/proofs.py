"""What the walkthrough proves: a sentence for each number that steps name in `proves`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

PROOFS: Final[Mapping[int, str]] = MappingProxyType(
    {
        1: "A plain pod has one listener, nginx on port 80, and no rule redirects its traffic.",
        2: "The manifest as printed is refused with the place and cause of each mistake; "
        "the corrected one is applied.",
        3: "kube-inject replaces the pod by one with nginx, istio-proxy and an istio-init that "
        "ended with exit code 0.",
        4: "Both containers share one network namespace: its interfaces, routes and inode.",
        5: "The sidecar adds five listeners, each with a known owner.",
        6: "The init container's log and the live table hold the same rules.",
        7: "The rules act after the init container has ended; every client reads the same.",
        8: "A request out of the pod and one into it are counted by the rules and seen by Envoy.",
        9: "pilot-agent runs Envoy as its child, with the bootstrap that it wrote.",
        10: "The agent brings Envoy what changes in the cluster, replaces a killed Envoy, and "
        "takes up a changed configuration.",
        11: "Envoy's admin port answers inside the pod and refuses another pod.",
        12: "Both containers run one image; command and args decide which program runs.",
        13: "The namespace's label decides for new pods alone; webhook and kube-inject make the "
        "same pod.",
        14: "Pods of every workload are injected and get ready; a Job completes beside a native "
        "sidecar and not beside a classic one.",
        15: "A Service, a Secret and a ConfigMap leave kube-inject byte for byte as they came.",
    }
)
"""What a reader has seen at the end of the walkthrough (docs/walkthrough.md), by number."""
