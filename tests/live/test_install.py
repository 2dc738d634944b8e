"""An installation of Docker that is cut off leaves nothing of ours after the next command.

Each test is a small machine: this one's files under an overlay (what is written is in memory and
gone with the test), mounts and processes of its own, and no Docker. Packages come from the real
archive, by the real `lab up`. Root is needed.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
MACHINE = r"""
set -e
mkdir -p "$1"
mount -t tmpfs none "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" overlay "$1/root"
cd "$1/root"
for one in dev sys; do mount --rbind "/$one" "$one"; done
mount -t proc proc proc
mount -t tmpfs none run
mkdir old
pivot_root . old
umount -l old
cd "$2"
exec "$3" -c "$4" "$5"
"""
INSIDE = r"""
import json, os, signal, subprocess, sys, time
from pathlib import Path
plan = json.loads(sys.argv[1])
policy = Path("/usr/sbin/policy-rc.d")
log = Path(os.environ["SIDECAR_LAB_HOME"], "x", "logs", "apt.log")
# dpkg holds back what it prints to a file, and writes this one at once.
steps = Path("/var/log/dpkg.log")
def sh(*words):
    return subprocess.run(words, capture_output=True, text=True,
                          env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
def packages():
    return sorted(sh("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n")
                  .stdout.splitlines())
def running():
    rows = sh("ps", "-eo", "args").stdout.splitlines()
    return [row for row in rows if row.startswith(("apt-get", "/usr/bin/dpkg", "dpkg", "dockerd"))]
def lab(*words):
    done = sh(sys.executable, "-m", "lab", *words)
    return {"code": done.returncode, "said": done.stdout + done.stderr}
def group():
    return [row for row in Path("/etc/group").read_text().splitlines() if row.startswith("docker:")]
policy.unlink(missing_ok=True)
Path("/etc/dpkg/dpkg.cfg.d/quick").write_text("force-unsafe-io\n")
sh("apt-get", "purge", "-y", "-q", *plan["without"])
sh("groupdel", "docker")
os.environ["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
before = len(steps.read_text()) if steps.exists() else 0
was = {"packages": packages(), "group": group(), "docker": os.path.exists("/usr/sbin/dockerd")}
up = subprocess.Popen([sys.executable, "-m", "lab", "up", "--name", "x", "--yes"],
                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                      start_new_session=True)
wanted = plan["at"]
deadline = time.monotonic() + 150
while time.monotonic() < deadline and up.poll() is None:
    if policy.exists() and log.exists() and (
        wanted in log.read_text() or wanted in steps.read_text()[before:]
    ):
        break
    time.sleep(0.02)
seen = {"policy": policy.read_text() if policy.exists() else "", "running": running(),
        "ended": up.poll()}
os.killpg(up.pid, getattr(signal, plan["signal"]))
said = up.communicate(timeout=200)[0]
left = {"policy": policy.exists(), "running": running()}
then = [lab(*words) for words in plan["then"]]
print(json.dumps({"was": was, "seen": seen, "said": said, "code": up.returncode, "left": left,
    "then": then, "policy": policy.exists(), "strays": [str(one) for one in
    policy.parent.glob("policy-rc.d*")], "running": running(),
    "now": {"packages": packages(), "group": group(),
            "docker": os.path.exists("/usr/sbin/dockerd")},
    "log": log.read_text() if log.exists() else ""}))
"""


WITHOUT = ["docker.io", "containerd", "runc", "tini"]
CUTS = (
    ("$ apt-get", "SIGHUP", ("doctor",)),
    (" configure docker.io", "SIGHUP", ("down", "--name", "x")),
    ("$ apt-get", "SIGKILL", ("down", "--name", "x")),
    (" install docker.io", "SIGKILL", ("doctor",)),
)


@dataclass
class Told:
    """What there was before, at the cut, right after it, and after the commands that followed."""

    was: dict[str, object]
    seen: dict[str, object]
    said: str
    code: int
    left: dict[str, object]
    then: list[dict[str, object]]
    policy: bool
    strays: list[str]
    running: list[str]
    now: dict[str, object]
    log: str


def machine(place: Path, at: str, signal: str, *then: tuple[str, ...]) -> Told:
    environment = {
        **os.environ,
        "SIDECAR_LAB_CACHE": "/root/small-cache",
        "SIDECAR_LAB_HOME": "/root/small-labs",
        "PYTHONPATH": str(ROOT),
    }
    plan = json.dumps({"at": at, "signal": signal, "then": then, "without": WITHOUT})
    argv = ["unshare", "--mount", "--pid", "--fork", "--propagation", "private", "bash", "-c"]
    done = subprocess.run(
        [*argv, MACHINE, "bash", str(place), str(ROOT), sys.executable, INSIDE, plan],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = Told(**json.loads(done.stdout))
    print(f"\ncut at {at!r} by {signal}: {told.code}\n{told.said}\nleft: {told.left}")
    for one in told.then:
        print(one["code"], one["said"])
    return told


@pytest.mark.parametrize(("at", "signal", "then"), CUTS)
def test_after_the_next_command_nothing_holds_services_back_and_nothing_runs(
    tmp_path: Path, at: str, signal: str, then: tuple[str, ...]
) -> None:
    told = machine(tmp_path / "m", at, signal, then)
    assert not told.was["docker"]
    assert "made by sidecar-lab" in str(told.seen["policy"]), told.said + told.log
    assert told.seen["ended"] is None
    assert told.code == (130 if signal == "SIGHUP" else -9)
    assert not told.policy
    assert told.strays == []
    assert told.running == []
    assert "Traceback" not in told.said


@pytest.mark.parametrize("signal", ["SIGHUP", "SIGKILL"])
def test_down_all_takes_every_package_and_group_away_again(tmp_path: Path, signal: str) -> None:
    told = machine(tmp_path / "m", " configure containerd", signal, ("down", "--all"))
    assert told.now == told.was, told.then
    assert told.strays == []
    assert told.running == []
