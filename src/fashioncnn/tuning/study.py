"""A search in its folder: what it is bound to, its journal, and what became of its trials.

One process at a time holds the folder (`SearchFolder.lock`) and alone writes the journal; its
workers only compute. So whoever holds the lock knows that every trial the journal calls running
has lost its process, however that ended: `recover` gives it up and puts its values in the queue.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import tomli_w
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from pydantic import ValidationError

from fashioncnn.config import override
from fashioncnn.errors import RunError, UsageError
from fashioncnn.files import lock_folder, write_atomic
from fashioncnn.settings import Settings
from fashioncnn.tuning.space import Space, point_of

Sampler = Literal["tpe", "random"]
Trial = dict[str, Any]
"""What became of a trial; see `trials_of`."""
FREE: dict[str, Any] = {"recipe": True, "description": True, "data": {"source"}, "runtime": True}
"""Settings that may be others when a search goes on: names, and the machine."""
STARTUP_TRIALS = 10
"""Trials drawn evenly before TPE has enough to model (Optuna's default)."""
AGAIN = "again_of"
"""User attribute of a trial: the number of the lost trial whose values it has."""


@dataclass(frozen=True)
class Search:
    """What is searched, and how.

    Attributes:
        recipe: the recipe's settings, as the best is written; ``auto`` values are kept.
        settings: the same as a trial runs: resolved, with a validation part, the test part shut.
        space: what is varied.
        sampler: ``tpe`` (arXiv:2304.11127) or ``random``.
        seed: decides what is drawn.
        data: name and SHA-256 of the training part.
    """

    recipe: Settings
    settings: Settings
    space: Space
    sampler: Sampler
    seed: int
    data: dict[str, str]

    def identity(self) -> dict[str, Any]:
        """Return all that decides what the trials are, as TOML has it."""
        return {
            "schema": 1,
            "sampler": self.sampler,
            "seed": self.seed,
            "data": self.data,
            "settings": _deciding(self.settings),
            "space": {key: parameter.to_dict() for key, parameter in self.space.items()},
        }

    def decode(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the values of settings that a trial's parameters stand for."""
        return {key: self.space[key].decode(value) for key, value in parameters.items()}


@dataclass(frozen=True)
class SearchFolder:
    """The paths of one search."""

    path: Path

    @property
    def search(self) -> Path:
        """What is searched, and how."""
        return self.path / "search.toml"

    @property
    def journal(self) -> Path:
        """Everything that happened, a line of JSON each, as Optuna writes and reads it."""
        return self.path / "journal.log"

    @property
    def best(self) -> Path:
        """The recipe of the best trial so far."""
        return self.path / "best.toml"

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Keep every other process from searching in this folder."""
        return lock_folder(self.path, "another process is searching in this folder")

    def claim(self) -> None:
        """Make the folder, which has to be new, empty, or a search's.

        Raises:
            UsageError: it holds something else, or cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            # A hidden file is what a process killed in its first write has left.
            held = any(not p.name.startswith(".") for p in self.path.iterdir())
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be written ({error.strerror})") from None
        if held and not self.search.exists():
            raise UsageError(
                f"--out {self.path}: holds something, but no search; name a new folder"
            )

    def bind(self, search: Search) -> None:
        """Write down what is searched, or make sure that it is what was written down before.

        Raises:
            UsageError: the folder's search is another one; the message says where it differs.
            RunError: its description is damaged.
        """
        wanted = search.identity()
        if not self.search.exists():
            write_atomic(self.search, tomli_w.dumps(wanted).encode())
            return
        try:
            found = tomllib.loads(self.search.read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.search}: damaged ({error})") from None
        with contextlib.suppress(ValidationError, KeyError, TypeError):
            # One that a version before this one wrote lacks settings that there are now.
            known = Settings.model_validate({"recipe": "", **found["settings"]}, strict=False)
            found["settings"] = _deciding(known)
        differences = _differences(found, tomllib.loads(tomli_w.dumps(wanted)))
        if differences:
            raise UsageError(
                f"{self.path}: holds another search: {'; '.join(differences)}; take the same, or "
                "name a new folder with --out"
            )

    def write_best(self, search: Search, trials: list[Trial]) -> None:
        """Write the best trial as a recipe that ``fashioncnn train`` takes as it is."""
        best = best_of(trials)
        if best is None:
            return
        settings = override(search.recipe, best["parameters"])
        values = settings.model_dump(
            mode="json", exclude={"recipe": True, "data": {"source"}, "runtime": True},
            exclude_none=True,
        )  # fmt: skip
        values["training"]["track_test"] = False
        if settings.runtime.precision != "fp32":
            values["runtime"] = {"precision": settings.runtime.precision}
        values["description"] = (
            f"{search.recipe.recipe}, tuned: trial {best['number']}, best of "
            f"{sum(ended(t) for t in trials)} by {search.sampler}, validation loss "
            f"{best['loss']:.4f} on {search.data['name']} after {best['epochs']} epochs"
        )
        text = tomli_w.dumps({"description": values.pop("description"), **values})
        write_atomic(self.best, text.encode())


def _deciding(settings: Settings) -> dict[str, Any]:
    """Return the settings that decide what a trial is, as TOML has them."""
    values = settings.model_dump(mode="json", exclude=FREE, exclude_none=True)
    return values | {"runtime": {"precision": settings.runtime.precision}}


def mend_journal(path: Path) -> int:
    """Cut a journal to its last whole line, and return how many bytes were cut off.

    Every line is flushed before the next is begun, so that a crash can leave no more than a last
    line in pieces, or zeros in its place.

    Raises:
        RunError: a line before the last is unreadable, which no crash explains.
    """
    path.with_name(path.name + ".lock").unlink(missing_ok=True)  # of a process that was killed
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = 0
    for number, line in enumerate(content.splitlines(keepends=True), 1):
        if not line.endswith(b"\n") or not _is_entry(line):
            if any(_is_entry(rest) for rest in content[whole + len(line) :].splitlines()):
                raise RunError(f"{path}: damaged in line {number}, with whole lines after it")
            break
        whole += len(line)
    if whole < len(content):
        write_atomic(path, content[:whole])
    return len(content) - whole


def open_study(folder: SearchFolder, search: Search) -> optuna.Study:
    """Return the study in a folder that this process holds, begun where there is none.

    The recipe's own values are tried first, where the space holds them.
    """
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    name = str(folder.journal)
    backend = JournalFileBackend(name, lock_obj=JournalFileOpenLock(name))
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(backend),
        study_name="fashioncnn",
        direction="minimize",
        pruner=make_pruner(search.settings.training.epochs),
        load_if_exists=True,
    )
    point = point_of(search.recipe, search.space)
    if point is not None and not study.get_trials(deepcopy=False):
        study.enqueue_trial(point)
    return study


def make_pruner(epochs: int) -> optuna.pruners.BasePruner:
    """Return what stops a trial: after an epoch, a loss worse than the median of finished trials.

    Not Hyperband: it divides the trials into brackets with a model each, too few in each for the
    tens of trials and epochs of a search here, and it goes by a trial's number, so that a search
    that was killed would go on otherwise. The first quarter of the epochs is always learnt.
    """
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, epochs // 4))


def ask(
    study: optuna.Study, search: Search, distributions: dict[str, BaseDistribution]
) -> optuna.Trial:
    """Return the next trial: one of the queue, or a new one.

    What is drawn is a function of the seed, how many were drawn before, and what became of them.
    A sampler that kept its state in memory would draw the same again each time a search goes on.
    """
    trials = study.get_trials(deepcopy=False)
    drawn = sum(AGAIN not in t.user_attrs and _is_drawn(t, search) for t in trials)
    seed = int(np.random.SeedSequence((search.seed, drawn)).generate_state(1)[0])
    study.sampler = make_sampler(search.sampler, seed)
    return study.ask(distributions)


def make_sampler(name: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    """Return a fresh sampler."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed)
    return optuna.samplers.TPESampler(
        seed=seed, multivariate=True, n_startup_trials=STARTUP_TRIALS, constant_liar=True
    )


def lose(study: optuna.Study, search: Search, trial: FrozenTrial, **attributes: Any) -> None:
    """Give up a trial whose process is gone, and have its values tried again.

    The queue is written first: killed between the two, the next call finds both done. A trial
    that was killed while it was drawn is not queued; the next one is drawn alike.
    """
    trials = study.get_trials(deepcopy=False)
    queued = any(t.user_attrs.get(AGAIN) == trial.number for t in trials)
    failed = "reason" in trial.user_attrs  # and was killed before it could be told so
    if _is_drawn(trial, search) and not queued and not failed:
        values = trial.system_attrs.get("fixed_params", trial.params)
        study.enqueue_trial(values, user_attrs={**attributes, AGAIN: trial.number})
    study.tell(trial.number, state=TrialState.FAIL)


def recover(study: optuna.Study, search: Search) -> int:
    """Lose every trial that a process before this one left running; return how many."""
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in left:
        lose(study, search, trial, attempt=trial.user_attrs.get("attempt", 1))
    return len(left)


def trials_of(study: optuna.Study, search: Search, known: Sequence[Trial] = ()) -> list[Trial]:
    """Return what became of every trial, in the order they were begun.

    An earlier answer, `known`, saves reading again what has ended, which does not change.

    A trial has ``number``, ``state`` (complete, pruned, failed, lost, running, waiting), ``loss``
    and ``accuracy`` (on validation, of the kept weights; of a pruned one, of its last epoch),
    ``epochs``, ``seconds``, ``parameters`` by setting, whether they are the recipe's ``own``, and
    ``reason``, why it failed.
    """
    own = point_of(search.recipe, search.space)
    done = {t["number"]: t for t in known if t["state"] not in ("running", "waiting")}
    return [
        done.get(trial.number) or _trial(trial, search, own)
        for trial in study.get_trials(deepcopy=False)
    ]


def ended(trial: Trial) -> bool:
    """Whether a trial counts: a lost one does not, for it is run again."""
    return trial["state"] in ("complete", "pruned", "failed")


def best_of(trials: list[Trial]) -> Trial | None:
    """Return the complete trial of the lowest loss; the earlier one of two."""
    return min(
        (t for t in trials if t["state"] == "complete"), key=lambda t: t["loss"], default=None
    )


def importances(study: optuna.Study) -> dict[str, float]:
    """Return how much each parameter decides whether a trial is among the best quarter.

    By PED-ANOVA (arXiv:2304.10255) over the complete trials; shares of 1. Empty where there are
    fewer than eight, or no parameter tells.
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 8 or len({t.value for t in complete}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
    values = evaluator.evaluate(study)
    total = sum(values.values())
    return {key: value / total for key, value in values.items()} if total > 0 else {}


def _trial(frozen: FrozenTrial, search: Search, own: dict[str, Any] | None) -> Trial:
    kept = frozen.user_attrs
    state = _STATES[frozen.state]
    if state == "failed" and "reason" not in kept:
        state = "lost"
    losses = list(frozen.intermediate_values.values())
    return {
        "number": frozen.number,
        "state": state,
        "loss": frozen.value if state == "complete" else losses[-1] if losses else None,
        "accuracy": kept.get("accuracy"),
        "epochs": len(losses),
        "seconds": kept.get("seconds"),
        "parameters": search.decode(frozen.params),
        "own": frozen.params == own,
        "reason": kept.get("reason"),
    }


def _is_drawn(trial: FrozenTrial, search: Search) -> bool:
    """Whether all values of a trial are known; one of the queue brings them along."""
    return len(trial.system_attrs.get("fixed_params", trial.params)) == len(search.space)


_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _differences(found: dict[str, Any], wanted: dict[str, Any], shown: int = 3) -> list[str]:
    """Return a phrase for each key in which two nested tables differ, the first few."""
    flat = [dict(_flat(found)), dict(_flat(wanted))]
    phrases = []
    for key in sorted(flat[0].keys() | flat[1].keys()):
        there, now = (values.get(key) for values in flat)
        if there != now:
            told = ["nothing" if v is None else json.dumps(v) for v in (there, now)]
            phrases.append(f"{key} is {told[0]} there and {told[1]} now")
    more = [f"and {len(phrases) - shown} more"] if len(phrases) > shown else []
    return phrases[:shown] + more


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [
            (prefix + key, value)
        ]  # fmt: skip
    return pairs
