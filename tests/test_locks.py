"""Locks of folders: on local disks, on network mounts, and on Windows."""

import os
import socket
import subprocess
import sys

import pytest

from fashioncnn import locks
from fashioncnn.errors import RunError
from fashioncnn.files import temporary_path
from fashioncnn.locks import lock_folder, mount_type


@pytest.fixture
def on_network(monkeypatch):
    """Make every folder look as if it was mounted from another machine."""
    monkeypatch.setattr(locks, "mount_type", lambda path: "nfs4")


@pytest.fixture(params=["local", "network", "windows"])
def system(request, monkeypatch):
    """Lock as on each kind of system."""
    if request.param == "network":
        request.getfixturevalue("on_network")
    elif request.param == "windows":
        monkeypatch.setattr(locks, "_folder_itself", locks._file_in_temporary_folder)
        if os.name != "nt":  # where the working folders are on other disks
            monkeypatch.setattr(locks, "mount_type", lambda path: "")


@pytest.fixture
def ended_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_locked_folder_is_rejected_until_the_lock_is_released(system, tmp_path):
    with (
        lock_folder(tmp_path, "in use"),
        pytest.raises(RunError, match=f"{tmp_path}: in use"),
        lock_folder(tmp_path, "in use"),
    ):
        pass
    with pytest.raises(ZeroDivisionError), lock_folder(tmp_path, "in use"):
        raise ZeroDivisionError
    with lock_folder(tmp_path, "in use"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_lock_survives_a_rename_of_its_folder(system, tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    with lock_folder(before, "in use") as lock:
        before.rename(after)
        lock.path = after
        with pytest.raises(RunError, match="in use"), lock_folder(after, "in use"):
            pass
    with lock_folder(after, "in use"):
        pass


def test_locking_removes_temporary_files_of_killed_processes(system, tmp_path):
    temporary_path(tmp_path / "x.json").write_bytes(b"half")
    with lock_folder(tmp_path, "in use"):
        assert [p.name for p in tmp_path.iterdir() if p.name != ".lock"] == []


def test_missing_folder_cannot_be_locked(tmp_path):
    with (
        pytest.raises(RunError, match=r"none: cannot be locked \(No such file or directory\)"),
        lock_folder(tmp_path / "none", "in use"),
    ):
        pass


def reject(folder):
    with pytest.raises(RunError) as caught, lock_folder(folder, "in use"):
        pass
    return str(caught.value)


def test_lock_of_another_process_on_a_network_mount_is_described(on_network, tmp_path):
    host = socket.gethostname()
    with lock_folder(tmp_path, "in use"):
        assert reject(tmp_path) == f"{tmp_path}: in use (process {os.getpid()} on {host})"
    (tmp_path / ".lock").write_text("other.example 123\n")
    assert reject(tmp_path) == (
        f"{tmp_path}: in use (process 123 on other.example); if it has ended, remove its lock "
        f"with: rm {tmp_path}/.lock"
    )


def test_stale_lock_on_a_network_mount_is_reported_with_a_command(on_network, tmp_path, ended_pid):
    host = socket.gethostname()
    (tmp_path / ".lock").write_text(f"{host} {ended_pid}\n")
    message = reject(tmp_path)
    assert message == (
        f"{tmp_path}: locked by process {ended_pid} on {host}, which has ended; remove its lock "
        f"with: rm {tmp_path}/.lock"
    )
    subprocess.run(message.partition("with: ")[2], shell=True, check=True)
    with lock_folder(tmp_path, "in use"):
        pass


@pytest.mark.parametrize("content", [b"", b"host", b"host pid", b"a b c", b"\xff 1"], ids=repr)
def test_incomplete_lock_file_is_reported_with_a_command(on_network, tmp_path, content):
    (tmp_path / ".lock").write_bytes(content)
    message = reject(tmp_path)
    assert "locked by an unknown process; if it has ended, remove its lock with: rm " in message


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/home /home/a\\040b nfs4 rw 0 0
share /home/a\\040b/local ext4 rw 0 0
host /media/usb fuseblk rw 0 0
host /media/ssh fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind", "is_network"),
    [
        ("/home", "ext4", False),
        ("/home/a b", "nfs4", True),
        ("/home/a b/runs/x", "nfs4", True),
        ("/home/a bc", "ext4", False),
        ("/home/a b/local/x", "ext4", False),
        ("/media/usb/x", "fuseblk", False),
        ("/media/ssh/x", "fuse.sshfs", True),
    ],
)
def test_type_is_that_of_the_innermost_mount(path, kind, is_network, tmp_path, monkeypatch):
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "mounts")
    assert mount_type(locks.Path(path)) == kind
    assert bool(locks.NETWORK_TYPES.fullmatch(kind)) == is_network


def test_type_is_unknown_without_a_list_of_mounts(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "MOUNTS", tmp_path / "none")
    assert mount_type(tmp_path) == ""
