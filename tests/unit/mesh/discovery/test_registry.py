"""Watch events folded into state, and the root certificate's copies decided."""

from pathlib import Path
from typing import Any

import pytest

from lab.mesh.discovery import registry
from lab.mesh.discovery.api_objects import service_from
from lab.mesh.discovery.registry import Fold, LimitedLog
from lab.mesh.discovery.snapshot import Service
from lab.mesh.errors import DiscoveryError
from lab.mesh.kubernetes_watch import connect
from lab.mesh.trust.root_certificate import lacking, read_root, wants_copy


def manifest(name: str, ip: str = "10.96.0.1", version: str = "1") -> dict[str, Any]:
    meta = {"name": name, "namespace": "shop", "resourceVersion": version}
    return {"metadata": meta, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}}


class Told:
    def __init__(self) -> None:
        self.times = 0
        self.fold: Fold[Service] = Fold("Service", service_from, self.tell)

    def tell(self) -> None:
        self.times += 1


def test_events_leave_what_the_api_server_holds() -> None:
    told = Told()
    told.fold.replaced([manifest("a"), manifest("b")])
    told.fold.changed("ADDED", manifest("c"))
    told.fold.changed("MODIFIED", manifest("a", "10.96.0.9"))
    told.fold.changed("DELETED", manifest("b"))
    held = {service.name: service.cluster_ips for service in told.fold.held.values()}
    assert held == {"a": ("10.96.0.9",), "c": ("10.96.0.1",)}


def test_a_new_list_forgets_what_was_deleted_unseen() -> None:
    told = Told()
    told.fold.replaced([manifest("a"), manifest("b")])
    told.fold.replaced([manifest("b")])
    assert [service.name for service in told.fold.held.values()] == ["b"]


def test_a_change_that_means_nothing_to_envoy_tells_nobody() -> None:
    told = Told()
    told.fold.replaced([manifest("a")])
    before = told.times
    told.fold.changed("MODIFIED", manifest("a", version="2"))
    told.fold.changed("DELETED", manifest("never-seen"))
    assert told.times == before


def test_what_is_left_out_is_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    told.fold.replaced([manifest("a", "10.96.0.300"), manifest("b")])
    told.fold.changed("MODIFIED", manifest("a", "10.96.0.300", version="2"))
    assert told.fold.problems == {
        ("shop", "a"): ("spec.clusterIPs: not an address: '10.96.0.300'",)
    }
    assert [record.getMessage() for record in caplog.records] == [
        "Service shop/a: a part is left out: spec.clusterIPs: not an address: '10.96.0.300'"
    ]
    told.fold.changed("MODIFIED", manifest("a"))
    assert told.fold.problems == {}
    told.fold.changed("DELETED", manifest("a"))


def test_an_object_that_changes_all_the_time_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = [0.0]
    limited = LimitedLog(lambda: clock[0])
    for number in range(1000):
        limited.warning(f"line {number}")
    assert len(caplog.records) == registry.LOG_LINES
    clock[0] += registry.LOG_SECONDS + 1
    limited.warning("later")
    assert [record.getMessage() for record in caplog.records[-2:]] == [
        "950 more lines about objects were not written",
        "later",
    ]


def test_copies_are_made_mended_and_left_alone() -> None:
    namespaces = {"new": True, "wrong": True, "right": True, "ending": False}
    copies = {"wrong": "old", "right": "PEM", "ending": "old"}
    assert lacking(namespaces, copies, "PEM") == {"new": False, "wrong": True}


def test_system_namespaces_and_ending_ones_want_no_copy() -> None:
    assert wants_copy({"metadata": {"name": "shop"}})
    assert not wants_copy({"metadata": {"name": "kube-system"}})
    assert not wants_copy({"metadata": {"name": "shop", "deletionTimestamp": "now"}})


def test_no_api_and_no_certificate_are_told_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    with pytest.raises(DiscoveryError) as no_access:
        connect()
    assert "--kubeconfig" in no_access.value.hint
    with pytest.raises(DiscoveryError, match="not found"):
        connect(tmp_path / "missing")
    with pytest.raises(DiscoveryError, match="no root certificate"):
        read_root(tmp_path / "missing")
    (tmp_path / "empty").touch()
    with pytest.raises(DiscoveryError, match="no PEM certificate"):
        read_root(tmp_path / "empty")
