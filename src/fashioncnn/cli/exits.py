"""How every command ends: the exit code and one line on stderr, whatever happened."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from fashioncnn.cli.file_errors import file_error
from fashioncnn.cli.ranks import report_failure
from fashioncnn.cli.signals import RaiseOnSignal
from fashioncnn.errors import FashionCNNError

OUT_OF_MEMORY = "not enough memory; close other programs, or use less data"
MEMORY_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "can't start new thread",
    "std::bad_alloc",
)
"""In messages of PyTorch, of the loader of shared libraries, and of Python's threads."""


def run(command: Callable[[], None], *, ends_process: bool = False) -> int:
    """Run a command and return its exit code; see `fashioncnn.errors`.

    Args:
        command: to run.
        ends_process: whether the process ends afterwards.
    """
    _open_closed_streams()
    with RaiseOnSignal(ends_process=ends_process) as signals, _named_stdout():
        try:
            return _run(command)
        except BaseException as error:  # some libraries replace KeyboardInterrupt by their own
            if signals.received is None and not isinstance(error, KeyboardInterrupt):
                raise
            return _interrupted(signals.received or signal.SIGINT)
        finally:
            for stream in (sys.stdout, sys.stderr):
                _discard_unwritten(stream)


def _run(command: Callable[[], None]) -> int:
    try:
        command()
        sys.stdout.flush()
    except FashionCNNError as error:
        return _fail(error)
    except BrokenPipeError:  # the reader of the output has exited, such as `head`
        return 1
    except (MemoryError, RuntimeError, ImportError, OSError) as error:
        if _is_out_of_memory(error):
            report_failure(lambda: _print_plainly(OUT_OF_MEMORY), 1)
            return 1
        if not isinstance(error, OSError):
            raise
        return _fail(file_error(error, _subject(error)))
    return 0


def _open_closed_streams() -> None:
    """Replace standard streams that are closed, and let output contain any file name."""
    # Each takes the lowest free descriptor, which is its own. Child processes inherit it.
    if sys.stdin is None:  # closed by `<&-`
        sys.stdin = open(_null(os.O_RDONLY))  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(_null(os.O_WRONLY), "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(_null(os.O_WRONLY), "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def _named_stdout() -> Iterator[None]:
    """Make errors of stdout name it, so that they differ from those of files."""
    stdout = sys.stdout
    sys.stdout = cast(TextIO, _NamedStream(stdout, "standard output"))
    try:
        yield
    finally:
        sys.stdout = stdout


class _NamedStream:
    """A stream whose errors have its name as their `filename`."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        with self._naming():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._naming():
            self._stream.flush()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self._name
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _null(mode: int) -> int:
    descriptor = os.open(os.devnull, mode)
    os.set_inheritable(descriptor, True)
    return descriptor


def _discard_unwritten(stream: TextIO) -> None:
    """Discard output that cannot be written, so that Python does not fail to write it at exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):  # not a file, as in tests
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def _subject(error: OSError) -> str:
    """Return the name of what an error is about."""
    name = error.filename
    return os.fsdecode(name) if isinstance(name, str | bytes) else "a file"


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = str(error).lower()
    return not isinstance(error, OSError) and any(sign in text for sign in MEMORY_SIGNS)


def _interrupted(number: int) -> int:
    message = "terminated" if number == signal.SIGTERM else "interrupted"
    report_failure(lambda: _print_plainly(message), 128 + number)
    return 128 + number


def _fail(error: FashionCNNError) -> int:
    from fashioncnn.cli.console import note
    from fashioncnn.training.ranks import ReportedError

    with contextlib.suppress(OSError):
        report_failure(
            lambda: note(f"fashioncnn: {error}"),
            error.exit_code,
            elsewhere=isinstance(error, ReportedError),
        )
    return error.exit_code


def _print_plainly(message: str) -> None:
    """Print a short message without any import, which may have been interrupted."""
    with contextlib.suppress(OSError):
        print(f"fashioncnn: {message}", file=sys.stderr, flush=True)  # noqa: T201
