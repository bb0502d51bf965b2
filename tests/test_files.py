"""Atomic writes, their errors and leftovers, and the cache folder."""

import errno
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from PIL import Image

from fashioncnn import files
from fashioncnn.errors import UsageError, WriteError
from fashioncnn.files import (
    REMEDIES,
    atomic_file,
    cache_folder,
    expand_user,
    make_folder,
    remove_temporary_files,
    temporary_path,
    write_atomic,
    write_json,
    write_png,
)


@pytest.fixture
def path(tmp_path):
    """Return a file with old content in an otherwise empty folder."""
    path = tmp_path / "metrics.json"
    path.write_bytes(b"old")
    return path


def interrupt_at(number, function):
    """Call `function`; interrupt it at the bytecode of that number in `fashioncnn.files`.

    Returns:
        Whether it was interrupted.
    """
    remaining = number

    def trace(frame, event, argument):
        nonlocal remaining
        if frame.f_code.co_filename != files.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            remaining -= 1
            if remaining == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # unclosed files
def test_write_interrupted_anywhere_leaves_old_or_new_content_and_nothing_else(path):
    contents, number = set(), 0
    interrupted = True
    while interrupted:
        number += 1
        path.write_bytes(b"old")
        interrupted = interrupt_at(number, lambda: write_atomic(path, b"new"))
        contents.add(path.read_bytes())
        assert list(path.parent.iterdir()) == [path], f"interrupted at bytecode {number}"
    assert number > 50
    assert contents == {b"old", b"new"}


def test_failed_write_leaves_the_old_content(path, monkeypatch):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    message = f"{path}: cannot be written (No space left on device); free some space"
    with pytest.raises(WriteError, match=f"^{re.escape(message)}"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_error_in_the_block_leaves_the_old_content(path):
    with pytest.raises(ZeroDivisionError), atomic_file(path) as file:
        file.write(b"half of the new cont")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_content_is_not_visible_before_the_block_ends(path):
    with atomic_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="needs permissions of Unix")
def test_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_json_is_written_and_values_that_are_not_finite_are_rejected(path):
    write_json(path, {"a": [1, None, 0.1 + 0.2]})
    assert json.loads(path.read_bytes()) == {"a": [1, None, 0.1 + 0.2]}
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, float("nan"))
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="needs limits of Unix")
def test_error_during_a_write_is_reported_with_the_final_name_and_a_remedy(path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        for write in (
            lambda: write_atomic(path, b"x" * 100_000),
            lambda: write_png(path, Image.effect_noise((99, 99), 50)),
        ):
            with pytest.raises(WriteError) as caught:
                write()
            message = f"{path}: cannot be written (File too large); {REMEDIES[errno.EFBIG]}"
            assert str(caught.value) == message
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "none/x.json",
            r"none/x\.json: cannot be written \(No such file.*\); check that its folder exists",
        ),
        (
            "metrics.json/x",
            r"metrics\.json/x: .*\(Not a directory\); a folder in this path is a file",
        ),
        ("folder", r"folder: cannot be written \(Is a directory\); this is a folder; name a file"),
        ("x" * 256, r"\(File name too long\); use a shorter name"),
    ],
    ids=["missing folder", "file as folder", "folder", "long name"],
)
def test_impossible_path_is_reported_with_a_remedy(path, name, message):
    (path.parent / "folder").mkdir()
    before = sorted(path.parent.iterdir())
    with pytest.raises(WriteError, match=message):
        write_atomic(path.parent / name, b"new")
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "obstacle"),
    [
        ("loop/inner", r"a symbolic link points to itself"),
        ("dangling", r"dangling is a symbolic link that leads nowhere"),
        ("metrics.json/inner", r"metrics\.json is not a folder"),
        ("metrics.json", r"metrics\.json is not a folder"),
    ],
)
def test_folder_where_something_else_is_names_it(path, name, obstacle):
    (path.parent / "loop").symlink_to("loop")
    (path.parent / "dangling").symlink_to("missing")
    message = (
        rf"{name}: cannot be written \(.*\); .*({obstacle}|a folder in this path is a file); name"
    )
    with pytest.raises(WriteError, match=message):
        make_folder(path.parent / name)


def test_file_with_the_longest_possible_name_is_written(tmp_path):
    path = tmp_path / ("é" * 125 + ".json")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


def test_error_of_the_caller_is_not_reported_as_one_of_writing(path):
    with pytest.raises(BrokenPipeError), atomic_file(path):
        raise BrokenPipeError


def test_temporary_files_of_killed_processes_are_removed(path):
    temporary_path(path).write_bytes(b"half")
    other = temporary_path(path.with_name("other"))
    other.write_bytes(b"half")
    remove_temporary_files(path.parent, path.name)
    assert set(path.parent.iterdir()) == {path, other}
    remove_temporary_files(path.parent)
    assert list(path.parent.iterdir()) == [path]
    remove_temporary_files(path.parent / "none")


def test_files_that_are_not_temporary_are_kept(path):
    for name in (".hidden", ".name.12345678", "x.12345678.tmp", ".x.1234567.tmp", ".x.tmp"):
        path.with_name(name).write_bytes(b"")
    temporary_path(path).mkdir()
    before = set(path.parent.iterdir())
    remove_temporary_files(path.parent)
    assert set(path.parent.iterdir()) == before


@pytest.mark.skipif(os.name == "nt", reason="needs flock")
def test_temporary_file_that_is_being_written_is_kept(path):
    with atomic_file(path) as file:
        remove_temporary_files(path.parent)
        file.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FASHIONCNN_HOME": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/fashioncnn"),
        ({"HOME": "/c"}, "/c/.cache/fashioncnn"),
        ({"HOME": "/c", "FASHIONCNN_HOME": "~/d"}, "/c/d"),
    ],
    ids=str,
)
def test_cache_folder_is_that_of_the_environment(variables, expected, monkeypatch):
    for name in ("FASHIONCNN_HOME", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)


def test_home_of_an_unknown_user_is_rejected():
    with pytest.raises(UsageError, match="--out = ~nobody-here/x: no such home folder"):
        expand_user("~nobody-here/x", "--out")
