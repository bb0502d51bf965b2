"""``fashioncnn train``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from fashioncnn.cli.class_map import ClassMapOption, parse_mapping
from fashioncnn.cli.options import Assignments, Switch, Trackers, option_name, track_option
from fashioncnn.cli.ranks import Plan, connected, describe, place, require_no_group
from fashioncnn.cli.seeds import parse_seeds
from fashioncnn.cli.setting_flags import Recipe, resolve_settings, setting_flags
from fashioncnn.config import FLAGS, explicit_keys, override
from fashioncnn.errors import UsageError
from fashioncnn.settings import CustomConfig

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.models.custom import CustomNetwork
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings
    from fashioncnn.tracking.options import TrackerOption
    from fashioncnn.training.ranks import Ranks

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
        resume: Resume this run from its last checkpoint. Only --epochs, --data, --device,
            --kernels and --threads can be changed.
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
    with connected() as ranks:
        if resume is not None:
            from fashioncnn.cli.resume import resume_run

            others: dict[str, Any] = {"recipe": recipe, "--out": out, "--from": from_}
            others |= {"--config": config, "--set": set_, "--map": map_, "--seeds": seeds}
            given = [name for name, value in others.items() if value is not None]
            given += map(option_name, flags)
            resume_run(resume, flags, given, network, offline, json, ranks, trackers)
            return
        if seeds is not None and ranks.are_several:
            require_no_group(f"--seeds {seeds}", ranks)
        options = Options(recipe, flags, config, set_ or [], from_, map_ or [], network, seeds)
        prepared = ranks.agree(lambda: _prepare(options, ranks, offline=offline), Prepared.describe)
        _train(prepared, out, json, ranks, trackers)


@dataclass(frozen=True)
class Options:
    """What decides a new training, as it was typed; see `train`."""

    recipe: str | None
    flags: dict[str, Any]
    config: Path | None
    assignments: list[str]
    start: Path | None
    mapping: list[str]
    network: str | None
    seeds: str | None


@dataclass(frozen=True)
class Prepared:
    """A training that can start.

    Attributes:
        settings: resolved.
        dataset: to train on.
        initial: a model whose weights to start from, or None.
        custom: the network given with ``--network``, or None.
        seeds: of a group, or None.
        precision_selected: whether its precision was requested as ``auto``.
    """

    settings: Settings
    dataset: Dataset
    initial: TrainedModel | None
    custom: CustomNetwork | None
    seeds: tuple[int, ...] | None
    precision_selected: bool

    def describe(self) -> dict[str, Any]:
        """Return what several processes need in common."""
        sha256 = None if self.initial is None else self.initial.sha256
        return describe(self.settings, self.dataset, initial=sha256)


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


def _require_code(settings: Settings) -> None:
    """Reject settings, such as those of a run, that name a network instead of ``--network``."""
    if isinstance(settings.model, CustomConfig):
        name = settings.model.network
        raise UsageError(f"model.network = {name}: settings import no code; give --network {name}")


def _prepare(options: Options, ranks: Ranks, *, offline: bool) -> Prepared:
    """Return the training; what can be checked before a folder is created, is checked here."""
    settings, seeds = _resolve(options)
    from fashioncnn.environment import require_modules

    require_modules("train")
    from fashioncnn.cli.console import note
    from fashioncnn.cli.models import load_initial
    from fashioncnn.cli.networks import import_given
    from fashioncnn.cli.train_run import note_missing_kernels
    from fashioncnn.devices import configure_process, resolve_device
    from fashioncnn.training.prepare import (
        describe_transfer,
        prepare_settings,
        settings_of_weights,
    )

    resolve_device(settings.runtime.device)  # before a download
    settings = place(settings, ranks)
    configure_process(settings.runtime.threads, ranks.local_world_size)
    custom = import_given(options.network)
    initial = None if options.start is None else load_initial(options.start, custom)
    if initial is None and custom is None:
        _require_code(settings)
    if options.mapping:
        labels = () if initial is None else initial.spec.labels
        settings = override(settings, {"data.map": parse_mapping(options.mapping, labels)})
    settings = settings_of_weights(settings, initial)
    dataset = _load(settings, options.mapping, offline=offline)
    requested = settings.runtime
    settings = prepare_settings(settings, dataset, initial, custom, ranks.world_size)
    if requested.kernels == "auto":
        note_missing_kernels(settings)
    if initial is not None:
        for line in describe_transfer(initial, dataset):
            note(line)
    selected = requested.precision == "auto"
    return Prepared(settings, dataset, initial, custom, seeds, selected)


def _load(settings: Settings, mapping: list[str], *, offline: bool) -> Dataset:
    """Return the dataset to train on; it has to have the classes that ``--map`` names."""
    from fashioncnn.cli.class_map import mapping_of_names
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.data.alignment import UnknownClassError
    from fashioncnn.data.options import load_arguments

    arguments = load_arguments(settings.data)
    if mapping:
        required = frozenset(mapping_of_names(mapping, settings.data.classes or ()))
        arguments["class_map"] = replace(arguments["class_map"], required=required)
    try:
        return load_for(settings.data.source, offline=offline, **arguments)
    except UnknownClassError as error:
        raise error.with_options() from None


def _resolve(options: Options) -> tuple[Settings, tuple[int, ...] | None]:
    """Return the settings, not yet resolved for data and machine, and the seeds of a group."""
    config, assignments, flags = options.config, options.assignments, options.flags
    if options.network is not None:
        _reject_settings_of_network(options.network, config, assignments)
    seeds = None if options.seeds is None else parse_seeds(options.seeds, flags, assignments)
    if options.start is not None:
        _reject_settings_of_weights(config, assignments, flags)
    settings = resolve_settings(
        options.recipe or ("baseline" if options.start is None else "finetune"),
        flags,
        config=config,
        assignments=assignments,
        own_network=options.network is not None,
    )
    return settings, seeds


def _train(
    prepared: Prepared,
    out: Path | None,
    json: bool,
    ranks: Ranks,
    trackers: Sequence[TrackerOption],
) -> None:
    """Train a new run, or a group of runs."""
    from fashioncnn.cli.train_run import help_train, train_run
    from fashioncnn.runs import new_run
    from fashioncnn.training.run import write_start

    settings, dataset, custom = prepared.settings, prepared.dataset, prepared.custom
    if prepared.seeds is not None:
        from fashioncnn.cli.train_group import train_group

        train_group(
            *(prepared.seeds, settings, dataset, prepared.initial, custom, out, json, trackers),
            precision_selected=prepared.precision_selected,
        )
        return

    def write(run: RunFolder) -> None:
        write_start(run, settings, dataset, prepared.initial, custom, ranks)

    with Plan(ranks) as plan:
        if not ranks.is_first:
            help_train(Path(plan.receive()["run"]), settings, dataset, custom, ranks)
            return
        with new_run(out, settings, write) as run:
            plan.send(run=str(run.path))
            train_run(run, settings, dataset, json, custom, ranks, trackers)
