"""Back-off and readiness: decided on plain data."""

from hypothesis import given
from hypothesis import strategies as st

from lab.mesh.agent import envoy_admin
from lab.mesh.agent.start import Backoff

READY = {
    "cluster_manager.cds.update_success": 1,
    "listener_manager.lds.update_success": 3,
    "listener_manager.workers_started": 1,
    "server.state": 0,
}


def test_ten_retries_doubling_from_200_ms_then_none() -> None:
    backoff = Backoff()
    delays = [backoff.delay(0.1) for _ in range(11)]
    assert delays == [0.2 * 2**n for n in range(10)] + [None]


def test_a_stable_life_starts_the_count_again() -> None:
    backoff = Backoff()
    for _ in range(10):
        backoff.delay(1.0)
    assert backoff.delay(30.0) == 0.2
    assert backoff.delay(1.0) == 0.4


@given(st.lists(st.floats(0, 100), max_size=60))
def test_never_more_than_ten_retries_without_a_stable_life(lives: list[float]) -> None:
    backoff, since_stable = Backoff(), 0
    for lived in lives:
        since_stable = 0 if lived >= 30 else since_stable
        delay = backoff.delay(lived)
        assert (delay is None) == (since_stable >= 10)
        since_stable += delay is not None


def test_ready_when_all_four_hold() -> None:
    assert envoy_admin.judge(READY).ready


def test_each_missing_condition_is_a_reason_of_its_own() -> None:
    reasons = set()
    for key in READY:
        verdict = envoy_admin.judge({**READY, key: 2 if key == "server.state" else 0})
        assert not verdict.ready
        reasons.add(verdict.reason)
    assert len(reasons) == 4


def test_active_connections_leave_out_admin_statistics_and_workers() -> None:
    text = "\n".join(
        [
            "listener.0.0.0.0_15006.downstream_cx_active: 2",
            "listener.0.0.0.0_15006.worker_0.downstream_cx_active: 2",
            "listener.0.0.0.0_15001.downstream_cx_active: 1",
            "listener.0.0.0.0_15090.downstream_cx_active: 7",
            "listener.admin.downstream_cx_active: 1",
            "listener.admin.main_thread.downstream_cx_active: 1",
            "http.inbound.downstream_cx_active: 2",
        ]
    )
    assert envoy_admin.active_connections(text, 15090) == 3
