"""The same packets through our rules and through real Istio's: they must take the same paths.

For each setting and program a fresh pod, with a cable to a far side that has every other address.
What is seen must also be what the matrix expects: equal because both are broken is not enough.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.cluster.images.istio_programs import IstioBinaries
from lab.progress import Progress
from tests.dataplane.world import Namespace, World, build, remove
from tests.peers import flows_matrix, flows_traffic
from tests.peers.flows_matrix import Flow, Setting
from tests.peers.result import Result
from tests.peers.rules_world import OURS, Program


@contextmanager
def far_reaching(tag: str) -> Iterator[World]:
    """A pod and a far side that has every address of FAR_NETWORKS; removed at the end."""
    world = World(Namespace(f"lab-pod-{tag}"), Namespace(f"lab-far-{tag}"))
    try:
        build(world)
        for family, network in flows_matrix.FAR_NETWORKS:
            world.client.run("ip", family, "route", "add", "local", network, "dev", "lo")
        yield world
    finally:
        for side in (world.pod, world.client):
            remove(side)


def paths(program: Program, setting: Setting, rows: Sequence[Flow]) -> list[str]:
    """Where each flow ended. Raises RuntimeError when the program fails."""
    found: dict[str, str] = {}
    with (
        TemporaryDirectory() as folder,
        far_reaching(uuid.uuid4().hex[:8]) as world,
        flows_traffic.serving(world.pod.name, "pod", flows_matrix.sockets("pod")),
        flows_traffic.serving(world.client.name, "far", flows_matrix.sockets("far")),
    ):
        _settle(world)
        apply(world.pod, program, setting, Path(folder))
        for side, namespace in (("pod", world.pod), ("client", world.client)):
            mine = [one for one in rows if one.side == side]
            ended = flows_traffic.dial(namespace.name, [one.dial for one in mine])
            found |= {one.name: path for one, path in zip(mine, ended, strict=True)}
    return [found[one.name] for one in rows]


def _settle(world: World) -> None:
    """Until the cable carries both IP versions: neighbours are still unknown at first."""
    dials = [flows_traffic.Dial(at.client, 80) for at in (flows_matrix.V4, flows_matrix.V6)]
    for _ in range(10):
        ended = flows_traffic.dial(world.pod.name, dials)
        if all(one.startswith("far:80 ") for one in ended):
            return
    raise RuntimeError(f"the far side cannot be reached without rules: {ended}")


def apply(pod: Namespace, program: Program, setting: Setting, folder: Path) -> None:
    resolv = folder / "resolv.conf"
    resolv.write_text("".join(f"nameserver {one}\n" for one in flows_matrix.NAMESERVERS))
    # In a mount namespace, for the resolv.conf that DNS capture reads.
    script = 'mount --bind "$1" /etc/resolv.conf && mount -t tmpfs none /run && shift && exec "$@"'
    words = [*program.argv, *flows_matrix.flags_of(setting)]
    done = pod.run(
        *("unshare", "--mount", "sh", "-c", script, "sh", str(resolv), *words),
        env=dict(setting.env),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{program.name}, {setting.name}: {done.stdout}{done.stderr}")


def compare(binaries: IstioBinaries, progress: Progress) -> Result:
    """Every flow under every setting, with both programs. Needs root."""
    theirs = Program("Istio's", (str(binaries.pilot_agent), "istio-iptables"))
    rows = flows_matrix.flows()
    unexplained = []
    compared = 0
    with progress.task("flows beside Istio's") as task:
        for number, setting in enumerate(flows_matrix.SETTINGS):
            task.update(setting.name, done=number, total=len(flows_matrix.SETTINGS))
            mine, other = (paths(one, setting, rows) for one in (OURS, theirs))
            for flow, ours, their in zip(rows, mine, other, strict=True):
                compared += 1
                unexplained += _differences(setting, flow, ours, their)
    return Result("flows", compared, (), tuple(unexplained))


def _differences(setting: Setting, flow: Flow, ours: str, theirs: str) -> list[str]:
    expected = setting.expected(flow)
    if ours == theirs == expected:
        return []
    return [f"{setting.name}: {flow.name}: expected {expected}; ours {ours}; Istio's {theirs}"]
