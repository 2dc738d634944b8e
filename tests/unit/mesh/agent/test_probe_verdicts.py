"""The agent's verdict on each odd server is the one that kubelet's own prober came to.

`nox -s peers -- probers` asks kubelet's code, this only its record.
"""

import pytest

from tests.probers import table

NAMES = [case.name for case in table.cases()]


@pytest.fixture(scope="module")
def ours() -> dict[str, table.Found]:
    return table.ours(table.cases())


@pytest.fixture(scope="module")
def kubelets() -> dict[str, table.Found]:
    return table.recorded()


@pytest.mark.parametrize("name", NAMES)
def test_the_agent_judges_as_kubelet(
    name: str, ours: dict[str, table.Found], kubelets: dict[str, table.Found]
) -> None:
    assert ours[name] == kubelets[name]


def test_the_record_is_of_these_cases(kubelets: dict[str, table.Found]) -> None:
    assert set(kubelets) == set(NAMES)
    assert len(NAMES) >= 60


def test_every_verdict_is_in_the_record(kubelets: dict[str, table.Found]) -> None:
    found = [verdict.result for verdict in kubelets.values()]
    assert {name: found.count(name) > 2 for name in set(found)} == dict.fromkeys(
        ("success", "warning", "failure", "waiting"), True
    )
