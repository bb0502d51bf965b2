"""A whole training: split, build, learn, choose, judge; in a run folder or in memory alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fashioncnn.artifacts.preprocessing import Preprocessing
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.splits import split_validation
from fashioncnn.errors import DivergedError, FashionCNNError, RunError
from fashioncnn.evaluation.evaluate import compute_model_metrics
from fashioncnn.evaluation.logits import compute_logits, to_tensor
from fashioncnn.evaluation.metrics import accuracy, cross_entropy
from fashioncnn.evaluation.predictions import Predictions, save_predictions
from fashioncnn.files import write_atomic, write_json
from fashioncnn.models.trained_model import TrainedModel, load_model, save_model
from fashioncnn.runs import RunFolder
from fashioncnn.runtime import (
    describe_environment,
    peak_memory_bytes,
    prepare_torch,
    report_out_of_memory,
)
from fashioncnn.settings import Settings
from fashioncnn.training.calibration import calibrate
from fashioncnn.training.callbacks import Observer, Record, Silent
from fashioncnn.training.checkpoint import (
    discard_checkpoints_after,
    load_checkpoint,
    optimizer_tensors,
    prefixed,
    restore_optimizer,
    save_checkpoint,
    unprefixed,
)
from fashioncnn.training.distillation import TeacherEnsemble, teacher_settings
from fashioncnn.training.loop import EpochResult, Progress
from fashioncnn.training.model_card import model_card
from fashioncnn.training.resume import (
    check_epochs,
    fixed_settings,
    settings_of_checkpoint,
)
from fashioncnn.training.state import TrainState
from fashioncnn.training.summary import SPLIT_NAMES, summarize


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to.

    Attributes:
        model: the chosen weights.
        history: a record an epoch.
        metrics: the content of metrics.json.
        predictions: logits and labels by judged split.
    """

    model: TrainedModel
    history: list[Record]
    metrics: dict[str, Any]
    predictions: Predictions


@dataclass
class Best:
    """The weights of the best validation epoch so far."""

    score: float = -math.inf
    epoch: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)


def train_model(
    settings: Settings,
    dataset: Dataset,
    *,
    run: RunFolder | None = None,
    start_from: TrainedModel | None = None,
    observer: Observer | None = None,
    stop: Callable[[], FashionCNNError | None] = lambda: None,
) -> TrainingResult:
    """Train by `settings`, whose ``auto`` values are resolved, to the end.

    Args:
        settings: what to do.
        dataset: what to learn from.
        run: where everything is written; training goes on from its newest checkpoint. None keeps
            it all in memory.
        start_from: a network whose weights to begin with.
        observer: told about every step and epoch.
        stop: asked after every step; an error that it returns is raised once a checkpoint is
            written.

    Raises:
        DivergedError: the loss is no longer finite; the last checkpoint stays.
        RunError: the run's checkpoints are damaged, or were made on other data.
        OutOfMemoryError: there is not enough memory.
    """
    batches = f"a network that learns batches of {settings.training.batch_size}"
    with report_out_of_memory(batches, settings.runtime.device, "a smaller --batch-size"):
        if run is not None and start_from is not None:  # told before anything can fail
            _write_environment(run, settings, dataset, {"began_from": start_from.sha256})
        job = _Job(settings, dataset, run, start_from, observer or Silent(), stop)
        job.restore()
        job.learn_from(_train_teachers(settings, dataset, run, job.observer, stop))
        if run is not None:
            run.metrics.unlink(missing_ok=True)  # from here on, the run is not finished
            write_atomic(run.config, settings.to_toml().encode())
            began_from = run.read_environment().get("began_from")
            models = {"began_from": began_from, "taught_by": job.taught_by_sha256}
            _write_environment(run, settings, dataset, models)
            if start_from is not None:
                job.save()  # from here on, a run that is killed still begins with these weights
        job.learn()
        return job.conclude()


def _write_environment(
    run: RunFolder, settings: Settings, dataset: Dataset, models: dict[str, Any]
) -> None:
    data = {"name": dataset.name, "sha256": dataset.hashes}
    told = {name: model for name, model in models.items() if model}
    write_json(run.environment, {**describe_environment(settings.runtime, data), **told})


def _train_teachers(
    settings: Settings,
    dataset: Dataset,
    run: RunFolder | None,
    observer: Observer,
    stop: Callable[[], FashionCNNError | None],
) -> list[TrainingResult]:
    """Train the teachers that the settings ask for, each a run in the run's folder.

    One that is finished is taken as it is, once its settings and data are known to be these.
    """
    results, wanted = [], settings.distillation.ensemble_size
    for number in range(1, wanted + 1):
        given = teacher_settings(settings, number)
        folder = None if run is None else run.teacher(number)
        if folder is not None:
            folder.path.mkdir(parents=True, exist_ok=True)
        observer.network(f"teacher {number} of {wanted}", given.training.epochs)
        with folder.lock() if folder else nullcontext():
            results.append(train_model(given, dataset, run=folder, observer=observer, stop=stop))
    if wanted:
        observer.network("pupil", settings.training.epochs)
    return results


class _Job:
    """The state of one training, from settings to outcome."""

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        run: RunFolder | None,
        start_from: TrainedModel | None,
        observer: Observer,
        stop: Callable[[], FashionCNNError | None],
    ) -> None:
        self.settings, self.dataset, self.run = settings, dataset, run
        self.observer, self.stop = observer, stop
        self.device = prepare_torch(settings.runtime)
        self.precision = str(settings.runtime.precision)
        self.train_part, self.validation_part = split_validation(
            dataset.train, int(settings.data.validation)
        )
        self.taught_by = {
            name: load_model(Path(name), self.device) for name in settings.distillation.teachers
        }
        self.learner = TrainState.begin(settings, self.train_part, dataset, self.device, start_from)
        self.begins_with_weights = start_from is not None
        self.progress = Progress()
        self.history: list[Record] = []
        self.best = Best()
        self.saved_at = time.monotonic()
        self.predictions: Predictions = {}
        self.judged: dict[str, tuple[Split, Tensor]] = {}
        self.teacher_seconds = 0.0
        if self.validation_part is not None:
            self.judged["val"] = self._on_device(self.validation_part)
        if settings.training.track_test:
            self.judged["test"] = self._on_device(dataset.require_test())

    @property
    def model(self) -> TrainedModel:
        """The network that learns, with what belongs to it."""
        return self.learner.model

    @property
    def taught_by_sha256(self) -> dict[str, str]:
        """Identities of the models that teach as they are, by name."""
        return {name: model.sha256 for name, model in self.taught_by.items()}

    @property
    def evaluated_model(self) -> TrainedModel:
        """The network that is judged and kept: its averaged weights, where they are averaged."""
        return self.learner.judged

    def _on_device(self, split: Split) -> tuple[Split, Tensor]:
        return split, to_tensor(split.images, self.device)

    def restore(self) -> None:
        """Go on from the newest checkpoint, where the run has one."""
        if self.run is None:
            return
        checkpoint = load_checkpoint(self.run.checkpoints)
        if checkpoint is None:
            if "began_from" in self.run.read_environment() and not self.begins_with_weights:
                raise RunError(
                    f"{self.run.path}: was to begin with the weights of a model, and ended before "
                    "it had saved them; begin anew with --from"
                )
            return
        tensors, state = checkpoint
        try:
            if state["data_sha256"] != self.dataset.train.sha256:
                raise RunError(f"{self.run.path}: was begun on other training data than these")
            begun = fixed_settings(settings_of_checkpoint(state))
            if begun != fixed_settings(self.settings):
                raise RunError(
                    f"{self.run.path}: its config.toml was changed after it began; put it back, or "
                    f"begin a new run from its weights with --from {self.run.path}"
                )
            check_epochs(state, self.settings, self.run.path)
            if state.get("taught_by", []) != list(self.taught_by_sha256.values()):
                raise RunError(
                    f"{self.run.path}: was begun with other models to be taught by than those "
                    "that lie there now"
                )
            self.model.network.load_state_dict(unprefixed(tensors, "model."))
            if self.learner.averaged is not None:
                self.evaluated_model.network.load_state_dict(unprefixed(tensors, "averaged."))
                self.learner.averaged.n_averaged.fill_(state["progress"]["step"])
            restore_optimizer(self.learner.optimizer, tensors)
            preprocessing = Preprocessing(**state["preprocessing"])
            self.progress = Progress.from_dict(state["progress"])
            self.history = state["history"]
            self.best = Best(**state["best"], tensors=unprefixed(tensors, "best."))
        except (RuntimeError, KeyError, TypeError, ValueError, IndexError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(
                f"{self.run.path}: its checkpoint does not fit its config.toml ({reason})"
            ) from None
        self.learner.model = replace(self.model, preprocessing=preprocessing)
        discard_checkpoints_after(self.run.checkpoints, self.progress.step)
        self.run.write_history(self.history)

    def learn_from(self, results: Sequence[TrainingResult]) -> None:
        """Take for teachers what was trained first, and the models that teach as they are."""
        models = [*(one.model for one in results), *self.taught_by.values()]
        if models:
            self.learner.teachers = TeacherEnsemble(models, self.precision)
        self.teacher_seconds = sum(one.metrics["summary"]["seconds"] for one in results)

    def learn(self) -> None:
        """Train to the last epoch."""
        self.observer.begin(self.progress, len(self.train_part))
        self.learner.learn(self.progress, on_step=self._after_step, on_epoch=self._after_epoch)

    def _after_step(self, progress: Progress) -> None:
        self.observer.step(progress)
        reason = self.stop()
        due = time.monotonic() - self.saved_at >= self.settings.training.checkpoint_seconds
        if reason is not None or due:
            self.save()
        if reason is not None:
            raise reason

    def _after_epoch(self, result: EpochResult) -> None:
        self._refuse_broken_weights()
        record: Record = {
            "epoch": result.epoch,
            "train_loss": result.loss,
            "train_accuracy": result.accuracy,
            **dict.fromkeys(("val_loss", "val_accuracy", "test_loss", "test_accuracy")),
            "learning_rate": self.learner.recipe.learning_rate(self.progress.step - 1),
            "seconds": result.seconds,
            "images_per_second": result.n / result.seconds,
        }
        for name, (split, images) in self.judged.items():
            logits = self._logits(images)
            loss = cross_entropy(logits, split.labels)
            if not math.isfinite(loss):
                raise DivergedError(
                    f"the {SPLIT_NAMES[name]} loss became {loss} after epoch {result.epoch}; try a "
                    "lower --learning-rate"
                )
            record[f"{name}_loss"] = loss
            record[f"{name}_accuracy"] = accuracy(logits, split.labels)
        self.history.append(record)
        self._keep_best(record)
        self.save()
        if self.run is not None:
            self.run.write_history(self.history)
        self.observer.epoch(record)

    def _keep_best(self, record: Record) -> None:
        training = self.settings.training
        if training.select != "best_val":
            return
        by_loss = training.select_by == "loss"
        score = -record["val_loss"] if by_loss else record["val_accuracy"]
        if score > self.best.score:
            state = self.evaluated_model.network.state_dict()
            tensors = {name: t.detach().clone() for name, t in state.items()}
            self.best = Best(score, record["epoch"], tensors)

    def save(self) -> None:
        """Write a checkpoint."""
        if self.run is None:
            return
        progress = self.progress
        progress.settle()
        self._refuse_broken_weights()
        tensors = {
            **prefixed(self.model.network.state_dict(), "model."),
            **optimizer_tensors(self.learner.optimizer),
            **prefixed(self.best.tensors, "best."),
        }
        if self.learner.averaged is not None:
            tensors |= prefixed(self.evaluated_model.network.state_dict(), "averaged.")
        state = {
            "progress": progress.as_dict(),
            "history": self.history,
            "best": {"score": self.best.score, "epoch": self.best.epoch}
            if self.best.tensors
            else {},
            "settings": fixed_settings(self.settings),
            "preprocessing": asdict(self.model.preprocessing),
            "epochs": self.settings.training.epochs,
            "data_sha256": self.dataset.train.sha256,
            "taught_by": list(self.taught_by_sha256.values()),
        }
        save_checkpoint(self.run.checkpoints, progress.step, tensors, state)
        self.saved_at = time.monotonic()

    def _refuse_broken_weights(self) -> None:
        """Keep weights that a last step broke from reaching a checkpoint or a judgement."""
        if not all(bool(p.isfinite().all()) for p in self.model.network.parameters()):
            raise DivergedError(
                f"the weights are no longer finite after step {self.progress.step}; try a lower "
                "--learning-rate"
            )

    def conclude(self) -> TrainingResult:
        """Choose the weights, judge them, and write what the run folder still lacks."""
        model = self.evaluated_model
        if self.best.tensors:
            model.network.load_state_dict(self.best.tensors)
        model.network.eval()
        for name, (part, images) in self.judged.items():
            self.predictions[SPLIT_NAMES[name]] = (self._logits(images), part.labels)
        model = self._calibrated(model)
        split_metrics: dict[str, Record | None] = {"validation": None, "test": None}
        for split, (logits, labels) in self.predictions.items():
            split_metrics[split] = compute_model_metrics(
                model, logits, labels, self.dataset.name, split
            )
        metrics = {"schema": 1, **split_metrics, "summary": self._summary()}
        if self.run is not None:
            card = model_card(
                model,
                self.settings,
                self.dataset.hashes,
                split_metrics,
                taught_by=self.taught_by_sha256,
            )
            save_model(model, self.run.model, card)
            identity = {"model_sha256": model.sha256, "precision": self.precision}
            for name, (part, _) in self.judged.items():
                identity[f"{SPLIT_NAMES[name]}_sha256"] = part.sha256
            save_predictions(self.run.predictions, self.predictions, identity)
            write_json(self.run.metrics, metrics)
        return TrainingResult(model, self.history, metrics, self.predictions)

    def _calibrated(self, model: TrainedModel) -> TrainedModel:
        part, images = self.judged.get("val", (None, self.learner.images[:0]))
        logits, _ = self.predictions.get("validation", (np.empty((0, 0), np.float32), None))
        return calibrate(model, self.settings, part, images, logits, self.precision)

    def _logits(self, images: Tensor) -> NDArray[np.float32]:
        model = self.evaluated_model
        return compute_logits(model.network, model.preprocessing, images, self.precision)

    def _summary(self) -> dict[str, Any]:
        return {
            **summarize(self.history),
            "epochs": self.progress.epoch,
            "selected_epoch": self.best.epoch or self.progress.epoch,
            "seconds": sum(record["seconds"] for record in self.history),
            **({"teacher_seconds": self.teacher_seconds} if self.teacher_seconds else {}),
            "peak_memory_bytes": peak_memory_bytes(),
        }
