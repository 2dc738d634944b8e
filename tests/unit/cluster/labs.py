"""What is recorded of a lab that is up, for tests."""

from lab.cluster.state import LabState

READY = LabState(
    name="x",
    phase="ready",
    node="x-control-plane",
    network="sidecar-lab-x",
    kubeconfig="/k",
    node_image="node:1",
    observer_image="observer:1",
    kind="/kind",
    kubectl="/kubectl",
    default_cni=False,
    images={"proxy": "p:1"},
    stage="stage:1",
)
