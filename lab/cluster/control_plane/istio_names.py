"""Names by which the lab finds Istio in a cluster.

They are not in istio.py, so that code that needs only the names does not import all of that module.
"""

from typing import Final

NAMESPACE: Final = "istio-system"
DEPLOYMENT: Final = "istiod"
PART_OF: Final = "app.kubernetes.io/part-of=istio"
"""A label of every object that istioctl generates; by it, the lab finds Istio's objects."""
