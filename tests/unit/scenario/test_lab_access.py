"""What is recorded of a lab is used as long as it is there."""

from pathlib import Path

from lab.cluster.images import ensure
from lab.scenario.lab_access import _kubectl


def test_the_kubectl_of_a_checkout_that_is_gone_is_replaced_by_this_ones(tmp_path: Path) -> None:
    recorded = tmp_path / "kubectl"
    assert _kubectl(recorded) == ensure.kubectl()
    recorded.touch()
    assert _kubectl(recorded) == recorded
