"""Records the state of a folder before every file operation of a command.

A process that is killed by SIGKILL runs no cleanup, so that a test that raises an exception at a
write tests something else. The recorder lets the command run to its end, and copies the folder
before each operation. A copy is what a kill at this moment leaves behind.

Data that was written but not flushed to the disk by `os.fsync` may be missing after a power
failure. For each file with such data there are two more copies: without the data, and with half of
it. The latter also stands for a kill within a write.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Content = bytes | None | str
"""Of a path: the bytes of a file, None for a folder, the target of a symbolic link."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS_OF_EVENT = {
    "os.mkdir": 1,
    "os.rename": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.link": 2,
    "os.symlink": 2,
    "os.truncate": 1,
}
"""Audit events of changes, and how many of their arguments are paths (`sys.addaudithook`)."""


@dataclass(frozen=True)
class State:
    """The content of a folder at one moment.

    Attributes:
        number: of the operation that follows.
        operation: that follows, such as ``os.rename run/config.toml``.
        variant: what of the data that was not flushed is there: ``all``, ``none`` or ``half``.
        content: by path relative to the folder, parents before children.
    """

    number: int
    operation: str
    variant: str
    content: Mapping[str, Content]

    @property
    def label(self) -> str:
        """The moment, as text."""
        return f"before {self.number}: {self.operation}, unflushed data: {self.variant}"

    def restore(self, folder: Path) -> None:
        """Create the files in an empty folder."""
        for name, content in self.content.items():
            path = folder / name
            if content is None:
                path.mkdir()
            elif isinstance(content, str):
                path.symlink_to(content)
            else:
                path.write_bytes(content)

    def digest(self) -> str:
        """Return a hash of names and content."""
        digest = hashlib.sha256()
        for name, content in sorted(self.content.items()):
            kind = type(content).__name__
            data = content if isinstance(content, bytes) else str(content).encode()
            digest.update(f"{name}\0{kind}\0{len(data)}\0".encode(errors="surrogateescape") + data)
        return digest.hexdigest()


@dataclass
class Recorder:
    """Collects the different states of a folder, in the order of time.

    Attributes:
        folder: that is recorded, with everything in it.
        states: so far, each content once.
        operations: all operations, also those that did not change anything.
    """

    folder: Path
    states: list[State] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    _flushed_size: dict[str, int] = field(default_factory=dict)
    _digests: set[str] = field(default_factory=set)
    _lock: Any = field(default_factory=threading.RLock)

    def record(self, operation: str) -> None:
        """Add the present state of the folder and its variants, unless they are known."""
        content = read_folder(self.folder)
        number = len(self.operations)
        self.operations.append(operation)
        for variant, part in (("all", 1.0), ("none", 0.0), ("half", 0.5)):
            state = State(number, operation, variant, self._without_unflushed(content, part))
            digest = state.digest()
            if digest not in self._digests:
                self._digests.add(digest)
                self.states.append(state)

    def on_audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Record a change of the folder that is about to happen."""
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & WRITING or isinstance(path, int):
                return
            self._before(event, [path], flags)
        elif event in PATHS_OF_EVENT:
            self._before(event, list(arguments[: PATHS_OF_EVENT[event]]), 0)

    def on_fsync(self, descriptor: int) -> None:
        """Record the state before a flush; afterwards the data of the file is safe."""
        name = self._name(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        if name is None:
            return
        with self._lock:
            self.record(f"os.fsync {name}")
            self._flushed_size.pop(name, None)

    def _before(self, event: str, paths: list[Any], flags: int) -> None:
        names = [self._name(path) for path in paths]
        if not any(name is not None for name in names):
            return
        with self._lock:
            self.record(f"{event} {names[-1]}")
            first, last = names[0], names[-1]
            if event == "open" and first is not None:
                is_kept = not flags & os.O_TRUNC and (self.folder / first).is_file()
                size = (self.folder / first).stat().st_size if is_kept else 0
                self._flushed_size[first] = min(size, self._flushed_size.get(first, size))
            elif event == "os.remove" and first is not None:
                self._flushed_size.pop(first, None)
            elif event == "os.rename":
                self._rename(first, last)

    def _rename(self, source: str | None, target: str | None) -> None:
        moved = {}
        for name, size in list(self._flushed_size.items()):
            if source is not None and (name == source or name.startswith(f"{source}/")):
                del self._flushed_size[name]
                if target is not None:
                    moved[target + name[len(source) :]] = size
            elif name == target:
                del self._flushed_size[name]
        self._flushed_size |= moved

    def _without_unflushed(
        self, content: Mapping[str, Content], fraction: float
    ) -> Mapping[str, Content]:
        cut = dict(content)
        for name, flushed in self._flushed_size.items():
            data = content.get(name)
            if isinstance(data, bytes):
                cut[name] = data[: flushed + int((len(data) - flushed) * fraction)]
        return cut

    def _name(self, path: Any) -> str | None:
        """Return a path relative to the folder; None if it is not in it."""
        text = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - keeps symbolic links
        prefix = f"{self.folder}/"
        return text.removeprefix(prefix) if text.startswith(prefix) else None


def read_folder(folder: Path) -> dict[str, Content]:
    """Return the content of all paths in a folder, parents before children."""
    content: dict[str, Content] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            content[name] = os.readlink(path)  # noqa: PTH115
        elif path.is_dir():
            content[name] = None
        else:
            content[name] = path.read_bytes()
    return content


_active: list[Recorder] = []
_installed = False


def _dispatch(event: str, arguments: tuple[Any, ...]) -> None:
    if _active and (event == "open" or event in PATHS_OF_EVENT):
        _active[-1].on_audit(event, arguments)


@contextlib.contextmanager
def recording(folder: Path) -> Iterator[Recorder]:
    """Record what this process changes in a folder until the end of the block."""
    global _installed  # noqa: PLW0603 - an audit hook cannot be removed
    if not _installed:
        sys.addaudithook(_dispatch)
        _installed = True
    recorder, fsync = Recorder(folder.resolve()), os.fsync

    def recorded_fsync(descriptor: int) -> None:
        recorder.on_fsync(descriptor)
        fsync(descriptor)

    _active.append(recorder)
    os.fsync = recorded_fsync  # type: ignore[assignment]
    try:
        yield recorder
    finally:
        os.fsync = fsync
        _active.remove(recorder)
    recorder.record("end")
