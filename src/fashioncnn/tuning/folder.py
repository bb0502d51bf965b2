"""The folder of a search: its configuration, journal and best recipe."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from fashioncnn.config import override
from fashioncnn.errors import OtherVersionError, RunError, UsageError
from fashioncnn.files import reject_url, write_atomic
from fashioncnn.locks import FolderLock, lock_folder
from fashioncnn.reading import parse_toml, read_toml, reason
from fashioncnn.reporting.trials import Finalist, Trial, best_finalist, best_trial
from fashioncnn.settings import SCHEMA, Settings
from fashioncnn.tuning.config import (
    CHANGEABLE,
    EARLIER,
    SearchConfig,
    describe_differences,
    fixed_settings,
    flatten,
)


@dataclass(frozen=True)
class SearchFolder:
    """The files of one search."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration of the search, `SearchConfig.to_dict`."""
        return self.path / "search.toml"

    @property
    def journal(self) -> Path:
        """Optuna's journal: one JSON object per line for each change of the study."""
        return self.path / "journal.log"

    @property
    def finalists_journal(self) -> Path:
        """The journal of the trainings of the finalists."""
        return self.path / "finalists.log"

    @property
    def best_recipe(self) -> Path:
        """The recipe of the best trial so far."""
        return self.path / "best.toml"

    def lock(self) -> contextlib.AbstractContextManager[FolderLock]:
        """Lock the folder for this process; see `fashioncnn.locks.lock_folder`."""
        return lock_folder(self.path, "another process is searching in this folder")

    def create(self) -> None:
        """Create the folder, unless it is empty or contains a search.

        Raises:
            UsageError: it contains other files, or cannot be written.
        """
        reject_url(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written ({error.strerror})") from None
        self.check()

    def check(self) -> None:
        """Check that the folder does not exist yet, is empty or contains a search.

        Raises:
            UsageError: it contains other files, or cannot be read.
        """
        if not self.path.exists():
            return
        try:
            # Hidden files are temporary files of a process that was killed while writing.
            has_files = any(not p.name.startswith(".") for p in self.path.iterdir())
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written ({error.strerror})") from None
        if has_files and not self.config.exists():
            raise UsageError(
                f"--out {self.path}: contains other files and no search; choose a new folder"
            )

    def with_recorded_precision(self, config: SearchConfig) -> SearchConfig:
        """Return the search with the precision that it selected when it was started.

        A measurement may select another one today; without ``auto`` in the recipe there was none.
        """
        if config.recipe.runtime.precision != "auto" or not self.config.exists():
            return config
        recorded = flatten(self._read_config()).get("settings.runtime.precision")
        if recorded not in ("fp32", "bf16"):  # damaged, which `store_config` reports
            return config
        return replace(config, settings=override(config.settings, {"runtime.precision": recorded}))

    def store_config(self, config: SearchConfig, study: str | None = None) -> None:
        """Write ``search.toml``; if it exists, check that it describes the same search.

        Args:
            config: of the search.
            study: its name in a database; None for a search with a journal.

        Raises:
            UsageError: it describes another search; the message lists the differences.
            OtherVersionError: it was written by another version of fashioncnn.
            RunError: it is damaged.
        """
        requested = {**config.to_dict(), **({"study": study} if study else {})}
        if not self.config.exists():
            write_atomic(self.config, tomli_w.dumps(requested).encode())
            return
        stored = self._read_config()
        differences = describe_differences(stored, parse_toml(tomli_w.dumps(requested)))
        if differences:
            raise UsageError(
                f"{self.path}: contains another search: {'; '.join(differences)}; repeat the "
                "options of that search, or choose a new folder with --out"
            )

    def write_best_recipe(
        self, config: SearchConfig, trials: list[Trial], finalists: Sequence[Finalist] = ()
    ) -> None:
        """Write the settings of the best trial as a recipe for ``fashioncnn train``.

        Args:
            config: of the search.
            trials: of the search; nothing is written if none is complete.
            finalists: the complete one with the lowest mean loss is the best trial, if there is
                one.
        """
        finalist = best_finalist(finalists)
        best = best_trial(trials) if finalist is None else finalist.trial
        if best is None:
            return
        settings = override(config.recipe, best.parameters)
        values = settings.model_dump(mode="json", exclude=CHANGEABLE, exclude_none=True)
        values["training"]["track_test"] = False
        if settings.runtime.precision != "fp32":
            values["runtime"] = {"precision": settings.runtime.precision}
        finished = sum(trial.is_finished for trial in trials)
        chosen = (
            f"best of {finished} by {config.sampler}, calibrated validation loss {best.loss:.4f}"
        )
        if finalist is not None:
            rivals = sum(f.is_complete for f in finalists)
            chosen = (
                f"chosen among {rivals} finalists of {finished} trials by {config.sampler}, "
                f"calibrated validation loss {finalist.describe_loss()}"
            )
        description = (
            f"{config.recipe.recipe}, tuned: trial {best.number}, {chosen} "
            f"on {config.data['name']} after {best.epochs} epochs"
        )
        text = tomli_w.dumps({"description": description, **values})
        write_atomic(self.best_recipe, text.encode())

    def _read_config(self) -> dict[str, Any]:
        """Return ``search.toml``, with the defaults of settings added since it was written."""
        try:
            stored = read_toml(self.config)
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config}: damaged ({reason(error)})") from None
        schema = stored.get("schema")
        if not isinstance(schema, int):
            raise RunError(f"{self.config}: damaged (has no schema number)")
        if schema != SCHEMA:
            raise OtherVersionError(
                f"{self.path}: a search of another version of fashioncnn (schema {schema}; this "
                f"version has {SCHEMA}); start a new search in another folder with --out"
            )
        stored = {**EARLIER, **stored}
        with contextlib.suppress(ValidationError, KeyError, TypeError):
            settings = Settings.model_validate({"recipe": "", **stored["settings"]}, strict=False)
            stored["settings"] = fixed_settings(settings)
        return stored
