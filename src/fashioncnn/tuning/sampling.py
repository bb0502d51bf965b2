"""Samplers and pruner, and how the next trial is drawn."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from fashioncnn.tuning.config import PrunerName, SamplerName, SearchConfig

STARTUP_TRIALS = 10
"""Random trials before TPE models the results (Optuna's default)."""
REDUCTION_FACTOR = 3
"""Hyperband keeps one of so many trials at each rung (arXiv:1603.06560)."""
RETRY_OF = "retry_of"
"""User attribute of a trial that repeats an interrupted one: the number of that trial."""

FINALIST_OF, SEED = "finalist_of", "seed"
"""User attributes of a training of a finalist: the number of its trial in the search, the seed."""


def make_sampler(name: SamplerName, seed: int) -> optuna.samplers.BaseSampler:
    """Return a new sampler."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS, constant_liar=True
    )


def make_pruner(name: PrunerName, epochs: int) -> optuna.pruners.BasePruner:
    """Return the pruner of a search.

    Args:
        name: ``median`` stops trials whose loss is above the median of the finished trials at the
            same epoch, after a quarter of the epochs. ``hyperband`` divides the trials by their
            number into brackets that differ in the first epoch after which they halve; it needs
            hundreds of trials. ``none`` stops no trial.
        epochs: of a complete trial.
    """
    if name == "none":
        return optuna.pruners.NopPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=1, max_resource=epochs, reduction_factor=REDUCTION_FACTOR
        )
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 4))


def ask_trial(
    study: optuna.Study, config: SearchConfig, distributions: dict[str, BaseDistribution]
) -> optuna.Trial:
    """Return the next trial: the first queued one, or a new one.

    The values of a new trial are a function of the seed, the number of trials drawn before, and
    their results. A sampler that lived as long as the process would repeat its draws when the
    search is resumed.
    """
    trials = study.get_trials(deepcopy=False)
    drawn = sum(RETRY_OF not in t.user_attrs and is_drawn(t, config) for t in trials)
    seed = int(np.random.SeedSequence((config.seed, drawn)).generate_state(1)[0])
    study.sampler = make_sampler(config.sampler, seed)
    return study.ask(distributions)


def is_drawn(trial: FrozenTrial, config: SearchConfig) -> bool:
    """Return whether all values of a trial are known; those of a queued trial always are."""
    return len(trial.system_attrs.get("fixed_params", trial.params)) == len(config.space)
