"""The folder of a group: runs that differ only in their seed, each in a run folder of its own.

group.toml    schema and seeds
seed-0/       a run folder
seed-1/
report.html   the report of all of them, written last
report.md
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from fashioncnn.errors import OtherVersionError, RunError
from fashioncnn.files import make_folder, write_atomic
from fashioncnn.locks import FolderLock, lock_folder
from fashioncnn.reading import read_toml, reason
from fashioncnn.runs import GROUP, RunFolder, new_output
from fashioncnn.settings import SCHEMA, Settings

WriteRun = Callable[[RunFolder, Settings], None]
"""Writes what a new run needs beside its settings."""


@dataclass(frozen=True)
class GroupFolder:
    """The paths of one group."""

    path: Path

    @property
    def config(self) -> Path:
        """Schema and seeds; the file that makes a folder a group."""
        return self.path / GROUP

    @property
    def report(self) -> Path:
        """The report of all runs, the last file of a group."""
        return self.path / "report.html"

    def run(self, seed: int) -> RunFolder:
        """Return the run with a seed."""
        return RunFolder(self.path / f"seed-{seed}")

    @property
    def runs(self) -> list[RunFolder]:
        """All runs, in the order of `seeds`."""
        return [self.run(seed) for seed in self.seeds()]

    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the runs.

        Raises:
            OtherVersionError: the group was written by another version.
            RunError: its ``group.toml`` is damaged.
        """
        try:
            values = read_toml(self.config)
            schema, seeds = values["schema"], values["seeds"]
            is_list = isinstance(seeds, list) and seeds != []
            if schema == SCHEMA and not (is_list and all(type(seed) is int for seed in seeds)):
                raise ValueError("seeds: should be integers")
        except KeyError as error:
            raise RunError(f"{self.config}: damaged (missing: {error.args[0]})") from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config}: damaged ({reason(error)})") from None
        if schema != SCHEMA:
            raise OtherVersionError(
                f"{self.config}: written by another version of fashioncnn (schema {schema})"
            )
        return tuple(seeds)

    def lock(self) -> contextlib.AbstractContextManager[FolderLock]:
        """Lock the group for this process; see `fashioncnn.locks.lock_folder`."""
        return lock_folder(self.path, "another process is training this group")


def is_group(path: Path) -> bool:
    """Return whether a folder is a group."""
    return (path / GROUP).is_file()


@contextlib.contextmanager
def new_group(
    out: Path | None,
    seeds: Sequence[int],
    settings: Settings,
    write: WriteRun,
    root: Path = Path("runs"),
) -> Iterator[GroupFolder]:
    """Create a group with all its run folders, complete, and hold its lock during the block.

    Args:
        out: the folder, which must be new or empty; None is the next free ``runs/train-N``.
        seeds: of the runs.
        settings: of all runs, resolved; each gets its own seed.
        write: called for each run, in a folder that is renamed later.
        root: parent of the numbered folders.

    Raises:
        UsageError: `out` is not empty, or cannot be created.
        WriteError: a file cannot be written.
    """

    def fill(path: Path) -> None:
        group = GroupFolder(path)
        for seed in seeds:
            run, of_seed = group.run(seed), with_seed(settings, seed)
            make_folder(run.path)
            write(run, of_seed)
            write_atomic(run.config, of_seed.to_toml().encode())
        content = {"schema": SCHEMA, "seeds": list(seeds)}
        write_atomic(group.config, tomli_w.dumps(content).encode())

    with new_output(out, fill, GROUP, root) as path:
        yield GroupFolder(path)


def with_seed(settings: Settings, seed: int) -> Settings:
    """Return the settings with another training seed."""
    training = settings.training.model_copy(update={"seed": seed})
    return settings.model_copy(update={"training": training})
