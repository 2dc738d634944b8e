"""What kubectl's columns say, worked out from the API's JSON."""

from typing import Any

import pytest

from lab.observe import api_objects


def pod(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "metadata": {"name": "jiuxi-1", "namespace": "n", "uid": "u"},
        "spec": {
            "containers": [
                {"name": "nginx", "image": "nginx"},
                {"name": "istio-proxy", "image": "proxy", "args": ["proxy", "sidecar"]},
            ],
            "initContainers": [
                {"name": "istio-init", "image": "proxy", "command": ["istio-iptables"]}
            ],
        },
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True"},
            ],
            "containerStatuses": [
                status("nginx", running={"startedAt": "x"}),
                status("istio-proxy", running={"startedAt": "x"}),
            ],
            "initContainerStatuses": [
                status("istio-init", terminated={"exitCode": 0, "reason": "Completed"})
            ],
        },
    }
    return {**base, **changes}


def status(name: str, *, ready: bool = True, **state: Any) -> dict[str, Any]:
    return {
        "name": name,
        "ready": ready,
        "started": ready,
        "restartCount": 2,
        "imageID": f"sha256:{name}",
        "containerID": "containerd://abc",
        "state": state,
    }


def test_a_healthy_injected_pod_reads_two_of_two() -> None:
    seen = pod()
    assert api_objects.ready_text(seen) == "2/2"
    assert api_objects.status_text(seen) == "Running"
    assert api_objects.is_ready(seen)
    (init,) = api_objects.pod_inits(seen)
    assert (init.done, init.exit_code, init.command) == (True, 0, ("istio-iptables",))
    proxy = api_objects.pod_containers(seen)[1]
    assert (proxy.args, proxy.container_id, proxy.restarts) == (("proxy", "sidecar"), "abc", 2)


def test_a_native_sidecar_counts_among_the_ready_ones() -> None:
    seen = pod()
    seen["spec"]["initContainers"][0]["restartPolicy"] = "Always"
    seen["status"]["initContainerStatuses"] = [status("istio-init", running={})]
    assert api_objects.ready_text(seen) == "3/3"
    assert api_objects.status_text(seen) == "Running"


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"running": {}}, "Init:0/1"),
        ({"waiting": {"reason": "PodInitializing"}}, "Init:0/1"),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, "Init:CrashLoopBackOff"),
        ({"terminated": {"exitCode": 1, "reason": "Error"}}, "Init:Error"),
    ],
)
def test_a_pod_that_initialises_says_how_far_it_is(state: dict[str, Any], text: str) -> None:
    seen = pod()
    seen["status"]["phase"] = "Pending"
    seen["status"]["initContainerStatuses"] = [status("istio-init", ready=False, **state)]
    assert api_objects.status_text(seen) == text


def test_an_unscheduled_pod_is_pending_and_says_why() -> None:
    seen = pod(
        status={
            "phase": "Pending",
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes",
                }
            ],
        }
    )
    assert api_objects.status_text(seen) == "Pending"
    assert api_objects.ready_text(seen) == "0/2"
    assert "Unschedulable 0/1 nodes" in api_objects.describe(seen)


def test_a_job_beside_a_classic_sidecar_is_not_ready() -> None:
    seen = pod()
    seen["status"]["conditions"][1]["status"] = "False"
    seen["status"]["containerStatuses"][0] = status(
        "nginx", ready=False, terminated={"exitCode": 0, "reason": "Completed"}
    )
    assert api_objects.status_text(seen) == "NotReady"
    assert api_objects.ready_text(seen) == "1/2"


def test_a_deleted_pod_is_terminating_and_never_ready() -> None:
    seen = pod()
    seen["metadata"]["deletionTimestamp"] = "2026"
    assert api_objects.status_text(seen) == "Terminating"
    assert not api_objects.is_ready(seen)


def test_a_rollout_is_over_only_when_no_old_pod_is_left() -> None:
    seen: dict[str, Any] = {
        "metadata": {"name": "jiuxi", "generation": 2},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": 2,
            "replicas": 2,
            "updatedReplicas": 1,
            "availableReplicas": 2,
            "readyReplicas": 2,
        },
    }
    assert not api_objects.deployment(seen).rolled_out
    seen["status"] |= {"replicas": 1, "availableReplicas": 1}
    assert api_objects.deployment(seen).rolled_out
    seen["metadata"]["generation"] = 3
    assert not api_objects.deployment(seen).rolled_out


def test_an_event_of_either_shape_has_a_time_and_a_count() -> None:
    old = {
        "metadata": {},
        "type": "Warning",
        "reason": "FailedCreate",
        "message": "no ",
        "involvedObject": {"kind": "ReplicaSet", "name": "jiuxi-1"},
        "lastTimestamp": "2026-11-23T10:00:00Z",
        "count": 3,
    }
    assert api_objects.event(old) == api_objects.Event(
        "Warning", "FailedCreate", "ReplicaSet/jiuxi-1", "no", 3, "2026-11-23T10:00:00Z"
    )
    new = {**old, "lastTimestamp": None, "count": None, "eventTime": "2026-11-23T10:00:01Z"}
    assert (api_objects.event(new).at, api_objects.event(new).count) == ("2026-11-23T10:00:01Z", 1)
