"""A whole training: split, teachers, loop, calibration, evaluation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from fashioncnn.artifacts.model_card import minimal_card
from fashioncnn.checksum import with_checksum
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.splits import folds
from fashioncnn.data.training_data import training_data_name, training_splits
from fashioncnn.devices import (
    gpu_name,
    isolated_torch_state,
    report_out_of_memory,
    resolve_device,
)
from fashioncnn.environment import describe_environment
from fashioncnn.errors import RunError
from fashioncnn.evaluation.predictions import Predictions
from fashioncnn.files import make_folder, write_atomic, write_json
from fashioncnn.models.backend import to_tensor, torch_predictor
from fashioncnn.models.custom import CustomNetwork
from fashioncnn.models.trained_model import TrainedModel, load_model, save_model
from fashioncnn.runs import RunFolder
from fashioncnn.settings import Settings
from fashioncnn.training.calibration import (
    HeldOut,
    fold_settings,
    needs_cross_validation,
    number_of_folds,
)
from fashioncnn.training.callbacks import (
    Callback,
    EvaluateSplits,
    KeepBest,
    StopEarly,
    StopOnRequest,
    StopReason,
    WarnOfDivergence,
)
from fashioncnn.training.checkpoint import Notify
from fashioncnn.training.distillation import create_ensemble, load_teachers, teacher_settings
from fashioncnn.training.distributed import EndTogether, share_state, share_weights
from fashioncnn.training.finalize import finalize
from fashioncnn.training.initialize import create_batches, create_state
from fashioncnn.training.loop import fit
from fashioncnn.training.ranks import ALONE, Ranks
from fashioncnn.training.resume import Checkpoints
from fashioncnn.training.state import Record, TrainState


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training.

    Attributes:
        model: with the selected weights.
        history: one record per epoch.
        metrics: content of metrics.json.
        predictions: logits and labels by evaluated split.
    """

    model: TrainedModel
    history: list[Record]
    metrics: dict[str, Any]
    predictions: Predictions


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=2)


def train_model(
    settings: Settings,
    dataset: Dataset,
    *,
    run: RunFolder | None = None,
    initial: TrainedModel | None = None,
    custom: CustomNetwork | None = None,
    callbacks: Sequence[Callback] = (),
    stop: StopReason = lambda: None,
    notify: Notify = _warn,
    name: str = "",
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Train to the last epoch of `settings`.

    The caller's state of torch (random numbers, default dtype, grad mode) is left unchanged.

    Args:
        settings: resolved by `fashioncnn.training.prepare.prepare_settings`.
        dataset: to train on.
        run: where everything is written; training resumes from its newest checkpoint. None keeps
            everything in memory.
        initial: a model whose weights to start from, unless the run has a checkpoint.
        custom: the network, if `settings` were resolved with one.
        callbacks: of the training loop.
        stop: called after every step.
        notify: called with a one-line message about each damaged checkpoint, and about a training
            loss that explodes; by default, a `UserWarning` is issued.
        name: of the network in a distillation, for callbacks.
        ranks: this process among those that train the network together, each by a call of this
            function. Only the first one gets `run` and `callbacks`, evaluates, and returns metrics.

    Raises:
        RankError: another of these processes has ended; the last checkpoint is kept.
        DivergedError: the loss is not finite; the last checkpoint is kept.
        RunError: the checkpoints of the run are damaged, or belong to other data.
        OutOfMemoryError: there is not enough memory.
    """
    if run is not None and initial is not None:
        write_start(run, settings, dataset, initial, custom)
    with _training_context(settings):
        device = resolve_device(settings.runtime.device)
        train, validation = training_splits(dataset, settings.data)
        splits = _evaluated_splits(settings, dataset, validation)
        teachers = load_teachers(settings, device)
        hashes = {teacher: model.sha256 for teacher, model in teachers.items()}
        best = KeepBest(settings.training)
        checkpoints = Checkpoints(run, settings, dataset.training_sha256, hashes, best, notify)
        start = create_state(settings, train, dataset, device, initial, custom, ranks)
        state = share_state(_restore(checkpoints, start), checkpoints)
        trained = _train_teachers(settings, dataset, custom, run, callbacks, stop, notify, ranks)
        state.name = name or ("student" if trained else "")
        if run is not None:
            _begin(run, settings, dataset, hashes, ranks)
        ensemble = create_ensemble(
            settings, [*(result.model for result in trained), *teachers.values()]
        )
        fit(
            state,
            create_batches(settings, train, dataset, device, ensemble, ranks),
            [
                *(
                    _callbacks_of_the_first(settings, splits, device, best, notify, callbacks)
                    if ranks.is_first
                    else []
                ),
                checkpoints,  # contains what the callbacks before it add to a record
                EndTogether(),
                StopOnRequest(stop, checkpoints.save),
            ],
        )
        share_weights(state.model.network, ranks)
        folds = _cross_validate(
            settings, train, dataset, run, initial, custom, callbacks, stop, ranks
        )
        if not ranks.is_first:
            state.model.network.eval()
            return TrainingResult(state.model, [], {}, {})
        model, metrics, predictions = finalize(
            state,
            best,
            settings,
            dataset,
            validation,
            splits,
            folds=folds,
            run=run,
            teachers=hashes,
            teacher_seconds=sum(result.metrics["summary"]["seconds"] for result in trained),
        )
        return TrainingResult(model, state.history, metrics, predictions)


def write_start(
    run: RunFolder,
    settings: Settings,
    dataset: Dataset,
    initial: TrainedModel | None = None,
    custom: CustomNetwork | None = None,
    ranks: Ranks = ALONE,
) -> None:
    """Write what a new run needs beside its settings: the environment and any initial weights.

    Training the run then needs no `initial`.

    Args:
        run: a folder that is not a run yet, see `fashioncnn.runs.new_run`.
        settings: resolved.
        dataset: to train on.
        initial: a model whose weights to start from.
        custom: the network, if `settings` were resolved with one.
        ranks: the first of the processes that will train the network together.
    """
    used = {} if initial is None else {"initialized_from": initial.sha256}
    _write_environment(run, settings, dataset, ranks, **used)
    if initial is None:
        return
    if needs_cross_validation(settings):
        save_model(initial, run.initial, minimal_card(initial.describe()))
    with _training_context(settings):
        device = resolve_device(settings.runtime.device)
        train, _ = training_splits(dataset, settings.data)
        models = load_teachers(settings, device)
        teachers = {teacher: model.sha256 for teacher, model in models.items()}
        best = KeepBest(settings.training)
        checkpoints = Checkpoints(run, settings, dataset.training_sha256, teachers, best)
        state = create_state(settings, train, dataset, device, initial, custom)
        checkpoints.save(state)


def _callbacks_of_the_first(
    settings: Settings,
    splits: Mapping[str, Split],
    device: torch.device,
    best: KeepBest,
    notify: Notify,
    callbacks: Sequence[Callback],
) -> list[Callback]:
    """Return the callbacks of the only process, or of the first of several."""
    return [
        EvaluateSplits(_on_device(splits, device)),
        best,
        StopEarly(settings.training),
        WarnOfDivergence(notify),
        *callbacks,
    ]


@contextmanager
def _training_context(settings: Settings) -> Iterator[None]:
    """Report missing memory in one line, and leave the caller's state of torch unchanged."""
    what = f"training with batch_size = {settings.training.batch_size}"
    remedy = "a smaller --batch-size"
    with report_out_of_memory(what, settings.runtime.device, remedy), isolated_torch_state():
        yield


def _restore(checkpoints: Checkpoints, state: TrainState) -> TrainState:
    """Return the state of the newest checkpoint, else `state` if the run may start with it."""
    restored = checkpoints.restore(state)
    if restored is not None:
        return restored
    run = checkpoints.run
    if run is not None and "initialized_from" in run.read_environment():
        raise RunError(
            f"{run.path}: should start from the weights of a model, and has no checkpoint with "
            "them; start a new run with --from"
        )
    return state


def _begin(
    run: RunFolder, settings: Settings, dataset: Dataset, teachers: dict[str, str], ranks: Ranks
) -> None:
    """Mark the run as unfinished and write what it depends on."""
    run.mark_unfinished()
    write_atomic(run.config, settings.to_toml().encode())
    initialized_from = run.read_environment().get("initialized_from")
    models = {"initialized_from": initialized_from, "teachers": teachers}
    _write_environment(run, settings, dataset, ranks, **models)


def _write_environment(
    run: RunFolder, settings: Settings, dataset: Dataset, ranks: Ranks, **models: Any
) -> None:
    """Write environment.json, with the SHA-256 of the `models` that are used."""
    name = training_data_name(dataset.name, settings.data)
    data = {"name": name, "sha256": dataset.hashes}
    gpu = gpu_name(torch.device(settings.runtime.device))
    environment = describe_environment(settings.runtime, data, gpu)
    used = {key: value for key, value in models.items() if value}
    if ranks.are_several:
        used["world_size"] = ranks.world_size
    write_json(run.environment, with_checksum({**environment, **used}))


def _train_teachers(
    settings: Settings,
    dataset: Dataset,
    custom: CustomNetwork | None,
    run: RunFolder | None,
    callbacks: Sequence[Callback],
    stop: StopReason,
    notify: Notify,
    ranks: Ranks,
) -> list[TrainingResult]:
    """Train the teachers, each in a run folder inside the run's; finished ones are loaded."""
    results, size = [], settings.distillation.ensemble_size
    for number in range(1, size + 1):
        folder = None if run is None else run.teacher(number)
        if folder is not None:
            make_folder(folder.path)
        with folder.lock() if folder else nullcontext():
            result = train_model(
                teacher_settings(settings, number),
                dataset,
                run=folder,
                custom=custom,
                callbacks=callbacks,
                stop=stop,
                notify=notify,
                name=f"teacher {number} of {size}",
                ranks=ranks,
            )
        results.append(result)
    return results


def _cross_validate(
    settings: Settings,
    train: Split,
    dataset: Dataset,
    run: RunFolder | None,
    initial: TrainedModel | None,
    custom: CustomNetwork | None,
    callbacks: Sequence[Callback],
    stop: StopReason,
    ranks: Ranks,
) -> list[HeldOut]:
    """Return each fold with a model trained on the others, if the settings ask for it.

    They are trained in memory: when a run is resumed here, they are trained again, with the same
    result.
    """
    if not needs_cross_validation(settings):
        return []
    if initial is None and run is not None and "initialized_from" in run.read_environment():
        device = resolve_device(settings.runtime.device)
        initial = load_model(run.initial, device, network=custom)
    held_out = []
    partition = folds(train.strata, number_of_folds(settings, len(train)))
    for number, (others, fold) in enumerate(partition, 1):
        result = train_model(
            fold_settings(settings),
            replace(dataset, train=train.subset(others), test=None, validation=None),
            initial=initial,
            custom=custom,
            callbacks=callbacks,
            stop=stop,
            name=f"fold {number} of {len(partition)}",
            ranks=ranks,
        )
        predictor = torch_predictor(result.model, str(settings.runtime.precision))
        held_out.append(HeldOut(predictor, train.subset(fold)))
    return held_out


def _evaluated_splits(
    settings: Settings, dataset: Dataset, validation: Split | None
) -> dict[str, Split]:
    """Return the splits that are evaluated after each epoch, by their prefix in the history.

    Images outside of the classes are left out.
    """
    splits = {} if validation is None else {"val": validation.within_classes()}
    if settings.training.track_test:
        splits["test"] = dataset.require_test().within_classes()
    return splits


def _on_device(splits: Mapping[str, Split], device: torch.device) -> dict[str, Any]:
    """Return images of each split, on the device unless they have several views, and the split."""
    return {
        name: (to_tensor(s.images, device) if s.views is None else s.views, s)
        for name, s in splits.items()
    }
