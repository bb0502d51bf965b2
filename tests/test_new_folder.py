"""Creation of folders that no process finds incomplete."""

import contextlib
import os
import threading
from pathlib import Path

import pytest

from fashioncnn import locks
from fashioncnn import new_folder as module
from fashioncnn.errors import RunError, WriteError
from fashioncnn.files import temporary_path, write_atomic
from fashioncnn.locks import lock_folder
from fashioncnn.new_folder import MARKER, NotVacantError, is_vacant, new_folder

LAST = "last"


class KilledError(BaseException):
    """Stands for a kill of the process."""


def fill(folder):
    (folder / "sub").mkdir()
    write_atomic(folder / "sub" / "first", b"1")
    write_atomic(folder / LAST, b"2")


def create(path, content=fill):
    with new_folder(path, content, LAST):
        assert is_complete(path)


def is_complete(path):
    names = {str(p.relative_to(path)) for p in path.rglob("*")} - {".lock"}
    return names == {"sub", "sub/first", LAST}


@contextlib.contextmanager
def killed():
    """End the block like a killed process: without any cleanup."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(module, "_clear", lambda *_: None)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(KilledError):
            yield


def fill_partly(folder):
    (folder / "sub").mkdir()
    temporary_path(folder / LAST).write_bytes(b"half")
    raise KilledError


@pytest.fixture(params=["new", "empty", "leftovers", "mount point", "working folder", "read-only"])
def path(request, tmp_path, monkeypatch):
    """Return a path where a folder can be created, for each reason."""
    path = tmp_path / "parent" / "run"
    if request.param == "new":
        return path
    path.mkdir(parents=True)
    if request.param == "leftovers":
        temporary_path(path / "x").write_bytes(b"half")
    elif request.param == "mount point":
        rename = Path.rename

        def busy(self, target):
            if Path(target) == path:
                raise OSError(16, "Device or resource busy")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", busy)
    elif request.param == "working folder":
        monkeypatch.chdir(path)
    elif request.param == "read-only":
        mkdir = Path.mkdir

        def denied(self, *arguments, **options):
            if self.parent == path.parent:
                raise PermissionError(13, "Permission denied")
            return mkdir(self, *arguments, **options)

        monkeypatch.setattr(Path, "mkdir", denied)
    return path


def test_folder_is_created_and_locked(path):
    with new_folder(path, fill, LAST):
        assert is_complete(path)
        with pytest.raises(RunError, match="in use"), lock_folder(path, "in use"):
            pass
    with lock_folder(path, "in use"):
        pass
    assert list(path.parent.iterdir()) == [path]


def test_killed_creation_is_repeated(path):
    with killed(), new_folder(path, fill_partly, LAST):
        pass
    assert is_vacant(path, LAST)
    create(path)
    assert list(path.parent.iterdir()) == [path]


def test_failed_creation_leaves_the_path_as_it_was(path):
    existed = path.exists()
    with pytest.raises(ZeroDivisionError), new_folder(path, lambda _: 1 / 0, LAST):
        pass
    assert path.exists() == existed
    assert not existed or not any(not p.name.endswith(".tmp") for p in path.iterdir())
    create(path)


def test_write_error_names_the_final_file(path):
    def fail(folder):
        raise WriteError(folder / "sub" / "x", "no space", "free some space")

    with pytest.raises(WriteError) as caught, new_folder(path, fail, LAST):
        pass
    assert str(caught.value) == f"{path}/sub/x: cannot be written (no space); free some space"


def test_folder_that_another_process_created_meanwhile_is_left_alone(path):
    inside = []

    def create_both(folder):
        fill(folder)
        if not inside:
            inside.append(1)
            with contextlib.suppress(NotVacantError, RunError):
                create(path)
                (path / "winner").touch()

    with contextlib.suppress(NotVacantError, RunError), new_folder(path, create_both, LAST):
        assert is_complete(path)
        return
    assert (path / "winner").exists()


@pytest.mark.parametrize("exists", [False, True])
def test_one_of_many_threads_creates_the_folder(tmp_path, exists):
    path, results, barrier = tmp_path / "run", [], threading.Barrier(8)
    if exists:
        path.mkdir()

    def run(number):
        def write(folder):
            write_atomic(folder / "number", str(number).encode())
            write_atomic(folder / LAST, b"")

        barrier.wait()
        try:
            with new_folder(path, write, LAST):
                results.append(number)
        except NotVacantError:
            pass

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = results
    assert (path / "number").read_bytes() == str(winner).encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["file", "hidden", "folder"])
def test_folder_with_content_is_rejected(tmp_path, content):
    path = tmp_path / "run"
    path.mkdir()
    entry = path / {"file": "x", "hidden": ".x", "folder": "sub"}[content]
    entry.mkdir() if content == "folder" else entry.touch()
    with pytest.raises(NotVacantError), new_folder(path, fill, LAST):
        pass
    assert list(path.iterdir()) == [entry]
    assert list(tmp_path.iterdir()) == [path]


def test_file_is_rejected(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(NotVacantError), new_folder(tmp_path / "run", fill, LAST):
        pass


def test_complete_folder_with_a_marker_is_rejected(tmp_path):
    """The process was killed after it wrote the last file, before it removed the marker."""
    for name in (MARKER, LAST):
        (tmp_path / name).touch()
    with pytest.raises(NotVacantError), new_folder(tmp_path, fill, LAST):
        pass


@pytest.mark.skipif(os.name == "nt", reason="needs symbolic links")
def test_link_to_an_empty_folder_is_kept(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    create(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert is_complete(tmp_path / "target")


def test_folder_on_a_network_mount_keeps_its_lock_when_it_is_renamed(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "mount_type", lambda path: "nfs4")
    path = tmp_path / "run"
    with new_folder(path, fill, LAST):
        assert (path / ".lock").exists()
        with pytest.raises(RunError, match="in use"), lock_folder(path, "in use"):
            pass
    assert not (path / ".lock").exists()
    assert is_complete(path)


def test_hidden_folder_of_a_running_process_is_kept(tmp_path):
    hidden = temporary_path(tmp_path / "run")
    hidden.mkdir()
    with lock_folder(hidden, "in use"):
        create(tmp_path / "run")
        assert hidden.exists()


def test_abandoned_hidden_folders_of_other_names_are_kept(tmp_path):
    hidden = temporary_path(tmp_path / "other")
    hidden.mkdir()
    create(tmp_path / "run")
    assert hidden.exists()
