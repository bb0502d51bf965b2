"""``fashioncnn bench train`` and ``fashioncnn bench predict``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.errors import UsageError

if TYPE_CHECKING:
    from fashioncnn.reporting.tables import Table

LONGEST_ROUND = 3600.0
MOST_THREADS = 1024
COUNTED = (
    "The arithmetic is that of the network as it is written; kernels that get by with less of it "
    "can come near the limit, or pass it."
)
QUIET = 0.8
"""Less than this share of the best limit, or of the processor, and others used the machine too."""


def train(
    recipe: str = "baseline",
    /,
    *,
    data: str | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    precision: Literal["auto", "fp32", "bf16"] | None = None,
    threads: int | Literal["auto"] | None = None,
    kernels: Literal["auto", "native", "torch"] | None = None,
    rounds: int = 5,
    seconds: float = 2.0,
    config: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Measure how fast a recipe learns here.

    Parameters
    ----------
    recipe
        Name of a recipe (baseline, fast93, accurate …) or a .toml file.
    data
        As for train. Default: 60,000 images that the program draws; what is on them makes no
        difference to the speed.
    batch_size
        Images a step.
    device
        auto, cpu, cuda, cuda:1, mps.
    precision
        auto takes bf16 where the processor has it.
    threads
        CPU threads, or 'auto' for every core.
    kernels
        As for train.
    rounds
        How often to measure, after a round that does not count.
    seconds
        Seconds of learning in each round.
    config
        TOML file with some of the settings.
    set_
        Any setting, as in --set model.hidden=256; repeatable.
    json
        Print the figures as one JSON document.
    """
    _check_rounds(rounds, seconds)
    from fashioncnn.config import resolve

    flags = {
        "data": data,
        "batch_size": batch_size,
        "device": device,
        "precision": precision,
        "threads": threads,
        "kernels": kernels,
        "track_test": False,  # nothing is judged here, so that no test part is needed
    }
    settings = resolve(recipe, config=config, flags=flags, assignments=set_)
    if settings.distillation.ensemble_size:
        raise UsageError(
            f"distillation.ensemble_size = {settings.distillation.ensemble_size}: bench times one network alone; "
            "--set distillation.ensemble_size=0"
        )
    if settings.distillation.teachers:
        raise UsageError(
            f"distillation.teachers = {list(settings.distillation.teachers)}: bench times one network "
            "alone; --set distillation.teachers=[]"
        )
    from fashioncnn.runtime import has_bf16, require_train_extra, resolve_device

    require_train_extra()
    from fashioncnn.bench import bench_training, stand_in_data
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.training.prepare import prepare_settings

    place = resolve_device(settings.runtime.device)  # before a download, not after it
    dataset = load_for(data, settings.data.image_size) if data else stand_in_data()
    settings = prepare_settings(settings, dataset)
    runtime = settings.runtime
    note(
        f"{settings.recipe}: {place}, {runtime.precision}, {runtime.threads} threads, "
        f"{runtime.kernels} kernels, batches of {settings.training.batch_size}; a warm-up, then "
        f"{_of(rounds, seconds)}"
    )
    if runtime.precision == "bf16" and not has_bf16(place):
        note("bf16: this processor has no instructions for it, so it is slow here; try fp32")
    result = bench_training(settings, dataset, rounds=rounds, seconds=seconds, tell=note)
    _tell(result, _training_table, json)


def predict(
    model: Path | None = None,
    /,
    *,
    device: str = "auto",
    threads: int | None = None,
    rounds: int = 5,
    seconds: float = 2.0,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Measure how fast a model predicts here.

    Parameters
    ----------
    model
        A run folder or a model folder. Default: an untrained network of baseline; what it has
        learnt makes no difference to the speed.
    device
        auto, cpu, cuda, cuda:1, mps.
    threads
        CPU threads. Default: as many as PyTorch takes, as in predict.
    rounds
        How often to measure, after a round that does not count.
    seconds
        Seconds of each round, shared by the ways of predicting.
    json
        Print the figures as one JSON document.
    """
    _check_rounds(rounds, seconds)
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"--threads {threads}: must be from 1 to {MOST_THREADS}")
    from fashioncnn.runtime import prepare_prediction, require_train_extra

    require_train_extra()
    from fashioncnn.bench import bench_prediction, untrained_model
    from fashioncnn.models.trained_model import load_model

    place = prepare_prediction(device)
    trained = load_model(model, place) if model else untrained_model(place)
    name = str(model) if model else "untrained baseline"
    if model is None:
        note("no model named: an untrained network of baseline, which is as fast as a trained one")
    note(f"{name}: {place}; a warm-up, then {_of(rounds, seconds)}")
    result = bench_prediction(trained, rounds=rounds, seconds=seconds, tell=note, threads=threads)
    _tell({**result, "model": name}, _prediction_table, json)


def _check_rounds(rounds: int, seconds: float) -> None:
    if rounds < 1:
        raise UsageError(f"--rounds {rounds}: must be at least 1")
    if not 0 < seconds <= LONGEST_ROUND:
        raise UsageError(f"--seconds {seconds:g}: must be above 0, and at most {LONGEST_ROUND:g}")


def _of(rounds: int, seconds: float) -> str:
    return f"{rounds} {'round' if rounds == 1 else 'rounds'} of {seconds:g} s"


def _tell(result: dict[str, Any], table: Callable[[dict[str, Any]], Table], as_json: bool) -> None:
    low, high = min(result["limit_rounds"]), max(result["limit_rounds"])
    share = result["processor_share"]
    if low < QUIET * high or (share is not None and share < QUIET):
        note(
            "the machine was busy with something else, so the figures are too low; measure again "
            f"when it is quiet (matrix products: {low:,.0f} – {high:,.0f} GFLOP/s"
            + ("" if share is None else f", {100 * share:.0f}% of the processor at least")
            + ")"
        )
    if as_json:
        print_json(result)
    else:
        print_tables([table(result), _conditions_table(result)])


def _training_table(result: dict[str, Any]) -> Table:
    from fashioncnn.reporting.tables import Table

    low, high = min(result["rounds"]), max(result["rounds"])
    rate, share, n = result["images_per_second"], result["share_of_limit"], result["images"]
    rows = (
        ("Images per second", f"{rate:,.0f}", f"{low:,.0f} – {high:,.0f}"),
        (
            "Share of the machine's limit",
            _share(share),
            f"{_share(share * low / rate)} – {_share(share * high / rate)}",
        ),
        (
            f"Seconds per epoch of {n:,} images",
            f"{result['seconds_per_epoch']:.1f}",
            f"{n / high:.1f} – {n / low:.1f}",
        ),
    )
    header = ("Learning alone", "Median", "Lowest – highest")
    return Table(f"Training {result['recipe']}, batches of {result['batch_size']}", header, rows)


def _prediction_table(result: dict[str, Any]) -> Table:
    from fashioncnn.reporting.tables import Table

    single, many = result["batches"]
    files = result["png_files"]
    rows = []
    for name, way in (
        ("1 array", single),
        (f"{many['batch_size']:,} arrays", many),
        (f"{files['batch_size']} PNG files", files),
    ):
        rows.append(
            (
                name,
                f"{way['images_per_second']:,.0f}",
                f"{min(way['rounds']):,.0f} – {max(way['rounds']):,.0f}",
                _share(way.get("share_of_limit")),
                f"{_ms(way['latency_ms_median'])} ({_ms(way['latency_ms_p95'])})",
            )
        )
    header = ("A call", "Images/s", "Lowest – highest", "Of limit", "ms a call (p95)")
    return Table(f"Prediction, {result['model']}", header, tuple(rows))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}%"


def _ms(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _conditions_table(result: dict[str, Any]) -> Table:
    from fashioncnn.reporting.tables import Table

    place = result["gpu"] or f"{result['device']}, {result['threads']} threads"
    kernels = f", {result['kernels']} kernels" if "kernels" in result else ""
    rows = (
        ("Processor", result["cpu"]),
        ("Device", f"{place}, {result['precision']}{kernels}"),
        ("Limit: matrix products", f"{_gflops(result)} ({result['limit_precision']})"),
        ("Arithmetic for an image", f"{result['mflop_per_image']:.1f} MFLOP"),
        ("Peak memory", f"{result['peak_memory_bytes'] / 1e6:,.0f} MB"),
    )
    return Table("Measured under", ("Condition", "Value"), rows, "ll", COUNTED)


def _gflops(result: dict[str, Any]) -> str:
    gflops = result["limit_gflops"]
    return f"{gflops / 1e3:,.1f} TFLOP/s" if gflops >= 1e4 else f"{gflops:,.0f} GFLOP/s"
