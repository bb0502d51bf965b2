"""One training of a classifier: what its parameters say, and the training itself."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from fashioncnn.api.messages import in_python
from fashioncnn.api.networks import network_to_train
from fashioncnn.api.parameters import given_keys, resolve_parameters
from fashioncnn.config import override
from fashioncnn.data.dataset import Dataset
from fashioncnn.errors import UsageError
from fashioncnn.inference.evaluate import evaluation_splits
from fashioncnn.models.custom import CustomNetwork
from fashioncnn.models.trained_model import TrainedModel, load_model
from fashioncnn.reporting.report import write_run_report
from fashioncnn.runs import new_run
from fashioncnn.settings import Settings
from fashioncnn.tracking.options import TrackerOption, parse_trackers
from fashioncnn.tracking.track import Track, tracking
from fashioncnn.tracking.tracker import flat_settings
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.prepare import (
    describe_transfer,
    prepare_settings,
    settings_of_weights,
)
from fashioncnn.training.progress import live_progress
from fashioncnn.training.run import TrainingResult, train_model, write_start

DECIDED_BY_WEIGHTS = ("data.scaling", "data.views", "data.channels")
"""Settings that are those of the model to start from, beside those of its network."""


@dataclass(frozen=True)
class Plan:
    """What the parameters of a classifier say about its training.

    Attributes:
        settings: not resolved for a dataset yet.
        given: dotted keys of the settings that the user gave.
        initial: a model whose weights to start from, or None.
        custom: a network of the user, or None.
    """

    settings: Settings
    given: frozenset[str]
    initial: TrainedModel | None = None
    custom: CustomNetwork | None = None

    def without_test_curve(self) -> Plan:
        """Return the plan for data without a test split, unless the user asks for its curve."""
        if "training.track_test" in self.given:
            return self
        return replace(self, settings=override(self.settings, {"training.track_test": False}))


def plan_training(
    recipe: str | Path | None,
    start: str | Path | None,
    network: Any,
    parameters: Mapping[str, Any],
    source: str | None = None,
) -> Plan:
    """Return the plan of a training.

    Args:
        recipe: name or file; None is ``baseline``, or ``finetune`` with `start`.
        start: run folder, model folder or bundled model whose weights to start from, or None.
        network: of the user, see `fashioncnn.api.networks.network_to_train`.
        parameters: settings by name, which exist.
        source: of the training data.

    Raises:
        UsageError: a parameter is of another type, or contradicts another one.
        ConfigError: a setting is invalid.
    """
    if recipe is None:
        recipe = "baseline" if start is None else "finetune"
    given = frozenset(given_keys(parameters))
    if start is not None:
        _check_start(start, given)
    settings = resolve_parameters(recipe, parameters, source, own_network=network is not None)
    custom = network_to_train(network, parameters)
    if start is None:
        return Plan(settings, given, custom=custom)
    initial = load_model(Path(start), network=custom)
    return Plan(settings_of_weights(settings, initial), given, initial, custom)


def _check_start(start: Any, given: frozenset[str]) -> None:
    if not isinstance(start, str | Path):
        raise UsageError(
            f"Classifier: start of type {type(start).__name__}; should be a run folder, a model "
            "folder, or the name of a bundled model"
        )
    for key in sorted(given):
        if key.startswith("model.") or key in DECIDED_BY_WEIGHTS:
            raise UsageError(f"Classifier: {key} is that of the model to start from; remove it")


def carry_out(
    plan: Plan,
    dataset: Dataset,
    callbacks: Sequence[Callback],
    *,
    progress: bool,
    out: Path | None = None,
    trackers: Sequence[TrackerOption] = (),
) -> TrainingResult:
    """Train, in a new run folder if `out` is given.

    Args:
        plan: of the training.
        dataset: to train on.
        callbacks: of the training loop.
        progress: whether to show a live bar where that is possible.
        out: run folder, new or empty.
        trackers: where to track; with a target each, if there is no run folder.

    Raises:
        UsageError: `out` is not empty, or the settings do not fit the data.
        DataError: there is no test split to track.
    """
    settings = prepare_settings(plan.settings, dataset, plan.initial, plan.custom)
    if plan.initial is not None:
        for line in describe_transfer(plan.initial, dataset)[1:]:
            warnings.warn(line, stacklevel=3)
    train = partial(train_model, settings, dataset, initial=plan.initial, custom=plan.custom)
    with contextlib.ExitStack() as stack:
        bars = live_progress() if progress else []
        for bar in bars:
            stack.callback(bar.close)
        if out is None:
            track = stack.enter_context(_tracked(trackers, settings, None))
            result = train(callbacks=[*bars, *callbacks, track])
            track.finish_run(result.metrics, None)
            return result
        write = partial(
            write_start,
            settings=settings,
            dataset=dataset,
            initial=plan.initial,
            custom=plan.custom,
        )
        with new_run(out, settings, write) as run, _tracked(trackers, settings, run.path) as track:
            every = [*bars, *callbacks, track]
            result = train_model(settings, dataset, run=run, custom=plan.custom, callbacks=every)
            write_run_report(run, evaluation_splits(dataset, settings))
            track.finish_run(result.metrics, run)
    for callback in callbacks:
        callback.on_artifacts(run)
    return result


def trackers_for(track: str | Sequence[str], out: Path | None) -> list[TrackerOption]:
    """Return where to track.

    Args:
        track: as ``--track``, one or several.
        out: run folder.

    Raises:
        UsageError: a value is invalid, or has no target and there is no run folder either.
        MissingExtraError: a package is not installed.
    """
    options = parse_trackers(track, "track")
    for option in options:
        if out is None and option.target is None:
            raise UsageError(
                f"track = {option}: without a run folder, say where: {option}:…, or give out"
            )
    return options


def _tracked(
    trackers: Sequence[TrackerOption], settings: Settings, folder: Path | None
) -> contextlib.AbstractContextManager[Track]:
    name = settings.recipe if folder is None else folder.name
    return tracking(trackers, name, flat_settings(settings), folder, _warn)


def _warn(message: str) -> None:
    warnings.warn(in_python(message), stacklevel=2)
