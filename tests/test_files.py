"""Atomic writes, locks, and the cache folder."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest

from fashioncnn import files
from fashioncnn.errors import RunError, UsageError
from fashioncnn.files import (
    atomic_file,
    cache_folder,
    expand_user,
    lock_folder,
    write_atomic,
    write_json,
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
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
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


def test_locked_folder_is_rejected_until_the_lock_is_released(tmp_path):
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
