"""What is recorded of a lab is used as long as it is there."""

from pathlib import Path

import pytest

from lab.cluster.images import ensure
from lab.errors import ScenarioError
from lab.scenario.lab_access import _kubectl
from lab.scenario.labels import selector


def test_the_kubectl_of_a_checkout_that_is_gone_is_replaced_by_this_ones(tmp_path: Path) -> None:
    recorded = tmp_path / "kubectl"
    assert _kubectl(recorded) == ensure.kubectl()
    recorded.touch()
    assert _kubectl(recorded) == recorded


@pytest.mark.parametrize("text", ["a", "a!=b", "a==b", "a in (b)", "=b", "a=b,", "a=b,c"])
def test_a_selector_that_is_no_list_of_labels_is_refused(text: str) -> None:
    with pytest.raises(ScenarioError, match="is not a selector"):
        selector(text)


def test_a_selector_is_read_as_labels() -> None:
    assert selector("app=web, app.kubernetes.io/part-of = shop,empty=") == {
        "app": "web",
        "app.kubernetes.io/part-of": "shop",
        "empty": "",
    }
    assert selector("") is None
