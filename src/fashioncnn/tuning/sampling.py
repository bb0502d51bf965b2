"""Samplers and pruner, and how the next trial is drawn."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from fashioncnn.tuning.config import SamplerName, SearchConfig

STARTUP_TRIALS = 10
"""Random trials before TPE models the results (Optuna's default)."""
RETRY_OF = "retry_of"
"""User attribute of a trial that repeats an interrupted one: the number of that trial."""


def make_sampler(name: SamplerName, seed: int) -> optuna.samplers.BaseSampler:
    """Return a new sampler."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS, constant_liar=True
    )


def make_pruner(epochs: int) -> optuna.pruners.BasePruner:
    """Return a pruner that stops trials whose loss is above the median of the finished trials.

    Every trial trains for at least a quarter of the epochs. Hyperband is not used: it divides the
    trials into brackets, which leaves too few in each for tens of trials, and it depends on trial
    numbers, so an interrupted and resumed search would differ from an uninterrupted one.
    """
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
