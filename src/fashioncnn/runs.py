"""The run folder: its files, and how a new one is created."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fashioncnn.checksum import (
    CHECKSUM,
    ChecksumError,
    json_sha256,
    with_checksum,
    without_checksum,
)
from fashioncnn.config import read_settings, read_toml
from fashioncnn.documents import DocumentKind, check_document
from fashioncnn.errors import OtherVersionError, RunError, UsageError, WriteError
from fashioncnn.files import make_folder, remove_temporary_files, write_atomic, write_json
from fashioncnn.locks import lock_folder
from fashioncnn.migration import migrate_environment, resuming_error
from fashioncnn.new_folder import MARKER, NotVacantError, new_folder
from fashioncnn.reading import (
    HISTORY_BYTES,
    METRICS_BYTES,
    is_url,
    missing,
    parse_json,
    read_bytes,
    reason,
)
from fashioncnn.reading import read_json as read_json_file
from fashioncnn.settings import SCHEMA, Settings

READABLE_SCHEMAS = (1, SCHEMA)
"""Versions of JSON documents that are read; 1 was written by fashioncnn 0.1."""


KEYS_OF_0_2_0 = {
    "metrics.json": {"schema", "validation", "test", "summary"},
    "environment.json": {
        *("schema", "python", "platform", "packages", "git_commit"),
        *("cpu", "cores", "gpu", "device", "precision", "threads", "kernels"),
        *("data", "initialized_from", "teachers"),
    },
}
"""Keys of the documents that version 0.2.0 wrote, without a checksum."""
CONFIG = "config.toml"
"""Name of the file that makes a folder a run."""
SHA256 = "sha256"
"""Key in metrics.json of the hashes of what belongs to the metrics."""
GROUP = "group.toml"
"""Name of the file that makes a folder a group of runs; see `fashioncnn.groups`."""


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings."""
        return self.path / CONFIG

    @property
    def environment(self) -> Path:
        """Versions, machine and data hashes."""
        return self.path / "environment.json"

    @property
    def history(self) -> Path:
        """One line of JSON per epoch."""
        return self.path / "history.jsonl"

    @property
    def metrics(self) -> Path:
        """Metrics by split, the last file that training writes."""
        return self.path / "metrics.json"

    @property
    def report(self) -> Path:
        """The report, the last file of a run; teachers of a run have none."""
        return self.path / "report.html"

    @property
    def predictions(self) -> Path:
        """Logits, labels and indices by split."""
        return self.path / "predictions.npz"

    @property
    def checkpoints(self) -> Path:
        """The last two checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.path / "model"

    @property
    def initial(self) -> Path:
        """Model folder with the weights that the folds of a cross-validation start from."""
        return self.path / "initial"

    @property
    def trained(self) -> bool:
        """Whether the run was trained to its end: it has metrics and a model."""
        return self.metrics.exists()

    @property
    def finished(self) -> bool:
        """Whether everything was written: the run is trained and has a report of that."""
        return self.trained and self.report.exists()

    def mark_unfinished(self) -> None:
        """Remove what marks the run as finished, before its model changes."""
        self.report.unlink(missing_ok=True)
        self.metrics.unlink(missing_ok=True)

    def is_complete(self) -> bool:
        """Return whether a trained run still has its metrics and its model.

        Raises:
            OtherVersionError: its metrics were written by a later version.
        """
        try:
            self.require_intact()
        except OtherVersionError:
            raise
        except RunError:
            return False
        return all((self.model / name).is_file() for name in ("config.json", "model.safetensors"))

    def teacher(self, number: int) -> RunFolder:
        """Return the run folder of a teacher, counted from 1; it may not exist yet."""
        return RunFolder(self.path / "teachers" / str(number))

    def settings(self) -> Settings:
        """Return the settings of the run."""
        return read_settings(self.config)

    def require_resumable(self) -> None:
        """Raise `OtherVersionError` if the run was started by version 0.1."""
        if "schema" not in read_toml(self.config):
            raise resuming_error(self.path)

    def read_metrics(self) -> dict[str, Any]:
        """Return the content of metrics.json.

        Raises:
            OtherVersionError: it was written by a later version.
            RunError: it is missing or damaged, or does not belong to the settings or history.
        """
        values = self.require_intact()
        require_valid(self.metrics, "metrics", values)
        return values

    def write_metrics(self, metrics: dict[str, Any]) -> None:
        """Write metrics.json, with the hashes of the settings and the history, and a checksum."""
        hashes = {path.name: sha256 for path, sha256 in self._hashes().items()}
        write_json(self.metrics, with_checksum({**metrics, SHA256: hashes}))

    def require_intact(self) -> dict[str, Any]:
        """Return the metrics, not validated, of a trained run whose documents are intact.

        Raises:
            OtherVersionError: they were written by a later version.
            RunError: the metrics are missing, or they, the settings or the history were changed
                since the training.
        """
        values = read_json(self.metrics, "validation", "test", "summary")
        expected = values.pop(SHA256, None)
        if expected is None:  # versions 0.1 and 0.2.0
            return values
        for path, sha256 in self._hashes().items():
            if expected.get(path.name) != sha256:
                raise RunError(
                    f"{path}: damaged, or edited since the training ended; restore it, or resume "
                    "the run"
                )
        return values

    def _hashes(self) -> dict[Path, str]:
        """Return the SHA-256 of the settings and the history; the folder of the data may change."""
        settings = read_toml(self.config)
        data = settings.get("data")
        if isinstance(data, dict):
            settings["data"] = {key: value for key, value in data.items() if key != "source"}
        try:
            history = read_bytes(self.history, HISTORY_BYTES)
        except OSError as error:
            raise RunError(f"{self.history}: damaged ({reason(error)})") from None
        return {
            self.config: json_sha256(settings),
            self.history: hashlib.sha256(history).hexdigest(),
        }

    def read_environment(self) -> dict[str, Any]:
        """Return the content of environment.json in schema 2; empty if it is missing.

        Raises:
            OtherVersionError: it was written by a later version.
            RunError: it is damaged.
        """
        if not self.environment.exists():
            return {}
        return migrate_environment(read_json(self.environment))

    def read_history(self) -> list[dict[str, Any]]:
        """Return one record per epoch; empty before the end of the first epoch."""
        if not self.history.exists():
            return []
        try:
            lines = read_bytes(self.history, HISTORY_BYTES).splitlines()
            records = [parse_json(line) for line in lines]
            if not all(record["epoch"] == at for at, record in enumerate(records, 1)):
                raise ValueError("epochs are missing or not in order")
        except (OSError, ValueError) as error:
            raise RunError(f"{self.history}: damaged ({reason(error)})") from None
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.history}: damaged ({error})") from None
        return records

    def write_history(self, records: list[dict[str, Any]]) -> None:
        """Replace the history."""
        text = "".join(json.dumps(record) + "\n" for record in records)
        write_atomic(self.history, text.encode())

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run for this process, and remove temporary files of killed ones.

        Raises:
            RunError: another process holds the lock.
        """
        with lock_folder(self.path, "another process is training or evaluating this run"):
            (self.path / MARKER).unlink(missing_ok=True)
            for folder in (self.checkpoints, self.model):
                remove_temporary_files(folder)
            yield


def create_run(out: Path | None, settings: Settings, root: Path = Path("runs")) -> RunFolder:
    """Create a run folder with its settings; see `new_run`. It is not locked."""
    with new_run(out, settings, root=root) as run:
        return run


@contextlib.contextmanager
def new_run(
    out: Path | None,
    settings: Settings,
    write: Callable[[RunFolder], None] | None = None,
    root: Path = Path("runs"),
) -> Iterator[RunFolder]:
    """Create a run folder, complete, and hold its lock during the block.

    Args:
        out: the run folder, which must be new or empty; None is the next free ``runs/train-N``.
        settings: resolved.
        write: writes further files that the run needs, into a folder that is renamed later.
        root: parent of the numbered runs.

    Raises:
        UsageError: `out` is not empty, or cannot be created.
        WriteError: a file cannot be written.
    """

    def fill(path: Path) -> None:
        run = RunFolder(path)
        if write is not None:
            write(run)
        write_atomic(run.config, settings.to_toml().encode())

    with new_output(out, fill, CONFIG, root) as path:
        yield RunFolder(path)


@contextlib.contextmanager
def new_output(
    out: Path | None, fill: Callable[[Path], None], last: str, root: Path
) -> Iterator[Path]:
    """Create the folder of a run or group, complete, and hold its lock during the block.

    Args:
        out: the folder, which must be new or empty; None is the next free ``runs/train-N``.
        fill: writes the content into a folder that is renamed later.
        last: name of the file that `fill` writes last.
        root: parent of the numbered folders.

    Raises:
        UsageError: `out` is not empty, or cannot be created.
        WriteError: a file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        path = root if out is None else out
        try:
            if out is None:
                path = _enter_numbered(root, fill, last, stack)
            else:
                stack.enter_context(new_folder(out, fill, last))
        except NotVacantError:
            can_resume = (path / CONFIG).exists() or (path / GROUP).exists()
            resume = f", or resume it with --resume {out}" if can_resume else ""
            what = "not empty" if path.is_dir() else "not a folder"
            raise UsageError(f"--out {out}: {what}; name a new folder{resume}") from None
        except WriteError as error:
            if error.path in (path, path.parent):
                raise UsageError(str(error)) from None
            raise
        yield path


def open_run(path: Path) -> RunFolder:
    """Return the run at `path`.

    Raises:
        UsageError: there is no run.
    """
    run = RunFolder(path)
    if is_url(path):
        raise UsageError(missing(path))
    if not path.is_dir():
        raise UsageError(
            f"{path}: no such run folder; name an existing one, or start one with train --out "
            f"{path}"
        )
    if run.config.exists():
        return run
    reject_group(path)
    if (path / MARKER).exists():
        raise UsageError(
            f"{path}: the run was not created completely; repeat the command that started it"
        )
    raise UsageError(f"{path}: not a run folder (it has no {CONFIG})")


def reject_group(path: Path) -> None:
    """Raise `UsageError` if a folder is a group where a single run is needed."""
    if (path / GROUP).exists():
        example = next(iter(sorted(path.glob("seed-*"))), path / "seed-0")
        raise UsageError(f"{path}: a group of runs; name one of them, such as {example}")


def read_json(path: Path, *required: str) -> dict[str, Any]:
    """Return the content of a JSON file of a run, without its checksum; before 0.3 it had none.

    Raises:
        OtherVersionError: its schema is not one of `READABLE_SCHEMAS`.
        RunError: it cannot be read, its checksum does not match, or one of the `required` keys is
            missing.
    """
    try:
        value = read_json_file(path, METRICS_BYTES)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        schema = value.get("schema", SCHEMA)
        if schema not in READABLE_SCHEMAS:
            raise OtherVersionError(
                f"{path}: written by another version of fashioncnn (schema {schema}; this version "
                f"reads {' and '.join(map(str, READABLE_SCHEMAS))}); use that version"
            )
        if schema != 1 or CHECKSUM in value:
            value = without_checksum(value, KEYS_OF_0_2_0.get(path.name, ()))
        values: dict[str, Any] = value
        missing = [key for key in required if key not in values]
        if missing:
            raise ValueError(f"missing: {', '.join(missing)}")
    except ChecksumError as error:
        raise RunError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: damaged ({reason(error)})") from None
    return values


def require_valid(path: Path, kind: DocumentKind, values: Any) -> None:
    """Raise `RunError` if the document at `path`, or a line of it, has another structure."""
    try:
        check_document(kind, values)
    except ValueError as error:
        raise RunError(f"{path}: damaged ({error})") from None


def _enter_numbered(
    root: Path, fill: Callable[[Path], None], last: str, stack: contextlib.ExitStack
) -> Path:
    """Create the folder of the next free number, enter its lock, and return its path."""
    make_folder(root)
    taken = [int(p.name[6:]) for p in root.glob("train-*") if p.name[6:].isdecimal()]
    number = max(taken, default=0) + 1
    while True:
        path = root / f"train-{number}"
        with contextlib.suppress(NotVacantError):
            stack.enter_context(new_folder(path, fill, last))
            return path
        number += 1
