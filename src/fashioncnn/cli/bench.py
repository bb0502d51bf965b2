"""``fashioncnn bench train`` and ``fashioncnn bench predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fashioncnn.cli.console import note, plural, print_json, print_tables
from fashioncnn.cli.options import Assignments, Backend, Switch, number
from fashioncnn.cli.setting_flags import Recipe, resolve_settings, setting_flags
from fashioncnn.errors import UsageError
from fashioncnn.settings import MAX_THREADS

if TYPE_CHECKING:
    from fashioncnn.loading import LoadedModel
    from fashioncnn.reporting.tables import Table
    from fashioncnn.settings import DistillationConfig

MAX_SECONDS = 3600
BUSY_FRACTION = 0.8
"""Below this fraction of the best limit or of the processor, other processes used the machine."""

Rounds = Annotated[int, number(int, minimum=1)]
Seconds = Annotated[float, number(float, above=0, maximum=MAX_SECONDS)]


@setting_flags("batch_size", "device", "precision", "threads", "kernels")
def train(
    recipe: Recipe = "baseline",
    /,
    *,
    data: str | None = None,
    rounds: Rounds = 5,
    seconds: Seconds = 2.0,
    config: Path | None = None,
    set_: Assignments = None,
    json: Switch = False,
    **flags: Any,
) -> None:
    """Measure the speed of training.

    Args:
        recipe: The settings to train with.
        data: Folder of IDX files, folder of class folders, or sketches. Default: 60,000 images
            drawn by the program; the content of images makes no difference to the speed.
        rounds: Measurements after a warm-up.
        seconds: Seconds of training per measurement.
        config: A TOML file with some of the settings.
        set_: Any settings, as in --set model.hidden=256 training.label_smoothing=0.1.
        json: Print the measurements as one JSON document.
        flags: The settings that have a flag.
    """
    flags = {**flags, "data": data, "track_test": False}  # without a test split, too
    settings = resolve_settings(recipe, flags, config=config, assignments=set_)
    _reject_distillation(settings.distillation)
    from fashioncnn.environment import require_modules

    require_modules("train")
    from fashioncnn.bench.training import bench_training, repeated_sketches
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.cli.runtime_notes import note_slow_runtime
    from fashioncnn.devices import configure_process, resolve_device
    from fashioncnn.reporting.bench import training_table
    from fashioncnn.training.prepare import prepare_settings

    place = resolve_device(settings.runtime.device)  # before a download
    configure_process(settings.runtime.threads)
    dataset = load_for(data, settings.data.image_size) if data else repeated_sketches()
    settings = prepare_settings(settings, dataset)
    runtime = settings.runtime
    note(
        f"{settings.recipe}: {place}, {runtime.precision}, {plural(runtime.threads, 'thread')}, "
        f"{runtime.kernels} kernels, batch size {settings.training.batch_size}; a warm-up, then "
        f"{plural(rounds, 'round')} of {seconds:g} s"
    )
    note_slow_runtime(runtime)
    result = bench_training(settings, dataset, rounds=rounds, seconds=seconds, report=note)
    _print(result, training_table(result), json)


def predict(
    model: Path | None = None,
    /,
    *,
    backend: Backend = "auto",
    network: str | None = None,
    device: str = "auto",
    threads: Annotated[int | None, number(int, minimum=1, maximum=MAX_THREADS)] = None,
    rounds: Rounds = 5,
    seconds: Seconds = 2.0,
    json: Switch = False,
) -> None:
    """Measure the speed of prediction.

    Args:
        model: A run folder, a model folder, an .onnx file, or a bundled model.
            Default: an untrained network of baseline, which is as fast as a trained one.
        backend: onnx is ONNX Runtime, torch is PyTorch; auto measures, in turns, all that the model
            has files for.
        network: The code of a custom network, as package.module:Class, for torch.
        device: auto, cpu, mps, cuda, or one GPU of several as cuda:1.
        threads: CPU threads. Default: one per core, as for predict, or OMP_NUM_THREADS.
        rounds: Measurements after a warm-up.
        seconds: Seconds per measurement, divided among single images, batches and files.
        json: Print the measurements as one JSON document.
    """
    from fashioncnn.environment import require_modules

    require_modules("torch")
    from fashioncnn.bench.prediction import bench_prediction
    from fashioncnn.devices import configure_process
    from fashioncnn.reporting.bench import prediction_table

    configure_process(threads or "auto")
    models = _load_models(model, backend, network, device, threads)
    name = str(model) if model else "untrained baseline"
    backends = " and ".join(f"{m.backend} on {m.device}" for m in models)
    note(f"{name}: {backends}; a warm-up, then {plural(rounds, 'round')} of {seconds:g} s")
    result = bench_prediction(models, rounds=rounds, seconds=seconds, report=note)
    result = {**result, "model": name}
    _print(result, prediction_table(result), json)


def _load_models(
    model: Path | None, backend: Backend, network: str | None, device: str, threads: int | None
) -> list[LoadedModel]:
    """Return the model once for each backend to measure, that of ``predict`` first."""
    if model is None:
        return [_untrained(backend, network, device)]
    from fashioncnn.artifacts.model_folder import WEIGHTS, find_model
    from fashioncnn.cli.models import load_for

    first = load_for(model, backend, device, network, threads=threads)
    if backend != "auto" or first.backend == "torch" or not (find_model(model) / WEIGHTS).exists():
        return [first]
    return [first, load_for(model, "torch", device, network, threads=threads)]


def _untrained(backend: Backend, network: str | None, device: str) -> LoadedModel:
    from fashioncnn.bench.prediction import untrained_model
    from fashioncnn.config import kernels_from_environment
    from fashioncnn.devices import resolve_device, resolve_kernels
    from fashioncnn.loading import loaded_with_torch

    if network is not None:
        raise UsageError(f"--network {network}: name the model whose network it is")
    if backend == "onnx":
        raise UsageError("--backend onnx: name a model that has an ONNX file, such as accurate")
    place = resolve_device(device)
    kernels = resolve_kernels(kernels_from_environment(), place)
    return loaded_with_torch(untrained_model(place, kernels))


def _reject_distillation(config: DistillationConfig) -> None:
    """Reject teachers, which would be trained or evaluated as well."""
    if config.ensemble_size:
        raise UsageError(
            f"distillation.ensemble_size = {config.ensemble_size}: only one network is measured; "
            "use --set distillation.ensemble_size=0"
        )
    if config.teachers:
        raise UsageError(
            f"distillation.teachers = {list(config.teachers)}: only one network is measured; use "
            "--set distillation.teachers=[]"
        )


def _print(result: dict[str, Any], table: Table, json: bool) -> None:
    from fashioncnn.reporting.bench import conditions_table

    _warn_if_busy(result)
    if json:
        print_json(result)
    else:
        print_tables([table, conditions_table(result)])


def _warn_if_busy(result: dict[str, Any]) -> None:
    low, high = min(result["limit_rounds"]), max(result["limit_rounds"])
    fraction = result["processor_share"]
    if low >= BUSY_FRACTION * high and (fraction is None or fraction >= BUSY_FRACTION):
        return
    processor = "" if fraction is None else f"; {100 * fraction:.0f}% of the processor's time"
    note(
        "other processes used the machine, so the results are too low; measure again when it is "
        f"idle (matrix multiplication: {low:,.0f} to {high:,.0f} GFLOP/s{processor})"
    )
