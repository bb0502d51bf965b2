"""``fashioncnn train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from fashioncnn.cli.console import note, print_json, print_tables
from fashioncnn.errors import OtherVersionError, RunError, UsageError

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.models.trained_model import TrainedModel
    from fashioncnn.runs import RunFolder
    from fashioncnn.settings import Settings

RESUMABLE_FLAGS = ("--epochs", "--data", "--device")
"""Flags that may go with --resume; all else was decided when the run began."""


def train(
    recipe: str | None = None,
    /,
    *,
    data: str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: Literal["auto", "fp32", "bf16"] | None = None,
    threads: str | None = None,
    kernels: Literal["auto", "native", "torch"] | None = None,
    validation: str | None = None,
    select: Literal["last", "best_val"] | None = None,
    track_test: bool | None = None,
    class_weights: Literal["none", "auto"] | None = None,
    image_size: int | None = None,
    out: Path | None = None,
    resume: Path | None = None,
    from_: Annotated[Path | None, Parameter(name="--from")] = None,
    config: Path | None = None,
    set_: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    offline: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
    json: Annotated[bool, Parameter(negative=(), show_default=False)] = False,
) -> None:
    """Learn, and leave a run folder.

    Parameters
    ----------
    recipe
        Name of a recipe (baseline, honest, fast93, fast94, fast95, accurate, photo; for a GPU
        medium, record) or a .toml file. Default: baseline.
    data
        Folder of IDX files, folder of class folders, or 'sketches'. Default: FASHIONCNN_DATA,
        the cache, a download.
    epochs
        Times that every image is learnt from.
    batch_size
        Images a step.
    learning_rate
        Peak learning rate.
    seed
        Decides initial weights, order and dropout.
    device
        auto, cpu, cuda, cuda:1, mps.
    precision
        auto takes bf16 where the processor has it.
    threads
        CPU threads, or 'auto' for every core.
    kernels
        auto takes our compiled CPU kernels where GCC is; native, torch.
    validation
        Training images to hold out, or 'auto' for one sixth.
    select
        Weights to keep: the last, or those of the best validation epoch.
    track_test
        Draw the test curve too. Nothing is decided by it.
    class_weights
        auto weighs rare classes up.
    image_size
        Side that images of class folders are brought to. Default: 28.
    out
        The run folder itself, new or empty.
    resume
        Go on with this run from its last checkpoint; --epochs, --data and --device may be others.
    from_
        Begin with the weights of this run or model folder.
    config
        TOML file with some of the settings.
    set_
        Any setting, as in --set model.hidden=256; repeatable.
    offline
        Never download.
    json
        Print the metrics as one JSON document.
    """
    from fashioncnn.config import resolve

    flags: dict[str, Any] = {
        "data": data,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
        "device": device,
        "precision": precision,
        "threads": _number_or_word(threads),
        "kernels": kernels,
        "validation": _number_or_word(validation),
        "select": select,
        "track_test": track_test,
        "class_weights": class_weights,
        "image_size": image_size,
    }
    given = {_flag(name) for name, value in flags.items() if value is not None}
    if resume is not None:
        others = {
            "recipe": recipe,
            "--out": out,
            "--from": from_,
            "--config": config,
            "--set": set_,
        }
        given |= {name for name, value in others.items() if value is not None}
        _resume(resume, given, epochs, data, device, offline, json)
    else:
        if from_ is not None:
            _refuse_what_weights_decide(config, set_ or [])
        settings = resolve(recipe or "baseline", config=config, flags=flags, assignments=set_)
        _refuse_what_nobody_teaches(settings, config, set_ or [])
        _begin(settings, out, from_, offline, json)


def _refuse_what_weights_decide(config: Path | None, assignments: list[str]) -> None:
    from fashioncnn.config import explicit_keys

    for key, origins in explicit_keys(config, assignments).items():
        if key.startswith("model.") or key in ("data.scaling", "data.views"):
            raise UsageError(
                f"{origins}: with --from, network, scaling and how images are made ready are "
                "those of the weights"
            )


def _refuse_what_nobody_teaches(
    settings: Settings, config: Path | None, assignments: list[str]
) -> None:
    """Refuse what was set of teachers where there are none, and it would do nothing."""
    from fashioncnn.config import explicit_keys
    from fashioncnn.settings import DistillationConfig

    distillation, default, idle = settings.distillation, DistillationConfig(), []
    if not distillation.ensemble_size:
        idle.append("epochs")
        if not distillation.teachers:
            idle += ["alpha", "temperature"]
    told = explicit_keys(config, assignments)
    for name in idle:
        key = f"distillation.{name}"
        if key in told and getattr(distillation, name) != getattr(default, name):
            raise UsageError(
                f"{told[key]}: there are no teachers; --set distillation.ensemble_size=2"
            )


def _begin(
    settings: Settings, out: Path | None, start: Path | None, offline: bool, json: bool
) -> None:
    from fashioncnn.runtime import require_train_extra, resolve_device

    require_train_extra()
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.models.trained_model import load_model
    from fashioncnn.runs import create_run
    from fashioncnn.training.prepare import prepare_settings

    resolve_device(settings.runtime.device)  # before a download, not after it
    start_from = None if start is None else load_model(start)
    dataset = load_for(settings.data.source, settings.data.image_size, offline=offline)
    wished = settings.runtime.kernels
    settings = prepare_settings(settings, dataset, start_from)
    _tell_why_torch(wished, settings)
    run = create_run(out, settings)
    _train(run, settings, dataset, start_from, json)


def _resume(
    path: Path,
    given: set[str],
    epochs: int | None,
    data: str | None,
    device: str | None,
    offline: bool,
    json: bool,
) -> None:
    from fashioncnn.config import override
    from fashioncnn.runs import open_run, read_json
    from fashioncnn.runtime import require_train_extra

    run = open_run(path)
    refused = sorted(given - set(RESUMABLE_FLAGS))
    if refused:
        raise UsageError(
            f"--resume goes on with the run's own settings, so {', '.join(refused)} cannot be "
            f"given; begin a new run from its weights with --from {path}"
        )
    require_train_extra()
    from fashioncnn.cli.datasets import load_for
    from fashioncnn.training.prepare import prepare_settings

    settings = run.settings()
    if epochs is not None and epochs != settings.training.epochs:
        settings = _extended(settings, epochs, path)
    elif run.finished and _is_whole(run):
        note(f"{path} is finished ({settings.training.epochs} epochs); nothing to do")
        if json:
            print_json({"run": str(path), **read_json(run.metrics)})
        return
    elif run.finished:
        note(f"{path} was finished, and is not whole any more: going on from its last checkpoint")
    dataset = load_for(data or settings.data.source, settings.data.image_size, offline=offline)
    before = settings.runtime.kernels
    if device is not None:
        settings = override(settings, {"runtime.device": device})
    if before == "native":  # on this machine they may not be had
        settings = override(settings, {"runtime.kernels": "auto"})
    settings = prepare_settings(settings, dataset)
    if settings.runtime.kernels != before:
        note(
            f"{path} was begun with compiled kernels, and goes on without: its sums round otherwise"
        )
        _tell_why_torch("auto", settings)
    _train(run, settings, dataset, None, json)


def _is_whole(run: RunFolder) -> bool:
    """Whether a finished run has its judgements and its network still."""
    from fashioncnn.runs import read_json

    try:
        read_json(run.metrics, "validation", "test", "summary")
    except OtherVersionError:  # whole, for another version, which wants it as it is
        raise
    except RunError:
        return False
    return all((run.model / name).is_file() for name in ("config.json", "model.safetensors"))


def _tell_why_torch(wished: str, settings: Settings) -> None:
    """Say why `auto` did not become the compiled kernels, where a person can change it."""
    from fashioncnn.kernels import unavailable_reason

    runtime = settings.runtime
    if (wished, runtime.device) != ("auto", "cpu"):
        return
    reason = unavailable_reason()
    if reason:
        note(f"PyTorch's kernels, slower than our compiled ones: {reason}")


def _extended(settings: Settings, epochs: int, path: Path) -> Settings:
    """Return the settings with more epochs, or raise where none can follow."""
    from fashioncnn.config import validate
    from fashioncnn.training.prepare import can_extend

    before = settings.training.epochs
    if epochs < before:
        raise UsageError(f"--epochs {epochs}: {path} was begun for {before}; only more can follow")
    if not can_extend(settings):
        raise UsageError(
            f"--epochs {epochs}: the learning rate of {path} decays to its end at epoch {before}; "
            f"begin a new run from its weights with --from {path}"
        )
    values = settings.model_dump()
    values["training"]["epochs"] = epochs
    return validate(values)


def _train(
    run: RunFolder,
    settings: Settings,
    dataset: Dataset,
    start_from: TrainedModel | None,
    json: bool,
) -> None:
    from fashioncnn.cli.progress import make_observer, stopping
    from fashioncnn.cli.signals import StopSignals
    from fashioncnn.evaluation.evaluate import evaluation_splits
    from fashioncnn.reporting.report import write_run_report
    from fashioncnn.reporting.tables import metrics_tables, summary_table
    from fashioncnn.runtime import has_bf16, resolve_device
    from fashioncnn.training.run import train_model

    runtime = settings.runtime
    training, distillation = settings.training, settings.distillation
    first = f"{distillation.ensemble_size} teachers of {distillation.epochs} epochs first, then "
    also = f", taught by {', '.join(distillation.teachers)}" if distillation.teachers else ""
    note(
        f"{settings.recipe} on {dataset.name}: {len(dataset.train):,} images, "
        f"{first if distillation.ensemble_size else ''}{training.epochs} epochs{also}, "
        f"{runtime.device}, {runtime.precision}, "
        f"{runtime.threads} threads, {runtime.kernels} kernels → {run.path}"
    )
    if runtime.precision == "bf16" and not has_bf16(resolve_device(runtime.device)):
        note("bf16: this processor has no instructions for it; fp32 would be faster")
    if distillation.teachers and settings.data.validation:
        note(
            "if who teaches has learnt from images that are held out here, validation looks "
            "better than it is"
        )
    observer = make_observer(training.epochs)
    stop = StopSignals(f"go on with: fashioncnn train --resume {run.path}")
    with run.lock(), stop, stopping(observer):
        result = train_model(
            settings,
            dataset,
            run=run,
            start_from=start_from,
            observer=observer,
            stop=stop.reason,
        )
    page = write_run_report(run, evaluation_splits(dataset, settings))
    if json:
        print_json({"run": str(run.path), **result.metrics})
        return
    metrics = result.metrics
    judged = metrics["test"] or metrics["validation"]
    print_tables([summary_table(metrics["summary"]), *(metrics_tables(judged) if judged else [])])
    note(f"report: {page}")
    if metrics["test"] is None and dataset.test is not None:
        note(f"the test part was not read; once all is decided: fashioncnn evaluate {run.path}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _number_or_word(text: str | None) -> int | str | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return text
