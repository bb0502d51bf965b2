"""The run folder: what lies in it, and how it is written so that no crash leaves half a file."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fashioncnn.config import read_settings
from fashioncnn.errors import OtherVersionError, RunError, UsageError
from fashioncnn.settings import Settings

SCHEMA = 1
"""Of the JSON files in a run's folder, by which later versions can tell what they read."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / "config.toml"

    @property
    def environment(self) -> Path:
        """Versions, machine, data hashes."""
        return self.path / "environment.json"

    @property
    def history(self) -> Path:
        """A line of JSON for each epoch."""
        return self.path / "history.jsonl"

    @property
    def metrics(self) -> Path:
        """The judgements; its presence says that the run is finished."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """Logits and labels of each judged split."""
        return self.path / "predictions.npz"

    @property
    def checkpoints(self) -> Path:
        """The last two checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The trained network."""
        return self.path / "model"

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end."""
        return self.metrics.exists()

    def teacher(self, number: int) -> RunFolder:
        """Return the folder of a teacher's run, whether it has begun or not."""
        return RunFolder(self.path / "teachers" / str(number))

    def settings(self) -> Settings:
        """Return the settings of the run."""
        return read_settings(self.config)

    def read_environment(self) -> dict[str, Any]:
        """Return what the run depended on; nothing where that is lost, which ends no run.

        Raises:
            OtherVersionError: it was written by another version of the package.
        """
        try:
            return read_json(self.environment)
        except OtherVersionError:
            raise
        except RunError:
            return {}

    def read_history(self) -> list[dict[str, Any]]:
        """Return one record an epoch; none before the first epoch's end."""
        if not self.history.exists():
            return []
        try:
            records = [json.loads(line) for line in self.history.read_text("utf-8").splitlines()]
            if not all(record["epoch"] == at for at, record in enumerate(records, 1)):
                raise ValueError("its epochs are not in order")
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(f"{self.history}: damaged ({error})") from None
        return records

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Replace the history."""
        text = "".join(json.dumps(record) + "\n" for record in records)
        write_atomic(self.history, text.encode())

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep every other process from training or judging in this folder."""
        return lock_folder(self.path, "another process is training or judging this run")


@contextlib.contextmanager
def lock_folder(path: Path, otherwise: str) -> Iterator[None]:
    """Hold a folder for this process alone; the system lets go of it however the process ends.

    Raises:
        RunError: another process holds it, which `otherwise` says.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no flock
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{path}: {otherwise}") from None
        yield
    finally:
        os.close(descriptor)


def create_run(out: Path | None, settings: Settings, root: Path = Path("runs")) -> RunFolder:
    """Claim a folder for a new run and write its settings.

    Args:
        out: the run folder itself; must be new or empty. None takes the next free
            ``runs/train-N``.
        settings: the resolved settings.
        root: where numbered runs go.

    Raises:
        UsageError: `out` already holds something, or cannot be made.
    """
    try:
        run = RunFolder(_claim_numbered(root) if out is None else _claim(out))
        write_atomic(run.config, settings.to_toml().encode())
    except OSError as error:
        raise UsageError(f"{out or root}: cannot be written ({error.strerror})") from None
    return run


def open_run(path: Path) -> RunFolder:
    """Return the run at `path`.

    Raises:
        UsageError: there is no run.
    """
    run = RunFolder(path)
    if not path.is_dir():
        raise UsageError(f"{path}: no such run folder")
    if not run.config.exists():
        raise UsageError(f"{path}: not a run folder (it has no config.toml)")
    return run


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds either all of it or what it held before."""
    with atomic_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write; `path` holds all of it once the block ends, what it held till then.

    Where the block ends with an error, it goes on holding that.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read_json(path: Path, *required: str) -> dict[str, Any]:
    """Return the content of a JSON file of a run.

    Raises:
        OtherVersionError: it is of another `SCHEMA`.
        RunError: it cannot be read, or lacks one of the `required` keys.
    """
    try:
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict):
            raise ValueError("it has no keys")
        if value.get("schema", SCHEMA) != SCHEMA:
            raise OtherVersionError(
                f"{path}: of another version of fashioncnn (schema {value['schema']}, and this one "
                f"reads {SCHEMA}); use that version"
            )
        missing = [key for key in required if key not in value]
        if missing:
            raise ValueError(f"it has no {' and no '.join(missing)}")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged ({error})") from None
    return value


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def _claim(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        go_on = f", or go on with --resume {out}" if (out / "config.toml").exists() else ""
        raise UsageError(f"--out {out}: already holds something; name a new folder{go_on}")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _claim_numbered(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    taken = [int(p.name[6:]) for p in root.glob("train-*") if p.name[6:].isdecimal()]
    number = max(taken, default=0) + 1
    while True:
        with contextlib.suppress(FileExistsError):
            path = root / f"train-{number}"
            path.mkdir()
            return path
        number += 1


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
