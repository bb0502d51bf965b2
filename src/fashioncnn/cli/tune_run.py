"""Running a search for ``fashioncnn tune``: recovery, signals, finalists, report."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna

from fashioncnn.cli.console import note
from fashioncnn.cli.signals import StopSignals
from fashioncnn.cli.tune_output import print_result
from fashioncnn.cli.tune_progress import FinalistLines, TrackedProgress, make_search_callback
from fashioncnn.data.options import load_arguments
from fashioncnn.errors import FashionCNNError, RunError
from fashioncnn.reporting.trials import Finalist, Trial, best_finalist, best_trial
from fashioncnn.tracking.options import TrackerOption
from fashioncnn.tracking.track import Track, tracking
from fashioncnn.tracking.tracker import Artifacts
from fashioncnn.tuning.address import Address
from fashioncnn.tuning.config import SearchConfig, flatten
from fashioncnn.tuning.finalists import read_finalists, run_finalists
from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.journal import repair_journal
from fashioncnn.tuning.pool import WorkerPool
from fashioncnn.tuning.report import make_dimensions, make_report, write_report
from fashioncnn.tuning.search import run_search
from fashioncnn.tuning.storage import Storage
from fashioncnn.tuning.study import open_journal, open_study, requeue_running_trials
from fashioncnn.tuning.trials import read_trials


@dataclass(frozen=True)
class SearchOptions:
    """How a search runs; nothing here determines its trials.

    Attributes:
        jobs: trials to train at a time.
        target: number of finished trials, including those of earlier calls.
        seconds: time limit.
        trial_timeout: seconds without progress after which a trial fails.
        finalists: number of trials to train again with other seeds.
        finalist_seeds: number of seeds for each.
        address: of a database; None for a journal in the folder.
        study: name of the search in the database.
        trackers: where to track.
        json: print a JSON document instead of tables.
    """

    jobs: int
    target: float
    seconds: float
    trial_timeout: float
    finalists: int
    finalist_seeds: int
    address: Address | None
    study: str
    trackers: Sequence[TrackerOption]
    json: bool


def run_search_in_folder(config: SearchConfig, path: Path, options: SearchOptions) -> None:
    """Start or resume a search, write its report and print the result.

    Args:
        config: configuration of the search.
        path: its folder.
        options: how it runs.

    Raises:
        UsageError: the folder or the study contains something else.
        RunError: the folder is locked or damaged, the database cannot be used, or no trial is
            complete.
        InterruptedRun: on SIGINT; finished trials are kept.
        TerminatedRun: on SIGTERM; finished trials are kept.
    """
    folder = SearchFolder(path)
    folder.check()
    with _open_storage(options) as storage:
        if options.address is not None:
            storage.open_study(config)  # before anything is written into the folder
        folder.create()
        with folder.lock():
            if not storage.is_shared:
                config = folder.with_recorded_precision(config)
            folder.store_config(config, options.study if storage.is_shared else None)
            _Run(config, folder, options, storage).run()


@contextlib.contextmanager
def _open_storage(options: SearchOptions) -> Iterator[Storage]:
    if options.address is None:
        yield Storage()
        return
    from fashioncnn.tuning.postgres import SharedStorage

    shared = SharedStorage(options.address, options.study)
    with contextlib.closing(shared), shared.errors():
        yield shared


class _Run:
    """One call of the command, with its folder locked."""

    def __init__(
        self, config: SearchConfig, folder: SearchFolder, options: SearchOptions, storage: Storage
    ) -> None:
        self.config, self.folder, self.options, self.storage = config, folder, options, storage
        self.study = self._open_study()
        self.finalists_study: optuna.Study | None = None
        self.deadline = time.monotonic() + options.seconds

    def run(self) -> None:
        """Search, train the finalists, write the report and print it."""
        self._note_start()
        name, parameters = self.folder.path.name, flatten(self.config.to_dict())
        with tracking(self.options.trackers, name, parameters, self.folder.path, note) as track:
            track.start()
            self._search(track)

    def _search(self, track: Track) -> None:
        callback = make_search_callback(make_dimensions(self.config.space))
        signals = StopSignals("run the same command to resume", "finished trials are kept")
        with (
            self._report_on_error(),
            contextlib.closing(self._workers()) as workers,
            signals,
            contextlib.closing(callback),
        ):
            tracked = TrackedProgress(callback, track, every=not self.storage.is_shared)
            trials = run_search(
                self.config,
                self.folder,
                self.study,
                workers,
                jobs=self.options.jobs,
                trials=self.options.target,
                seconds=self.options.seconds,
                reserved_runs=self.options.finalists * self.options.finalist_seeds,
                trial_timeout=self.options.trial_timeout,
                callback=tracked,
                stop=signals.reason,
                storage=self.storage,
            )
            tracked.on_end(trials)
            if self.options.finalists and best_trial(trials) is not None:
                self._train_finalists(workers, trials, signals, track)
        self._finish(trials, track)

    def _train_finalists(
        self, workers: WorkerPool, trials: list[Trial], signals: StopSignals, track: Track
    ) -> None:
        options = self.options
        study = self.finalists_study = self._open_finalists()
        tracked = TrackedProgress(
            FinalistLines(study), track, every=not self.storage.is_shared, finalists=study
        )
        run_finalists(
            self.config,
            study,
            trials,
            workers,
            finalists=options.finalists,
            seeds=options.finalist_seeds,
            jobs=options.jobs,
            seconds=self.deadline - time.monotonic(),
            trial_timeout=options.trial_timeout,
            callback=tracked,
            stop=signals.reason,
            storage=self.storage,
        )
        tracked.on_end(read_trials(study, self.config))

    def _finalists(self, trials: list[Trial]) -> list[Finalist]:
        if self.finalists_study is None:
            return []
        return read_finalists(self.finalists_study, trials)

    def _open_study(self) -> optuna.Study:
        """Return the study, after recovery from a crash."""
        study = self.storage.open_study(self.config)
        interrupted = 0
        if study is None:
            self._repair(self.folder.journal)
            study = open_study(self.folder, self.config)
            interrupted = requeue_running_trials(study, self.config)
        finished = sum(trial.is_finished for trial in read_trials(study, self.config))
        if finished or interrupted:
            suffix = f", interrupted and queued again: {interrupted}" if interrupted else ""
            note(f"{self.folder.path}: resumed; trials finished: {finished}{suffix}")
        if finished >= self.options.target:
            note(f"{finished} trials are finished; extend the search with --trials {2 * finished}")
        return study

    def _open_finalists(self) -> optuna.Study:
        study = self.storage.open_finalists(self.config)
        if study is None:
            self._repair(self.folder.finalists_journal)
            study = open_journal(self.folder.finalists_journal, self.config)
            requeue_running_trials(study, self.config)
        return study

    def _repair(self, journal: Path) -> None:
        removed = repair_journal(journal)
        if removed:
            note(f"{journal}: removed an incomplete end of {removed} bytes, left by a crash")

    def _workers(self) -> WorkerPool:
        loading = load_arguments(self.config.recipe.data)
        image_size = loading.pop("image_size")
        source = str(self.config.settings.data.source)
        return WorkerPool(source, image_size, self.config.data["sha256"], loading)

    def _note_start(self) -> None:
        config, settings, target = self.config, self.config.settings, self.options.target
        limit = "no limit" if math.isinf(target) else f"{target:.0f}"
        note(
            f"{config.recipe.recipe} on {config.data['name']}: trials {limit}, "
            f"settings {len(config.space)}, epochs {settings.training.epochs}, "
            f"sampler {config.sampler}, jobs {self.options.jobs}, "
            f"device {settings.runtime.device}, threads {settings.runtime.threads} "
            f"→ {self.folder.path}"
        )
        if self.options.address is not None:
            note(
                f"shared with other machines: study {self.options.study} in {self.options.address}"
            )
        if not config.recipe.distillation.is_off:
            best = self.folder.best_recipe
            note(f"trials train without teachers; {best} will have those of the recipe")

    @contextlib.contextmanager
    def _report_on_error(self) -> Iterator[None]:
        """Write the best recipe and the report also if the search is interrupted or fails."""
        try:
            yield
        except FashionCNNError:
            with contextlib.suppress(*self.storage.failures):
                trials = read_trials(self.study, self.config)
                if best_trial(trials) is not None:
                    note(f"report so far: {self._write(trials)}")
            raise

    def _write(self, trials: list[Trial]) -> Path:
        finalists = self._finalists(trials)
        self.folder.write_best_recipe(self.config, trials, finalists)
        return write_report(self.folder, self.config, self.study, finalists)

    def _finish(self, trials: list[Trial], track: Track) -> None:
        """Write the best recipe and the report, and print the result."""
        if best_trial(trials) is None:
            raise RunError(f"{self.folder.path}: {_no_result_message(trials)}")
        page, finalists = self._write(trials), self._finalists(trials)
        if finalists and best_finalist(finalists) is None:
            note("the finalists are not complete, so best.toml has the trial with the lowest loss")
        report = make_report(self.folder, self.config, self.study, finalists)
        chosen = report.chosen
        loss = report.best.loss if chosen is None else chosen.mean_loss
        metrics = {"final/loss": float(loss or 0.0), "final/trial": float(report.best.number)}
        track.finish(metrics, Artifacts([page, self.folder.best_recipe]))
        print_result(self.config, self.folder, page, report, json=self.options.json)


def _no_result_message(trials: list[Trial]) -> str:
    failed = [trial for trial in trials if trial.state == "failed"]
    if failed:
        return f"no trial is complete, {len(failed)} failed; the last one: {failed[-1].reason}"
    return "no trial is complete; run the same command to resume, or with a longer --timeout"
