"""pytest-kind's `kind_cluster` is the lab's own cluster: handed over, neither made nor deleted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.paths import DEFAULT_NAME, lab_paths

pytestmark = pytest.mark.live

OPTIONS = ["-c", os.devnull, "-p", "lab.scenario.run.pytest_plugin", "-p", "no:cacheprovider"]
TEST = """
def test_the_cluster_is_the_labs(kind_cluster):
    print("node:", kind_cluster.kubectl("get", "nodes", "-o", "name").strip())
"""


def test_a_users_own_test_gets_the_lab_through_pytest_kind(tmp_path: Path) -> None:
    where = lab_paths(DEFAULT_NAME)
    before = kubectl_uid(where.kubeconfig)
    (tmp_path / "test_mine.py").write_text(TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", *OPTIONS, "test_mine.py"],
        cwd=tmp_path,
        env={**os.environ, "SIDECAR_LAB_HOME": str(where.root.parent), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"node: node/{DEFAULT_NAME}-control-plane" in done.stdout
    assert kubectl_uid(where.kubeconfig) == before


def kubectl_uid(kubeconfig: Path) -> str:
    """What tells one cluster from another of the same name."""
    kubectl = Path(sys.executable).with_name("kubectl")
    argv = [str(kubectl), "--kubeconfig", str(kubeconfig), "get", "namespace", "kube-system"]
    done = subprocess.run(
        [*argv, "-o", "jsonpath={.metadata.uid}"], capture_output=True, text=True, check=True
    )
    return done.stdout
