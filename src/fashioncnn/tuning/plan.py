"""From a recipe, a space and data to a search, found fit to run before anything is written."""

from __future__ import annotations

from dataclasses import replace

from fashioncnn.config import override
from fashioncnn.data.dataset import Dataset
from fashioncnn.runtime import available_cores
from fashioncnn.settings import DistillationConfig, Settings
from fashioncnn.training.prepare import prepare_settings, resolve_teachers
from fashioncnn.tuning.space import Space, check_space
from fashioncnn.tuning.study import Sampler, Search


def plan_search(
    recipe: Settings,
    space: Space,
    space_name: str,
    dataset: Dataset,
    *,
    sampler: Sampler = "tpe",
    seed: int = 0,
    jobs: int = 1,
) -> Search:
    """Return a search that every corner of the space has been tried for.

    Args:
        recipe: the settings to begin with.
        space: what to vary.
        space_name: for messages.
        dataset: what to learn from; its test part is not touched.
        sampler: how values are drawn.
        seed: decides which.
        jobs: trials at once, which share the cores.

    Raises:
        UsageError: device, kernels or validation part cannot be had, or a corner of the space be
            trained on these images.
        FashionCNNError: a model that is to teach the best of them cannot (`resolve_teachers`).
    """
    shut = replace(dataset, test=None)
    taught_by = resolve_teachers(recipe.distillation.teachers, shut)
    recipe = override(recipe, {"distillation.teachers": taught_by})
    wished = trial_settings(recipe, jobs)
    settings = prepare_settings(wished, shut)
    check_space(space, wished, space_name, lambda corner: prepare_settings(corner, shut))
    data = {"name": dataset.name, "sha256": dataset.train.sha256}
    return Search(recipe, settings, space, sampler, seed, data)


def trial_settings(recipe: Settings, jobs: int) -> Settings:
    """Return a recipe as a trial runs it: judged on validation, never on test, on its cores.

    A recipe that learns from all images holds some out for its trials; the best of them becomes
    a recipe that learns from all again. Likewise trials have no teachers.
    """
    data, training, runtime = recipe.data, recipe.training, recipe.runtime
    if data.validation == 0:
        data = data.model_copy(update={"validation": "auto"})
    if runtime.threads == "auto":
        share = max(1, available_cores() // jobs)
        runtime = runtime.model_copy(update={"threads": share})
    training = training.model_copy(update={"track_test": False})
    changes = {"data": data, "training": training, "runtime": runtime}
    return recipe.model_copy(update={**changes, "distillation": DistillationConfig()})
