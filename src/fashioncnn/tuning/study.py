"""Opening a study, and recovery of the trials that a previous process left running.

Only the process that holds the folder's lock writes the journal; its workers only compute. So the
process that holds the lock knows that every trial still marked as running was interrupted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from fashioncnn.errors import FashionCNNError, RunError
from fashioncnn.tuning.config import SearchConfig
from fashioncnn.tuning.folder import SearchFolder
from fashioncnn.tuning.journal import HOW_TO_CONTINUE, STUDY_NAME
from fashioncnn.tuning.ranges import Choices, Range
from fashioncnn.tuning.sampling import FINALIST_OF, RETRY_OF, SEED, is_drawn, make_pruner
from fashioncnn.tuning.space import encode_settings

NEED_VALUES = (TrialState.COMPLETE, TrialState.PRUNED)
"""States that a trial reaches only after a value was drawn for every setting."""
ATTRIBUTES: dict[str, type | tuple[type, ...]] = {
    RETRY_OF: int,
    FINALIST_OF: int,
    SEED: int,
    "attempt": int,
    "accuracy": (int, float),
    "seconds": (int, float),
    "reason": str,
}
"""Types of user attributes by name."""


class _NoLock(JournalFileOpenLock):
    """Leaves out Optuna's lock, which a crash or a full disk can leave behind.

    The lock of the folder serves its purpose; the system releases that one in any case.
    """

    def acquire(self) -> bool:
        """Succeed without a lock file."""
        return True

    def release(self) -> None:
        """Do nothing."""


def open_study(folder: SearchFolder, config: SearchConfig) -> optuna.Study:
    """Return the study of a locked folder; a new study begins with the values of the recipe.

    Raises:
        RunError: the journal contains entries of another search, or lacks some.
    """
    study = open_journal(folder.journal, config)
    queue_recipe(study, config)
    return study


def queue_recipe(study: optuna.Study, config: SearchConfig) -> None:
    """Queue the values of the recipe as the first trial of a new study."""
    values = encode_settings(config.recipe, config.space)
    if values is not None and not study.get_trials(deepcopy=False):
        study.enqueue_trial(values)


def open_journal(path: Path, config: SearchConfig) -> optuna.Study:
    """Return the study in a journal; it is created if there is none.

    Raises:
        RunError: the journal contains entries of another search, or lacks some.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = _replay(str(path), config)
        check_trials(study, config)
    except (FashionCNNError, OSError):
        raise
    except Exception as error:  # Optuna replays foreign entries until anything fails
        raise RunError(
            f"{path}: not the journal of this search ({type(error).__name__}: {error}); "
            f"{HOW_TO_CONTINUE}"
        ) from None
    return study


def _replay(path: str, config: SearchConfig) -> optuna.Study:
    backend = JournalFileBackend(path, lock_obj=_NoLock(path))
    return optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name=STUDY_NAME,
        direction="minimize",
        pruner=make_pruner(config.pruner, int(config.settings.training.epochs)),
        load_if_exists=True,
    )


def check_trials(study: optuna.Study, config: SearchConfig) -> None:
    """Raise `ValueError` if a trial is not one that this search could have written."""
    distributions = {key: parameter.distribution() for key, parameter in config.space.items()}
    for trial in study.get_trials(deepcopy=False):
        steps = list(trial.intermediate_values)
        if any(trial.distributions[key] != distributions.get(key) for key in trial.params):
            raise ValueError(f"trial {trial.number} has other settings or ranges")
        if trial.state in NEED_VALUES and len(trial.params) != len(distributions):
            raise ValueError(f"trial {trial.number} lacks the value of a setting")
        if steps != list(range(1, len(steps) + 1)):
            raise ValueError(f"trial {trial.number} lacks the loss of an epoch")
        if trial.state == TrialState.COMPLETE and not isinstance(trial.value, float | int):
            raise ValueError(f"trial {trial.number} is complete without a loss")
        if not all(_is_known_attribute(*item) for item in trial.user_attrs.items()):
            raise ValueError(f"trial {trial.number} has other attributes")
        queued = trial.system_attrs.get("fixed_params", {})
        if not all(_is_drawable(config.space[key], value) for key, value in queued.items()):
            raise ValueError(f"trial {trial.number} has queued values outside of their ranges")
        config.decode({**queued, **trial.params})


def _is_drawable(parameter: Range | Choices, value: Any) -> bool:
    """Return whether Optuna could have stored a value for this setting."""
    if isinstance(parameter, Choices):
        return parameter.contains(parameter.decode(value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(parameter.low <= value <= parameter.high)


def _is_known_attribute(name: str, value: object) -> bool:
    return isinstance(value, ATTRIBUTES.get(name, ())) and not isinstance(value, bool)


def requeue_trial(
    study: optuna.Study, config: SearchConfig, trial: FrozenTrial, **attributes: Any
) -> None:
    """Mark a trial as interrupted and queue its values again.

    The values are queued first, so a process killed between the two steps loses nothing.
    """
    queue_again(study, config, trial, **attributes)
    study.tell(trial.number, state=TrialState.FAIL)


def queue_again(
    study: optuna.Study, config: SearchConfig, trial: FrozenTrial, **attributes: Any
) -> bool:
    """Queue the values of an interrupted trial again, unless they are; return whether they were.

    A trial without all its values is not queued, since the next one will be drawn with the same
    values.
    """
    trials = study.get_trials(deepcopy=False)
    is_queued = any(t.user_attrs.get(RETRY_OF) == trial.number for t in trials)
    kept = {k: v for k, v in trial.user_attrs.items() if k in (FINALIST_OF, SEED)}
    has_failed = "reason" in trial.user_attrs  # the process was killed before it set the state
    if not is_drawn(trial, config) or is_queued or has_failed:
        return False
    values = trial.system_attrs.get("fixed_params", trial.params)
    study.enqueue_trial(values, user_attrs={**kept, **attributes, RETRY_OF: trial.number})
    return True


def requeue_running_trials(study: optuna.Study, config: SearchConfig) -> int:
    """Queue every trial that a previous process left running; return how many there are."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in running:
        requeue_trial(study, config, trial, attempt=trial.user_attrs.get("attempt", 1))
    return len(running)
