"""Preparation of a search: settings of its trials, checked before anything is written."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fashioncnn.config import override
from fashioncnn.data.dataset import Dataset
from fashioncnn.data.training_data import training_data_name, training_splits
from fashioncnn.environment import default_threads
from fashioncnn.settings import DistillationConfig, FashionCNNConfig, Settings
from fashioncnn.training.checks import check_patience
from fashioncnn.training.distillation import resolve_teachers
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.tuning.config import (
    KERNEL_SIZE,
    PADDING,
    PrunerName,
    SamplerName,
    SearchConfig,
    padding_for,
)
from fashioncnn.tuning.space import Space, check_space


def plan_search(
    recipe: Settings,
    space: Space,
    space_name: str,
    dataset: Dataset,
    *,
    sampler: SamplerName = "tpe",
    seed: int = 0,
    jobs: int = 1,
    pruner: PrunerName = "median",
    fixed: Collection[str] = (),
) -> SearchConfig:
    """Return the configuration of a search; all extreme values of the space are checked.

    The number of threads of this process must be that of a trial (`trial_threads`).

    Args:
        recipe: the settings to tune.
        space: the settings to search.
        space_name: its name, for messages.
        dataset: the training data; its test split is not used.
        sampler: how values are drawn.
        seed: seed of the sampler.
        jobs: trials to train at a time; they share the CPU cores.
        pruner: what stops trials early.
        fixed: dotted keys that the user set; a padding among them does not follow the kernel size.

    Raises:
        UsageError: the device, threads, kernels or validation split are not available, or extreme
            values of the space cannot be trained on this data, or the recipe would stop early
            without a validation split.
        FashionCNNError: a teacher of the recipe cannot be used (`resolve_teachers`).
    """
    training_data = replace(dataset, test=None)
    teachers = resolve_teachers(recipe.distillation.teachers, training_data)
    recipe = override(recipe, {"distillation.teachers": teachers})
    unresolved = trial_settings(recipe, jobs)
    settings = prepare_settings(unresolved, training_data)
    keep_size = KERNEL_SIZE in space and PADDING not in {*space, *fixed}
    _, validation = training_splits(training_data, recipe.data)  # as that of the best recipe
    held_out = 0 if validation is None else len(validation)
    check_patience(recipe, held_out)

    def check(extreme: Settings) -> None:
        if keep_size and isinstance(extreme.model, FashionCNNConfig):
            padding = padding_for(extreme.model.kernel_size, recipe)
            extreme = override(extreme, {PADDING: padding})
        prepare_settings(extreme, training_data)

    check_space(space, unresolved, space_name, check)
    name = training_data_name(dataset.name, settings.data)
    data = {"name": name, "sha256": dataset.training_sha256}
    return SearchConfig(recipe, settings, space, sampler, seed, data, pruner, keep_size)


def trial_settings(recipe: Settings, jobs: int) -> Settings:
    """Return the settings of a trial: validation split, no test curve, no teachers, its cores.

    A recipe that trains on all images gets a validation split in its trials only.
    """
    validation = recipe.data.validation if recipe.data.holds_out else "auto"
    return recipe.model_copy(
        update={
            "data": recipe.data.model_copy(update={"validation": validation, "hold_out_min": 0}),
            "training": recipe.training.model_copy(update={"track_test": False}),
            "runtime": recipe.runtime.model_copy(update={"threads": trial_threads(recipe, jobs)}),
            "distillation": DistillationConfig(),
        }
    )


def trial_threads(recipe: Settings, jobs: int) -> int:
    """Return the CPU threads of a trial: ``auto`` divides the available cores among the jobs."""
    threads = recipe.runtime.threads
    return default_threads(jobs) if threads == "auto" else threads
