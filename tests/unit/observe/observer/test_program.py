"""The pure parts of the program inside, and the channel to it, on this machine's own processes."""

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from lab.errors import ObservationError
from lab.observe.observer import procfs
from lab.observe.observer.channel import Channel, ChannelClosedError

NODE = "a" * 64
CONTAINER = "b" * 64
POD = "0b7a3c1e-1111-2222-3333-444455556666"


@pytest.mark.parametrize(
    "path",
    [
        f"12:pids:/docker/{NODE}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort"
        f".slice/kubelet-kubepods-besteffort-pod{POD.replace('-', '_')}.slice"
        f"/cri-containerd-{CONTAINER}.scope",
        f"0::/../{NODE}/kubelet.slice/kubelet-kubepods-pod{POD.replace('-', '_')}.slice"
        f"/cri-containerd-{CONTAINER}.scope",
        f"4:memory:/docker/{NODE}/kubelet/kubepods/burstable/pod{POD}/{CONTAINER}",
        f"0::/kubelet/kubepods/besteffort/pod{POD}/{CONTAINER}",
    ],
)
def test_the_container_and_pod_of_a_process_are_read_from_its_cgroup(path: str) -> None:
    assert procfs.owner(f"13:cpuset:/\n{path}\n") == (CONTAINER, POD)


def test_a_process_of_the_node_belongs_to_no_pod() -> None:
    assert procfs.owner(f"1:name=systemd:/docker/{NODE}/system.slice/kubelet.service\n") == ("", "")


def test_addresses_of_proc_are_read_in_host_order() -> None:
    assert procfs.address("0100007F:3A98") == ("127.0.0.1", 15000)
    assert procfs.address("00000000:0050") == ("0.0.0.0", 80)
    assert procfs.address("00000000000000000000000000000000:1F90") == ("::", 8080)
    assert procfs.address("00000000000000000000000001000000:1F90") == ("::1", 8080)


@pytest.fixture
def channel() -> Iterator[Channel]:
    opened = Channel([], python=sys.executable)
    yield opened
    opened.close()


def test_a_socket_is_found_with_the_process_that_holds_it(channel: Channel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = channel.ask("sockets", wait=5, pid=os.getpid())
    (mine,) = [one for one in found if one["port"] == port]
    assert mine["address"] == "127.0.0.1"
    assert mine["pid"] == os.getpid()
    assert mine["process"]


def test_a_question_that_fails_is_an_error_with_its_reason_and_the_channel_goes_on(
    channel: Channel,
) -> None:
    with pytest.raises(ObservationError, match="is gone"):
        channel.ask("sockets", wait=5, pid=2**22 + 1)
    with pytest.raises(ObservationError, match="KeyError"):
        channel.ask("nonsense", wait=5)
    assert channel.ask("hello", wait=5)["pid"] > 0


def test_a_channel_whose_far_side_dies_says_so_with_its_last_words() -> None:
    channel = Channel(["sh", "-c", "echo no such container >&2; exit 1"])
    with pytest.raises(ChannelClosedError, match="no such container"):
        channel.ask("hello", wait=5)
    channel.close()


def test_a_command_that_is_not_there_is_an_observation_error() -> None:
    with pytest.raises(ObservationError, match="no-such-docker"):
        Channel(["no-such-docker", "exec"])
