"""Whether the application still uses the network: from the kernel's tables, recorded and real."""

import os
import socket
from pathlib import Path

import pytest

from lab.mesh.agent.app_sockets import application_in_use, inodes_in_use

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:3AA9 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 100 1 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 200 1 0
   2: 0100007F:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000   101        0 201 1 0
   3: 0100007F:0050 0100007F:9C41 08 00000000:00000000 00:00000000 00000000   101        0 202 1 0
   4: 0A00F40A:9C42 0A60000A:0050 02 00000000:00000000 00:00000000 00000000   101        0 203 1 0
   5: 0100007F:0050 0100007F:9C43 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
   6: 0100007F:0050 0100007F:9C44 04 00000000:00000000 00:00000000 00000000   101        0 204 1 0
   7: cut off
"""


def test_sockets_that_listen_or_are_connected_are_in_use_and_those_that_close_are_not() -> None:
    assert inodes_in_use(TABLE) == {100, 200, 201, 202, 203}
    assert inodes_in_use("") == set()


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "self" / "net").mkdir(parents=True)
    (tmp_path / "self" / "net" / "tcp").write_text(TABLE)
    for pid, inodes in ((1, (100,)), (7, (201, 202))):
        folder = tmp_path / str(pid) / "fd"
        folder.mkdir(parents=True)
        for number, inode in enumerate(inodes):
            (folder / str(number)).symlink_to(f"socket:[{inode}]")
        (folder / "9").symlink_to("/dev/null")
    return tmp_path


def test_only_sockets_of_other_processes_are_the_applications(proc: Path) -> None:
    assert application_in_use((1, 7), proc)  # 200 and 203 belong to neither
    rows = [row for row in TABLE.splitlines() if " 200 " not in row and " 203 " not in row]
    (proc / "self" / "net" / "tcp").write_text("\n".join(rows))
    assert not application_in_use((1, 7), proc)
    assert application_in_use((1, 4711), proc)  # Envoy died: its connections are not ours now


def test_without_tables_nothing_is_known_of_an_application(tmp_path: Path) -> None:
    assert not application_in_use((1,), tmp_path)


def test_the_kernels_own_tables_are_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert application_in_use(())
        inode = os.fstat(listening.fileno()).st_ino
        assert inode in inodes_in_use(Path("/proc/self/net/tcp").read_text())
