"""``fashioncnn train``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fashioncnn.cli.class_map import ClassMapOption, parse_mapping
from fashioncnn.cli.options import Assignments, Switch, Trackers, option_name, track_option
from fashioncnn.cli.seeds import parse_seeds
from fashioncnn.cli.setting_flags import Recipe, resolve_settings, setting_flags
from fashioncnn.config import FLAGS, explicit_keys, override
from fashioncnn.errors import UsageError
from fashioncnn.settings import CustomConfig, DistillationConfig

if TYPE_CHECKING:
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings
    from fashioncnn.tracking.options import TrackerOption

DECIDED_BY_WEIGHTS = ("data.scaling", "data.views", "data.channels")
"""Settings that ``--from`` takes from the model, beside those of its architecture."""


@setting_flags(*FLAGS)
def train(
    recipe: Annotated[Recipe | None, Parameter(show_default="baseline")] = None,
    /,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    map_: ClassMapOption = None,
    network: str | None = None,
    config: Path | None = None,
    set_: Assignments = None,
    offline: Switch = False,
    seeds: str | None = None,
    track: Trackers = None,
    json: Switch = False,
    **flags: Any,
) -> None:
    """Train a network and write a run folder.

    Args:
        recipe: The settings to train with; with --from, by default finetune.
        out: The run folder to write; it must be new or empty. Default: runs/train-N.
        resume: Resume this run from its last checkpoint. Only --epochs, --data and --device can
            be changed.
        from_: Start with the weights of this run, model folder or bundled model. Classes of the
            same name are kept, others are added.
        map_: The model's class for a class of the data, as in --map pants=Trouser. Of several, as
            in --map shoes=Sandal,Sneaker, any is correct; without any, as in --map hat=, the images
            are outside of the classes.
        network: Train your own network, package.module:Class, a torch.nn.Module that returns
            logits. The current folder is searched for the module, too.
        config: A TOML file with some of the settings.
        set_: Any settings, as in --set model.hidden=256 training.label_smoothing=0.1.
        offline: Do not download data.
        seeds: Train a group, one run per seed, as in 0-4 or 0,3,7; the same command with the same
            --out continues it.
        track: Record parameters, curves, report and model: tensorboard[:DIR] or mlflow[:URI]; can
            be repeated. By default in the run folder, and in mlflow.db beside it.
        json: Print the metrics as one JSON document.
        flags: The settings that have a flag.
    """
    trackers = track_option(track)
    if resume is None:
        assignments = set_ or []
        if network is not None:
            _reject_settings_of_network(network, config, assignments)
        numbers = None if seeds is None else parse_seeds(seeds, flags, assignments)
        if from_ is not None:
            _reject_settings_of_weights(config, assignments, flags)
        settings = resolve_settings(
            recipe or ("baseline" if from_ is None else "finetune"),
            flags,
            config=config,
            assignments=assignments,
        )
        _reject_unused_distillation(settings, config, assignments)
        _start(settings, map_ or [], out, from_, network, offline, json, numbers, trackers)
        return
    from fashioncnn.cli.resume import resume_run

    others = {"recipe": recipe, "--out": out, "--from": from_, "--config": config, "--set": set_}
    others |= {"--map": map_, "--seeds": seeds}
    given = [name for name, value in others.items() if value is not None]
    resume_run(resume, flags, [*given, *map(option_name, flags)], network, offline, json, trackers)


def _reject_settings_of_weights(
    config: Path | None, assignments: list[str], flags: dict[str, Any]
) -> None:
    origins = explicit_keys(config, assignments)
    origins |= {FLAGS[flag]: option_name(flag) for flag, value in flags.items() if value}
    for key, origin in origins.items():
        if key.startswith("model.") or key in DECIDED_BY_WEIGHTS:
            raise UsageError(
                f"{origin}: --from takes architecture, scaling and views from the model, and its "
                "channels; remove it"
            )


def _reject_settings_of_network(network: str, config: Path | None, assignments: list[str]) -> None:
    recorded = {f"model.{name}" for name in CustomConfig.model_fields}  # in the config of a run
    for key, origin in explicit_keys(config, assignments).items():
        if key.startswith("model.") and key not in recorded:
            raise UsageError(f"{origin}: has no effect on --network {network}; remove it")


def _reject_unused_distillation(
    settings: Settings, config: Path | None, assignments: list[str]
) -> None:
    """Reject settings of distillation that have no effect without teachers."""
    distillation, default = settings.distillation, DistillationConfig()
    unused = [] if distillation.ensemble_size else ["epochs"]
    if distillation.is_off:
        unused += ["alpha", "temperature"]
    explicit = explicit_keys(config, assignments)
    for name in unused:
        origin = explicit.get(f"distillation.{name}")
        if origin and getattr(distillation, name) != getattr(default, name):
            raise UsageError(
                f"{origin}: has no effect without teachers; set distillation.ensemble_size or "
                "distillation.teachers"
            )


def _require_code(settings: Settings) -> None:
    """Reject settings, such as those of a run, that name a network instead of ``--network``."""
    if isinstance(settings.model, CustomConfig):
        name = settings.model.network
        raise UsageError(f"model.network = {name}: settings import no code; give --network {name}")


def _start(
    settings: Settings,
    assignments: list[str],
    out: Path | None,
    start: Path | None,
    network: str | None,
    offline: bool,
    json: bool,
    seeds: tuple[int, ...] | None,
    trackers: Sequence[TrackerOption],
) -> None:
    """Train a new run, or a group of runs with these seeds."""
    from fashioncnn.environment import require_modules

    require_modules("train")
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.cli.models import load_initial
    from fashioncnn.cli.networks import import_given
    from fashioncnn.cli.train_run import note_missing_kernels, train_run
    from fashioncnn.data.options import load_arguments
    from fashioncnn.devices import configure_process, resolve_device
    from fashioncnn.runs import new_run
    from fashioncnn.training.prepare import prepare_settings, settings_of_weights
    from fashioncnn.training.run import write_start

    resolve_device(settings.runtime.device)  # before a download
    configure_process(settings.runtime.threads)
    custom = import_given(network)
    initial = None if start is None else load_initial(start, custom)
    if initial is None and custom is None:
        _require_code(settings)
    if assignments:
        labels = () if initial is None else initial.spec.labels
        settings = override(settings, {"data.map": parse_mapping(assignments, labels)})
    settings = settings_of_weights(settings, initial)
    dataset = load_for(settings.data.source, offline=offline, **load_arguments(settings.data))
    requested_kernels = settings.runtime.kernels
    settings = prepare_settings(settings, dataset, initial, custom)
    if requested_kernels == "auto":
        note_missing_kernels(settings)

    if seeds is not None:
        from fashioncnn.cli.train_group import train_group

        train_group(seeds, settings, dataset, initial, custom, out, json, trackers)
        return

    def write(run: RunFolder) -> None:
        write_start(run, settings, dataset, initial, custom)

    with new_run(out, settings, write) as run:
        train_run(run, settings, dataset, json, custom, trackers)
