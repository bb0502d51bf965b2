"""The content of a run folder that reports show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES, Split, is_dataset
from fashioncnn.errors import RunError
from fashioncnn.reading import TOML_BYTES, read_text
from fashioncnn.reporting.mistakes import Mistake, evaluated_split, find_mistakes
from fashioncnn.reporting.tables import Table, metrics_tables, one_line, summary_table
from fashioncnn.runs import RunFolder, read_json, require_valid
from fashioncnn.settings import Settings


@dataclass(frozen=True)
class RunReport:
    """Everything that a report shows of one run.

    Attributes:
        name: title of the run, one line.
        settings: resolved settings.
        config: text of config.toml.
        environment: content of environment.json.
        history: one record per epoch.
        metrics: content of metrics.json.
        mistakes: the most confident ones; empty without images.
    """

    name: str
    settings: Settings
    config: str
    environment: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    mistakes: list[Mistake]

    @property
    def evaluation(self) -> dict[str, Any] | None:
        """Metrics of the test split if it was evaluated, else of the validation split, or None."""
        split = evaluated_split(self.metrics)
        evaluation: dict[str, Any] | None = self.metrics[split] if split else None
        return evaluation

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return one_line(self.environment["data"]["name"])

    @property
    def warning(self) -> str:
        """Warning to show before the first number; see `data_warning`."""
        return data_warning(self.dataset)

    @property
    def tables(self) -> list[Table]:
        """All tables of the run."""
        evaluation = metrics_tables(self.evaluation) if self.evaluation else []
        return [summary_table(self.metrics["summary"]), *evaluation]


def data_warning(dataset: str) -> str:
    """Return a warning that numbers on `dataset` are not on Fashion-MNIST; empty if they are."""
    if dataset == FASHION_MNIST:
        return ""
    if is_dataset(dataset, FASHION_MNIST):
        return f"Trained on modified data ({dataset}), evaluated on unmodified images and labels."
    if is_dataset(dataset, SKETCHES):
        return "Synthetic sketches: this is not Fashion-MNIST."
    return f"Evaluated on '{dataset}': this is not Fashion-MNIST."


def read_run(
    run: RunFolder, splits: dict[str, Split] | None = None, name: str | None = None
) -> RunReport:
    """Return the content of a finished run.

    Args:
        run: the run folder.
        splits: images by name of the split, to show mistakes; ignored unless they are the
            images that the run was evaluated on.
        name: title of the run; the name of its folder by default.

    Raises:
        RunError: the run is not trained to its end, or its files are damaged.
    """
    if not run.trained:
        raise RunError(f"{run.path}: not finished; resume it with --resume {run.path}")
    metrics = run.read_metrics()
    history = run.read_history()
    environment = read_json(run.environment, "data", "packages")
    require_valid(run.environment, "environment", environment)
    for record in history:
        require_valid(run.history, "epoch", record)
    epochs = metrics["summary"]["epochs"]
    if len(history) < epochs:
        raise RunError(f"{run.history}: damaged (it has {len(history)} of {epochs} epochs)")
    return RunReport(
        name=one_line(name or run.path.resolve().name),
        settings=run.settings(),
        config=read_text(run.config, TOML_BYTES),
        environment=environment,
        history=history,
        metrics=metrics,
        mistakes=find_mistakes(run, metrics, splits or {}),
    )
