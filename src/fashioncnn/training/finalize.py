"""After the last epoch: select weights, calibrate, evaluate, write the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fashioncnn.artifacts.model_card import model_card, training_notes
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.training_data import training_data_name
from fashioncnn.environment import peak_memory_bytes
from fashioncnn.evaluation.predictions import Predictions, save_predictions
from fashioncnn.inference.evaluate import model_metrics, partial_label_metrics, predict_split
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import TrainedModel, save_model
from fashioncnn.runs import RunFolder
from fashioncnn.settings import SCHEMA, Settings
from fashioncnn.training.calibration import HeldOut, calibrate
from fashioncnn.training.callbacks import KeepBest
from fashioncnn.training.state import TrainState
from fashioncnn.training.summary import SPLIT_NAMES, summarize


def finalize(
    state: TrainState,
    best: KeepBest,
    settings: Settings,
    dataset: Dataset,
    validation: Split | None,
    splits: Mapping[str, Split],
    *,
    folds: Sequence[HeldOut] = (),
    run: RunFolder | None,
    teachers: dict[str, str],
    teacher_seconds: float,
) -> tuple[TrainedModel, dict[str, Any], Predictions]:
    """Return the calibrated model, its metrics and predictions, and write them to the run.

    Args:
        state: after the last epoch.
        best: weights of the best validation epoch, if they are selected.
        settings: of the run.
        dataset: of the run.
        validation: the validation split, or None.
        splits: to evaluate, by their prefix in the history.
        folds: of a cross-validation to calibrate with, if there is no validation split.
        run: where to write, or None.
        teachers: SHA-256 by name of given teachers.
        teacher_seconds: training time of the teachers.
    """
    model = _select(state, best)
    precision = state.precision
    predictor = torch_predictor(model, precision)
    spec = calibrate(predictor, settings, validation, model.device, folds)
    model = TrainedModel(model.network, spec)
    predictor, description = torch_predictor(model, precision), model.describe()
    evaluated = {SPLIT_NAMES[name]: split for name, split in splits.items()}
    predictions: Predictions = {
        name: predict_split(predictor, split) for name, split in evaluated.items()
    }
    by_split: dict[str, dict[str, Any] | None] = {"validation": None, "test": None}
    for name, of_split in predictions.items():
        by_split[name] = model_metrics(
            description, of_split.logits, of_split.labels, dataset.name_of(name), name
        ) | partial_label_metrics(evaluated[name], of_split, spec.labels)
    summary = _summary(state, best, teacher_seconds) | _modified_data(dataset, settings)
    metrics = {"schema": SCHEMA, **by_split, "summary": summary}
    if run is not None:
        notes = training_notes(settings, summary)
        card = model_card(description, settings, dataset.hashes, by_split, notes, teachers)
        save_model(model, run.model, card)
        identity = {"model_sha256": description.sha256, "precision": precision}
        identity |= {f"{SPLIT_NAMES[name]}_sha256": s.sha256 for name, s in splits.items()}
        save_predictions(run.predictions, predictions, identity)
        run.write_metrics(metrics)
    return model, metrics, predictions


def _select(state: TrainState, best: KeepBest) -> TrainedModel:
    model = state.model
    if best.tensors:
        model.network.load_state_dict(best.tensors)
    model.network.eval().requires_grad_(True)
    return model


def _modified_data(dataset: Dataset, settings: Settings) -> dict[str, str]:
    name = training_data_name(dataset.name, settings.data)
    return {} if name == dataset.name else {"training_data": name}


def _early_stop(state: TrainState) -> dict[str, str]:
    is_early = state.stop_reason and state.progress.epoch < state.epochs
    return {"stopped_early": state.stop_reason} if is_early else {}


def _summary(state: TrainState, best: KeepBest, teacher_seconds: float) -> dict[str, Any]:
    return {
        **summarize(state.history),
        "epochs": state.progress.epoch,
        **_early_stop(state),
        "selected_epoch": best.epoch or state.progress.epoch,
        "seconds": sum(record["seconds"] for record in state.history),
        **({"teacher_seconds": teacher_seconds} if teacher_seconds else {}),
        "peak_memory_bytes": peak_memory_bytes(),
    }
