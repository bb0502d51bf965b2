"""One call on a GPU: tests, throughput, speed runs and trainings, within a time limit.

    python benchmarks/gpu.py --plan benchmarks/recipes/gpu.toml --data DIR --out DIR

Results are written to ``results.json`` as they are made, models to ``models/``, runs to ``runs/``.
A call with the same ``--out`` continues the runs that the time limit stopped, and keeps the results
of earlier calls that it does not measure again; nothing is downloaded. ``--tiny`` runs every part
in miniature on any device, on the built-in sketches, as its test does.

A plan is a TOML file whose sections are run in their order: ``[tests]``, ``[throughput]``
(``recipes``, ``batch_sizes``), ``[speed]`` (``recipes``, ``n``), and any number of ``[[train]]``
(``name``, ``recipe``, ``seeds``, ``set``; ``validation = true`` evaluates on the validation split
and never reads the test split; ``teachers`` names earlier trainings, in ``models/``, or bundled
models).

Calls share a GPU when each trains what ``--only`` and ``--seeds`` name, with one ``--models``. That
pays if NVIDIA MPS runs (``nvidia-cuda-mps-control -d``): small networks do not fill a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from common import make_parser, read_result
from fashioncnn.artifacts.model_card import minimal_card
from fashioncnn.bench.training import bench_training
from fashioncnn.config import override, resolve
from fashioncnn.data.dataset import Dataset, Split
from fashioncnn.data.load import load_dataset
from fashioncnn.devices import gpu_name, resolve_device
from fashioncnn.environment import cpu_name
from fashioncnn.errors import FashionCNNError, UsageError
from fashioncnn.evaluation.predictions import save_predictions
from fashioncnn.files import write_json
from fashioncnn.inference.evaluate import evaluate_split, evaluation_splits, predict_split
from fashioncnn.inference.predictor import Predictor
from fashioncnn.models.backend import torch_predictor
from fashioncnn.models.trained_model import save_model
from fashioncnn.runs import RunFolder, create_run
from fashioncnn.settings import Settings
from fashioncnn.training.callbacks import Callback
from fashioncnn.training.prepare import prepare_settings
from fashioncnn.training.run import TrainingResult, train_model
from fashioncnn.training.state import Record, TrainState

ROOT = Path(__file__).resolve().parents[1]
TINY = {"epochs": 1, "batch_size": 256}
KEPT = ("tests", "throughput", "speed", "trainings")
"""Results of an earlier call that stay."""


class OutOfTimeError(FashionCNNError):
    """The time limit of the call is reached."""


class Session:
    """The results of the calls with one ``--out``, written as they are made."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.start = time.monotonic()
        self.device = resolve_device(options.device)
        options.out.mkdir(parents=True, exist_ok=True)
        self.results: dict[str, Any] = {
            "command": "benchmarks/gpu.py",
            "gpu": gpu_name(self.device),
            "cpu": cpu_name(),
            "torch": torch.__version__,
            "tiny": options.tiny,
            "tests": None,
            "throughput": [],
            "speed": [],
            "trainings": [],
        }
        path = options.out / "results.json"
        if path.exists():
            stored = read_result(path)
            self.results |= {key: stored[key] for key in KEPT if key in stored}

    def record(self, section: str, entry: dict[str, Any], *keys: str) -> None:
        """Add a result to a section, in the place of an earlier one with the same `keys`."""
        entry = {"device": self.results["gpu"] or self.results["cpu"], **entry}
        identity = [entry[key] for key in keys]
        others = [e for e in self.results[section] if [e[key] for key in keys] != identity]
        self.results[section] = [*others, entry]

    def require_time(self, name: str) -> None:
        """Raise `OutOfTimeError` at the time limit."""
        if self.left() <= 0:
            raise OutOfTimeError(f"{name}: not measured, for the time limit")

    def left(self) -> float:
        """Return the remaining seconds."""
        return float(60 * self.options.minutes - (time.monotonic() - self.start))

    def save(self) -> None:
        """Write the results so far."""
        self.results["seconds"] = time.monotonic() - self.start
        write_json(self.options.out / "results.json", self.results)

    def say(self, text: str) -> None:
        """Print a line with the elapsed time."""
        print(f"[{time.monotonic() - self.start:6.1f} s] {text}", flush=True)


class Watch(Callback):
    """Prints some epochs, and stops a training at the time limit."""

    def __init__(self, session: Session, name: str, every: int) -> None:
        self.session, self.name, self.every = session, name, every

    def on_epoch(self, state: TrainState, record: Record) -> None:
        """Print every `every`-th epoch."""
        if record["epoch"] % self.every == 0 or record["epoch"] == state.epochs:
            accuracy = record["val_accuracy"]
            validation = "" if accuracy is None else f", validation {accuracy:.2%}"
            self.session.say(
                f"{self.name}: epoch {record['epoch']}/{state.epochs}, loss "
                f"{record['train_loss']:.4f}{validation}, {record['seconds']:.2f} s"
            )

    def out_of_time(self) -> OutOfTimeError | None:
        """Return an error at the time limit, which stops the training after a checkpoint."""
        if self.session.left() > 0:
            return None
        return OutOfTimeError(f"{self.name}: stopped at the time limit; a later call continues it")


def main(arguments: list[str] | None = None) -> int:
    """Run the parts of a plan."""
    options = parse(arguments)
    plan = read_plan(options.plan, options.only)
    session = Session(options)
    dataset = load_dataset("sketches" if options.tiny else str(options.data))
    session.say(f"{session.results['gpu'] or session.results['cpu']}, torch {torch.__version__}")
    for section, entries in plan.items():
        for entry in entries:
            if options.only and entry.get("name", section) not in options.only:
                continue
            try:
                PARTS[section](session, dataset, **entry)
            except FashionCNNError as error:  # the other parts still run
                session.say(f"{section}: {type(error).__name__}: {error}")
            session.save()
    return 0


def read_plan(path: Path, only: Sequence[str] | None) -> dict[str, list[dict[str, Any]]]:
    """Return the entries of a plan by section.

    Raises:
        UsageError: it cannot be read, or has no such section or entry.
    """
    try:
        plan = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--plan {path}: cannot be read ({error})") from None
    sections = {k: v if isinstance(v, list) else [v] for k, v in plan.items()}
    names = [entry.get("name", key) for key, v in sections.items() for entry in v]
    unknown = [*(sections.keys() - PARTS.keys()), *(set(only or ()) - set(names))]
    if unknown:
        known = ", ".join(dict.fromkeys(names if only else PARTS))
        raise UsageError(f"{path}: no '{unknown[0]}' (known: {known})")
    return sections


def run_tests(session: Session, dataset: Dataset) -> None:  # noqa: ARG001
    """Run the tests marked ``gpu``."""
    options = ["-m", "gpu", "-p", "no:cacheprovider", "tests/gpu"]  # -q would hide the counts
    command = [sys.executable, "-m", "pytest", *options]
    session.require_time("tests")
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=session.left(),
        )
    except subprocess.TimeoutExpired:
        raise OutOfTimeError("tests: stopped at the time limit") from None
    lines = done.stdout.strip().splitlines()
    session.results["tests"] = lines[-1] if lines else done.stderr[-500:]
    session.say(f"tests: {session.results['tests']}")
    if done.returncode not in (0, 5):
        print(done.stdout[-6000:], flush=True)


def measure_throughput(
    session: Session, dataset: Dataset, recipes: list[str], batch_sizes: list[int]
) -> None:
    """Measure images per second of recipes by batch size."""
    for recipe in recipes:
        for batch_size in batch_sizes:
            session.require_time(f"{recipe}, batch {batch_size}")
            settings = prepare(session, dataset, recipe, [f"training.batch_size={batch_size}"])
            seconds = 0.5 if session.options.tiny else 1.5
            result = bench_training(
                settings, dataset, rounds=2, seconds=seconds, report=lambda _: None
            )
            kept = ("recipe", "batch_size", "images_per_second", "share_of_limit", "limit_gflops")
            entry = {key: result[key] for key in kept}
            session.record("throughput", entry, "recipe", "batch_size")
            session.say(
                f"{recipe}, batch {batch_size}: {result['images_per_second']:,.0f} images/s, "
                f"{result['share_of_limit']:.1%} of the limit"
            )


def measure_speed(session: Session, dataset: Dataset, recipes: list[str], n: int) -> None:
    """Measure time and accuracy of short recipes over `n` seeds, in this warm process."""
    for recipe in recipes:
        seconds, accuracies = [], []
        for seed in range(1 if session.options.tiny else n):
            session.require_time(f"{recipe}, seed {seed}")
            settings = prepare(session, dataset, recipe, [f"training.seed={seed}"])
            start = time.perf_counter()
            result = train_model(settings, dataset)
            torch.cuda.synchronize() if session.device.type == "cuda" else None
            seconds.append(time.perf_counter() - start)
            accuracies.append(evaluate(result, dataset, "test", settings)["accuracy"])
            entry = {"recipe": recipe, "seconds": seconds, "test_accuracy": accuracies}
            session.record("speed", entry, "recipe")
        session.say(
            f"{recipe}: {statistics.median(seconds):.2f} s (median of {len(seconds)}), accuracy "
            f"{statistics.mean(accuracies):.2%}"
        )


def run_trainings(
    session: Session,
    dataset: Dataset,
    *,
    name: str,
    recipe: str,
    seeds: Sequence[int] = (0,),
    validation: bool = False,
    teachers: Sequence[str] = (),
    set: Sequence[str] = (),
    every: int = 20,
) -> None:
    """Train one entry of the plan with each of its seeds."""
    models = session.options.models
    split = "validation" if validation else "test"
    for seed in session.options.seeds or seeds:
        assignments = [f"training.seed={seed}", *set]
        if validation:
            assignments.append("data.validation=auto")
        if teachers:
            paths = [str(folder if (folder := models / t).exists() else t) for t in teachers]
            assignments.append(f"distillation.teachers={json.dumps(paths)}")
        settings = prepare(session, dataset, recipe, assignments)
        run_name = f"{name}-seed{seed}"
        start = time.perf_counter()
        run = RunFolder(session.options.out / "runs" / run_name)
        if run.config.exists():
            settings = with_selection(settings, run.settings())
        else:
            run = create_run(run.path, settings)
        watch = Watch(session, run_name, every)
        with run.lock():
            result = train_model(
                settings, dataset, run=run, callbacks=[watch], stop=watch.out_of_time
            )
        seconds = time.perf_counter() - start
        metrics = {tta: evaluate(result, dataset, split, settings, tta) for tta in ("none", "flip")}
        save(result, models / run_name, evaluation_splits(dataset, settings)[split], split)
        entry = {
            "name": run_name,
            "seed": seed,
            "seconds": seconds,
            "settings": portable(settings),
            "split": split,
            "metrics": metrics["none"],
            "metrics_flip": metrics["flip"],
            "history": result.history,
        }
        session.record("trainings", entry, "name")
        session.say(
            f"{run_name}: {split} accuracy {metrics['none']['accuracy']:.2%}, with flip TTA "
            f"{metrics['flip']['accuracy']:.2%}, calibrated loss "
            f"{metrics['none']['calibrated']['loss']:.4f}, {seconds:.0f} s"
        )
        session.save()


def with_selection(settings: Settings, of_run: Settings) -> Settings:
    """Return the settings with precision and kernels that a run selected when it was started."""
    runtime = of_run.runtime
    if runtime.device != settings.runtime.device:
        return settings
    selected = {"runtime.precision": runtime.precision, "runtime.kernels": runtime.kernels}
    return override(settings, selected)


def save(result: TrainingResult, folder: Path, split: Split, name: str) -> None:
    """Write the model folder with the predictions for a split."""
    description = result.model.describe()
    save_model(result.model, folder, minimal_card(description))
    predictions = predict_split(torch_predictor(result.model), split)
    identity = {"model_sha256": description.sha256, "precision": "fp32"}
    save_predictions(
        folder / "predictions.npz",
        {name: predictions},
        {**identity, f"{name}_sha256": split.sha256},
    )


def portable(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON types, with folders by their last name."""
    values = settings.model_dump(mode="json")
    values["data"]["source"] = Path(values["data"]["source"]).name
    teachers = values["distillation"]["teachers"]
    values["distillation"]["teachers"] = [Path(teacher).name for teacher in teachers]
    return values


def evaluate(
    result: TrainingResult, dataset: Dataset, split: str, settings: Settings, tta: str = "none"
) -> dict[str, Any]:
    """Return the metrics on a split; of the validation split as it was held out."""
    spec = result.model.spec.replace(tta=tta)
    predictor = torch_predictor(result.model, str(settings.runtime.precision))
    predictor = Predictor(predictor.backend, spec)
    images = evaluation_splits(dataset, settings)[split]
    return evaluate_split(predictor, result.model.describe(), dataset, images, split)


def prepare(session: Session, dataset: Dataset, recipe: str, assignments: list[str]) -> Settings:
    """Return the resolved settings of a recipe on the device of the session."""
    path = ROOT / "benchmarks" / "recipes" / f"{recipe}.toml"
    given = [f"runtime.device={session.device}", "runtime.precision=auto", *assignments]
    if session.options.tiny:
        given += [f"training.{key}={value}" for key, value in TINY.items()]
        given += ["model.channels=[8, 8, 8]"]
    given += session.options.set
    settings = resolve(str(path) if path.exists() else recipe, assignments=given, environment={})
    return prepare_settings(settings, dataset)


PARTS: dict[str, Callable[..., None]] = {
    "tests": run_tests,
    "throughput": measure_throughput,
    "speed": measure_speed,
    "train": run_trainings,
}
"""Functions by the sections of a plan."""


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--plan", type=Path, default=ROOT / "benchmarks" / "recipes" / "gpu.toml")
    parser.add_argument("--data", type=Path, help="folder of the official files")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--models", type=Path, help="folder of the models; OUT/models by default")
    parser.add_argument("--minutes", type=float, default=8.5, help="time limit")
    parser.add_argument("--only", nargs="+", help="sections or names of trainings; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of those of the plan")
    parser.add_argument("--set", nargs="+", default=[], help="further settings")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="everything in miniature, on sketches")
    options = parser.parse_args(arguments)
    if options.data is None and not options.tiny:
        parser.error("--data: name the folder of the official files, or give --tiny")
    options.models = options.models or options.out / "models"
    return options


if __name__ == "__main__":
    sys.exit(main())
