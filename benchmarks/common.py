"""Shared code of the benchmark scripts: folders, data, provenance, recorded results."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fashioncnn.data.dataset import Dataset
    from fashioncnn.settings import Settings

BENCHMARKS = Path(__file__).resolve().parent
ROOT = BENCHMARKS.parent
RESULTS = BENCHMARKS / "results"
RECIPES = BENCHMARKS / "recipes"
"""Recipes that need a GPU; they are not part of the package."""
RUNS = Path("runs") / "seeds"
"""Run folders of recorded seeds, relative to the working folder."""
UNFINISHED = Path("runs") / "unfinished"
"""Measurements of interrupted benchmarks, relative to the working folder."""
SHARED_DATA = ROOT.parent / "shared" / "fashion-mnist"

RENAMED_KEYS = {
    "pictures": "images",
    "megaflop_per_picture": "megaflop_per_image",
    "contestants": "implementations",
    "left_out": "skipped",
    "parts": "runs",
    "taught_by": "teachers",
}
"""Keys of results recorded by version 0.1, outside of their settings, and their present names."""

MAY_BE_ZERO = {"load", "minutes", "seed", "seeds", "signals", "uploads", "validation"}
"""Options whose number may be 0; of others it is at least 1."""

Result = dict[str, Any]
"""The content of a file in ``benchmarks/results``, with keys of the present version."""


class Parser(argparse.ArgumentParser):
    """Rejects numbers that make no sense: below 1, or for `MAY_BE_ZERO` below 0, and NaN."""

    def parse_known_args(self, *args: Any, **kwargs: Any) -> Any:
        """See `argparse.ArgumentParser.parse_known_args`."""
        options, rest = super().parse_known_args(*args, **kwargs)
        for action in self._actions:
            if action.type in (int, float):
                self._check(action, getattr(options, action.dest))
        return options, rest

    def _check(self, action: argparse.Action, values: Any) -> None:
        name = action.option_strings[0] if action.option_strings else action.dest
        for value in values if isinstance(values, list) else [values]:
            if value is None or (action.dest in MAY_BE_ZERO and value >= 0):
                continue
            if isinstance(value, float) and not 0 < value < math.inf:
                self.error(f"{name} {value}: should be a finite number above 0")
            if isinstance(value, int) and value < 1:
                least = 0 if action.dest in MAY_BE_ZERO else 1
                self.error(f"{name} {value}: should be at least {least}")


def make_parser(docstring: str | None) -> Parser:
    """Return a parser that is described by the first line of a script's docstring.

    Errors that its user can cause are printed in one line from now on. Processes that the script
    starts keep compiled modules, as pip does of installed packages: container images that set
    ``PYTHONDONTWRITEBYTECODE`` would have their compilation measured.
    """
    sys.excepthook = report_error
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return Parser(description=(docstring or "").splitlines()[0])


def report_error(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print an exception that ends the script: in one line if it says what to do."""
    from fashioncnn.errors import FashionCNNError

    name = Path(sys.argv[0]).name
    if issubclass(kind, FashionCNNError):
        print(f"{name}: {error}", file=sys.stderr)
    elif issubclass(kind, KeyboardInterrupt):
        print(f"{name}: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def use_shared_data() -> None:
    """Set ``FASHIONCNN_DATA`` to the official files next to the checkout, unless it is set."""
    if SHARED_DATA.is_dir():
        os.environ.setdefault("FASHIONCNN_DATA", str(SHARED_DATA))


def require_official_data() -> None:
    """Exit with a message if no folder of official files is configured.

    The peers read the files without this package, so a download to the cache does not suffice.
    """
    use_shared_data()
    if not os.environ.get("FASHIONCNN_DATA"):
        raise SystemExit("set FASHIONCNN_DATA to the folder of the official Fashion-MNIST files")


def measurement_context() -> Result:
    """Return date, processor and number of cores, on which every measurement depends."""
    from fashioncnn.environment import available_cores, cpu_name

    return {"date": date.today().isoformat(), "cpu": cpu_name(), "cores": available_cores()}


class Measurements:
    """Measurements that are recorded one by one, so that an interrupted benchmark continues.

    The file is kept until `finish`, and belongs to one machine, version and set of options.

    Attributes:
        started: machine, date and load average at the start of the first of them.
    """

    def __init__(self, benchmark: str, **options: object) -> None:
        import fashioncnn

        context = measurement_context()
        machine = {key: value for key, value in context.items() if key != "date"}
        conditions = {**machine, "version": fashioncnn.__version__, "options": options}
        digest = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:8]
        self.path = UNFINISHED / f"{benchmark}-{digest}.json"
        self.started: Result = {**context, "load_average": list(os.getloadavg())}
        self.values: dict[str, Any] = {}
        if self.path.exists():
            stored = read_result(self.path)
            self.started, self.values = stored["started"], stored["measurements"]
            print(
                f"continuing the measurements of {self.started['date']} ({len(self.values)} in "
                f"{self.path}; remove it to start again)",
                file=sys.stderr,
            )

    def measure(self, key: str, call: Callable[[], Any]) -> Any:
        """Return the recorded value of `key`, or that of `call`, as JSON types, and record it."""
        if key not in self.values:
            print(key, file=sys.stderr, flush=True)
            self.values[key] = call()
            content = {"started": self.started, "measurements": self.values}
            write_result(self.path, content)
        return self.values[key]

    def finish(self) -> None:
        """Remove the file: the benchmark is complete."""
        self.path.unlink(missing_ok=True)


def describe_hardware(environment: Mapping[str, Any]) -> str:
    """Return processor, threads and precision of a run's environment, for a table cell."""
    processor = environment["gpu"] or environment["cpu"].removesuffix(" Processor")
    threads = environment["threads"]
    return f"{processor}, {threads} thread{'s' * (threads > 1)}, {environment['precision']}"


def run_fashioncnn(*arguments: str) -> str:
    """Run ``fashioncnn`` in a process of its own and return its stdout.

    Its stderr is passed through. Exits with a message if the command fails.
    """
    command = [sys.executable, "-m", "fashioncnn", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"fashioncnn {' '.join(arguments)}: failed with status {done.returncode}")
    return done.stdout


def last_line(text: str) -> str:
    """Return the last line that is not empty, or ``no message``."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def write_result(path: Path, content: Result) -> None:
    """Write a result with its schema number, atomically; its folder is created."""
    from fashioncnn.files import write_json
    from fashioncnn.settings import SCHEMA

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": SCHEMA, **content})


def read_result(path: Path) -> Result:
    """Return a result, written by this version or by 0.1, with keys of this version.

    Exits with a message if there is none.
    """
    from fashioncnn.migration import migrate_settings

    try:
        stored = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: no result can be read there ({error})") from None
    schema = stored.get("schema", 1)
    content: Result = _rename_keys(stored) if schema == 1 else stored  # later keys may be the same
    if "settings" in stored:
        content["settings"] = migrate_settings({"schema": schema, **stored["settings"]})
    return content


def read_seeds(folder: Path) -> list[Result]:
    """Return the results of a folder's files ``seed<n>.json``."""
    return [read_result(path) for path in sorted(folder.glob("seed*.json"))]


def _rename_keys(value: Any) -> Any:
    if isinstance(value, list):
        return [_rename_keys(element) for element in value]
    if isinstance(value, dict):
        return {RENAMED_KEYS.get(key, key): _rename_keys(v) for key, v in value.items()}
    return value


def prepare_training(
    recipe: str, *, flags: Mapping[str, Any], assignments: list[str]
) -> tuple[Settings, Dataset]:
    """Return the settings of a training, every ``auto`` resolved, and its dataset.

    Sets the number of threads of this process to that of the settings.

    Args:
        recipe: name of a bundled recipe, or path of a ``.toml`` file.
        flags: values by flag name, see `fashioncnn.config.FLAGS`.
        assignments: ``key=value`` with dotted keys, as ``--set`` takes them.
    """
    from fashioncnn.config import resolve
    from fashioncnn.data.load import load_dataset
    from fashioncnn.devices import configure_process
    from fashioncnn.training.prepare import prepare_settings

    settings = resolve(recipe, flags=flags, assignments=assignments)
    configure_process(settings.runtime.threads)
    dataset = load_dataset(settings.data.source)
    return prepare_settings(settings, dataset), dataset


def provenance(settings: Settings, dataset: Dataset) -> Result:
    """Return settings, software, hardware and hashes of the data, to record with a result."""
    import torch

    from fashioncnn.devices import gpu_name
    from fashioncnn.environment import describe_environment

    data = {"name": dataset.name, "sha256": dataset.hashes}
    gpu = gpu_name(torch.device(settings.runtime.device))
    return {
        "settings": portable_settings(settings),
        "environment": describe_environment(settings.runtime, data, gpu),
    }


def portable_settings(settings: Settings) -> Result:
    """Return settings as JSON types, without absolute paths of this machine."""
    values: Result = settings.model_dump(mode="json", exclude_none=True)
    for key in ("source", "rehearsal_source"):
        values["data"].pop(key, None)
    teachers = values["distillation"]["teachers"]
    values["distillation"]["teachers"] = [relative_name(teacher) for teacher in teachers]
    return values


def relative_name(name: str) -> str:
    """Return a model's name or path; a path in the working folder becomes relative to it."""
    return name.removeprefix(f"{Path.cwd()}/")


def teacher_hashes(environment: Mapping[str, Any]) -> dict[str, str] | None:
    """Return SHA-256 by teacher from a run's environment.json; None if it had no teachers."""
    hashes = environment.get("teachers") or environment.get("taught_by")
    return {relative_name(name): digest for name, digest in hashes.items()} if hashes else None
