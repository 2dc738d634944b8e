"""Names by which the lab finds Istio in a cluster; apart from what generates it, which is large."""

from typing import Final

NAMESPACE: Final = "istio-system"
DEPLOYMENT: Final = "istiod"
PART_OF: Final = "app.kubernetes.io/part-of=istio"
"""A label on every object that istioctl generates; the lab finds and removes them by it."""
