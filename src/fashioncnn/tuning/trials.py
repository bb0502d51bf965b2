"""Results of a study: its trials, and the importance of the searched settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from fashioncnn.reporting.trials import Trial, TrialState
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.space import encode_settings

MIN_TRIALS_FOR_IMPORTANCE = 8
STATES: dict[OptunaState, TrialState] = {
    OptunaState.COMPLETE: "complete",
    OptunaState.PRUNED: "pruned",
    OptunaState.FAIL: "failed",
    OptunaState.RUNNING: "running",
    OptunaState.WAITING: "waiting",
}


def read_trials(
    study: optuna.Study, config: SearchConfig, previous: Sequence[Trial] = ()
) -> list[Trial]:
    """Return all trials of a study by number.

    Args:
        study: the study.
        config: its configuration.
        previous: an earlier result; trials that had ended by then are not read again.
    """
    recipe_values = encode_settings(config.recipe, config.space)
    ended = {t.number: t for t in previous if t.state not in ("running", "waiting")}
    return [
        ended.get(trial.number) or _convert(trial, config, recipe_values)
        for trial in study.get_trials(deepcopy=False)
    ]


def parameter_importances(study: optuna.Study) -> dict[str, float]:
    """Return the importance of each setting for reaching the best quarter of the complete trials.

    By PED-ANOVA (arXiv:2304.10255).

    Returns:
        Importances by dotted key, summing to 1; empty with fewer than eight complete trials, or if
        no setting has an effect.
    """
    complete = study.get_trials(deepcopy=False, states=(OptunaState.COMPLETE,))
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE or len({t.value for t in complete}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
    importances = evaluator.evaluate(study)
    total = sum(importances.values())
    return {key: value / total for key, value in importances.items()} if total > 0 else {}


def _convert(
    trial: FrozenTrial, config: SearchConfig, recipe_values: dict[str, Any] | None
) -> Trial:
    attributes = trial.user_attrs
    state = STATES[trial.state]
    if state == "failed" and "reason" not in attributes:
        state = "interrupted"
    losses = list(trial.intermediate_values.values())
    last_loss = losses[-1] if losses else None
    return Trial(
        number=trial.number,
        state=state,
        loss=trial.value if state == "complete" else last_loss,
        accuracy=attributes.get("accuracy"),
        epochs=len(losses),
        seconds=attributes.get("seconds"),
        parameters=config.decode(trial.params),
        from_recipe=trial.params == recipe_values,
        reason=attributes.get("reason"),
        curve=tuple(losses),
    )
