"""``fashioncnn tune``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fashioncnn.cli.console import note
from fashioncnn.cli.options import Assignments, Switch, Trackers, number, track_option
from fashioncnn.cli.setting_flags import Recipe, resolve_settings, setting_flags
from fashioncnn.config import assignment_keys
from fashioncnn.errors import UsageError

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.settings import Settings
    from fashioncnn.tuning.address import Address
    from fashioncnn.tuning.space import Space

DEFAULT_TRIALS = 50
"""Number of trials without --trials and --timeout."""
MAX_SEED = 2**32 - 1
SECONDS_PER_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600}


@setting_flags("data", "epochs", "device")
def tune(
    recipe: Recipe = "baseline",
    /,
    *,
    trials: Annotated[int | None, number(int, minimum=1)] = None,
    timeout: str | None = None,
    jobs: Annotated[int, number(int, minimum=1)] = 1,
    space: str | None = None,
    sampler: Literal["tpe", "random"] = "tpe",
    pruner: Literal["median", "hyperband", "none"] = "median",
    finalists: Annotated[int, number(int, minimum=0, maximum=100)] = 3,
    finalist_seeds: Annotated[int, number(int, minimum=1, maximum=100)] = 3,
    trial_timeout: str = "10m",
    storage: str | None = None,
    study: str | None = None,
    track: Trackers = None,
    seed: Annotated[int, number(int, minimum=0, maximum=MAX_SEED)] = 0,
    out: Path | None = None,
    set_: Assignments = None,
    offline: Switch = False,
    json: Switch = False,
    **flags: Any,
) -> None:
    """Search hyper-parameters by the calibrated loss on the validation split.

    Args:
        recipe: The settings of all trials.
        trials: Total number of trials, including those of earlier calls. Default: 50, or no limit
            with --timeout.
        timeout: Time limit, as in 90s, 30m, 8h, finalists included. The next call repeats the
            trials that it interrupts.
        jobs: Trials to train at a time, each in its own process; they share the CPU cores.
        space: Search space: a name, such as regularization, or a .toml file. Default: the space for
            the recipe's model and optimizer.
        sampler: tpe is a tree-structured Parzen estimator, random draws all values independently.
        pruner: What stops trials early: median, hyperband (for hundreds of trials), or none.
        finalists: Number of best trials that are trained again with other seeds, before one of them
            is chosen; 0 takes the lowest loss.
        finalist_seeds: Number of other seeds for each of them.
        trial_timeout: Time without progress after which a trial is killed and fails.
        storage: Database that several machines share: postgresql://USER@HOST:PORT/DATABASE. The
            password comes from PGPASSWORD or ~/.pgpass. Default: FASHIONCNN_STORAGE, else a journal
            in the folder.
        study: Name of the search in the database. Default: tune-RECIPE.
        track: Record each trial: tensorboard[:DIR] or mlflow[:URI]; can be repeated. By default in
            the folder of the search, and in mlflow.db beside it.
        seed: Seed of the sampler. All trials train with the seed of the recipe.
        out: Folder of the search; a search that it contains is resumed. Default: runs/tune-RECIPE.
        set_: Settings of all trials, as in --set training.batch_size=128; they are not searched.
        offline: Do not download data.
        json: Print the result as one JSON document.
        flags: The settings that have a flag.
    """
    from fashioncnn.environment import require_modules

    seconds = math.inf if timeout is None else parse_time(timeout)
    if trials is None and timeout is None:
        trials = DEFAULT_TRIALS
    hanging = parse_time(trial_timeout, "--trial-timeout")
    require_modules("tune")
    trackers = track_option(track)
    address = _address(storage, study)
    from fashioncnn.cli.tune_run import SearchOptions, run_search_in_folder

    settings = resolve_settings(recipe, flags, assignments=set_)
    fixed = assignment_keys(set_ or [])
    searched, space_name = _read_space(space, settings, fixed)
    dataset = _load(settings, jobs, offline)
    from fashioncnn.tuning.plan import plan_search

    config = plan_search(
        settings,
        searched,
        space_name,
        dataset,
        sampler=sampler,
        seed=seed,
        jobs=jobs,
        pruner=pruner,
        fixed=fixed,
    )
    options = SearchOptions(
        jobs=jobs,
        target=math.inf if trials is None else trials,
        seconds=seconds,
        trial_timeout=hanging,
        finalists=finalists,
        finalist_seeds=finalist_seeds,
        address=address,
        study=study or f"tune-{settings.recipe}",
        trackers=trackers,
        json=json,
    )
    run_search_in_folder(config, out or Path("runs") / f"tune-{settings.recipe}", options)


def parse_time(text: str, option: str = "--timeout") -> float:
    """Return the seconds in a time such as ``90``, ``90s``, ``30m`` or ``1.5h``.

    Raises:
        UsageError: it is not a time, or 0.
    """
    match = re.fullmatch(r"(\d+\.?\d*)([smh]?)", text.strip())
    seconds = float(match[1]) * SECONDS_PER_UNIT[match[2]] if match else 0.0
    if not seconds > 0:
        raise UsageError(f"{option} {text}: should be a time, as in 90s, 30m or 8h")
    return seconds


def _read_space(name: str | None, settings: Settings, fixed: set[str]) -> tuple[Space, str]:
    """Return the space without the settings fixed by ``--set``, and its name."""
    from fashioncnn.tuning.parsing import default_space, read_space
    from fashioncnn.tuning.space import check_space

    name = name or default_space(settings)
    full = read_space(name)
    space = {key: parameter for key, parameter in full.items() if key not in fixed}
    removed = [key for key in full if key in fixed]
    if not space:
        raise UsageError(f"--set {removed[0]}: no setting of space {name} is left to search")
    if removed:
        note(f"not searched, because set with --set: {', '.join(removed)}")
    check_space(space, settings, name)
    return space, name


def _address(storage: str | None, study: str | None) -> Address | None:
    """Return the address of the database, if one is given."""
    from fashioncnn.config import storage_from_environment
    from fashioncnn.environment import require_modules
    from fashioncnn.tuning.address import parse_address

    text = storage or storage_from_environment()
    if text is None:
        if study is not None:
            raise UsageError(f"--study {study}: names a search in a database; give --storage, too")
        return None
    address = parse_address(text, "--storage" if storage else "FASHIONCNN_STORAGE")
    if study is not None and not re.fullmatch(r"[\w.-]{1,200}", study):
        raise UsageError(f"--study {study}: should be letters, digits, '.', '_' and '-'")
    require_modules("postgres")
    if storage and address.secrets:
        note(
            "--storage: other users of this machine can see the password in the list of processes; "
            "use PGPASSWORD, ~/.pgpass or FASHIONCNN_STORAGE"
        )
    return address


def _load(settings: Settings, jobs: int, offline: bool) -> Dataset:
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.data.options import load_arguments
    from fashioncnn.devices import configure_process, resolve_device
    from fashioncnn.tuning.plan import trial_threads

    resolve_device(settings.runtime.device)  # before a download
    configure_process(trial_threads(settings, jobs))
    return load_for(settings.data.source, offline=offline, **load_arguments(settings.data))
