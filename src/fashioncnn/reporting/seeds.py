"""Runs that differ only in their seed, and their mean and standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fashioncnn.evaluation.statistics import MeanStd, mean_and_std
from fashioncnn.reporting.run_report import RunReport
from fashioncnn.reporting.tables import Table, format_mean_std, percent_interval
from fashioncnn.settings import CustomConfig, Settings

NOT_COMPARED: dict[str, Any] = {
    "recipe": True,
    "description": True,
    "data": {"source"},
    "training": {"seed"},
    "runtime": {"device", "threads", "kernels"},
}
"""Settings in which runs of one group may differ: names, paths, the seed and the hardware."""
METRICS = ("accuracy", "loss", "ece", "macro_f1")
"""Metrics of a split whose means over seeds are reported."""
SHOWN_DIGITS = 12
"""Of the SHA-256 of initial weights."""
SETTINGS_IN_LABEL = 3
"""Settings that a group's label lists at most."""


@dataclass(frozen=True)
class SeedGroup:
    """Runs with the same settings and start apart from the seed, on the same data and split.

    Attributes:
        configuration: what they have in common; see `_configuration_of_run`.
        runs: one per seed.
    """

    configuration: dict[str, Any]
    runs: tuple[RunReport, ...]

    @property
    def evaluated_on(self) -> str:
        """Dataset and split, for example ``fashion-mnist, test``."""
        return evaluated_on(self.runs[0])

    def mean_and_std(self, metric: str) -> MeanStd:
        """Return mean and standard deviation of a metric over seeds.

        Args:
            metric: key of the evaluation, for example ``accuracy``.
        """
        return mean_and_std([r.evaluation[metric] for r in self.runs if r.evaluation])


def summarize_runs(metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the means over runs as JSON types, by split and metric; see `MeanStd.as_dict`.

    Args:
        metrics: content of metrics.json of each run, at least one.

    Returns:
        ``validation`` and ``test``, each None unless all runs were evaluated on it.
    """
    return {
        split: None
        if any(of_run[split] is None for of_run in metrics)
        else {
            metric: mean_and_std([of_run[split][metric] for of_run in metrics]).as_dict()
            for metric in METRICS
        }
        for split in ("validation", "test")
    }


def format_means(summary: dict[str, Any], n: int) -> str:
    """Return mean ± standard deviation of the main metrics in one line.

    Args:
        summary: of `summarize_runs`.
        n: number of runs.
    """
    parts = []
    for split in ("test", "validation"):
        if summary[split] is not None:
            accuracy, loss = (
                MeanStd(n, summary[split][metric]["mean"], summary[split][metric]["std"])
                for metric in ("accuracy", "loss")
            )
            formatted = format_mean_std(accuracy, scale=100, digits=2, unit="%")
            parts.append(f"{split} accuracy {formatted}, loss {format_mean_std(loss)}")
    spread = "mean ± sd" if n > 1 else "mean"
    return f"{spread} (n = {n}): {'; '.join(parts) or 'no split was evaluated'}"


def configuration_of(settings: Settings) -> dict[str, Any]:
    """Return the settings by dotted key, without those in `NOT_COMPARED`."""
    return flatten(settings.model_dump(mode="json", exclude_none=True, exclude=NOT_COMPARED))


def _configuration_of_run(report: RunReport) -> dict[str, Any]:
    """Return settings by dotted key, and what a run depends on beside them.

    These are the weights that it started from, and the size of a custom network, whose settings
    name its code but not the arguments that an object was created with.
    """
    configuration = configuration_of(report.settings)
    start = report.environment.get("initialized_from")
    if start is not None:
        configuration["initialized_from"] = str(start)[:SHOWN_DIGITS]
    if isinstance(report.settings.model, CustomConfig) and report.evaluation:
        configuration["parameters"] = report.evaluation["parameters"]
    return configuration


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one, by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def evaluated_on(report: RunReport) -> str:
    """Return dataset and split of the evaluation; ``–`` if there is none."""
    evaluation = report.evaluation
    return f"{evaluation['dataset']}, {evaluation['split']}" if evaluation else "–"


def group_by_seed(reports: Sequence[RunReport]) -> list[SeedGroup]:
    """Return the groups of evaluated runs that differ only in their seed, in order of appearance.

    Of runs with the same settings and the same seed, only the first one is counted.
    """
    groups: dict[str, dict[int, RunReport]] = {}
    for report in reports:
        if report.evaluation:
            configuration = sorted(_configuration_of_run(report).items())
            data = report.environment["data"].get("sha256")
            key = str((configuration, data, evaluated_on(report)))
            groups.setdefault(key, {}).setdefault(report.settings.training.seed, report)
    return [
        SeedGroup(_configuration_of_run(runs[0]), runs)
        for runs in (tuple(by_seed.values()) for by_seed in groups.values())
    ]


def seed_table(reports: Sequence[RunReport]) -> Table | None:
    """Return mean ± standard deviation of each group; None if every group has a single seed."""
    groups = group_by_seed(reports)
    return None if all(len(group.runs) == 1 for group in groups) else group_table(reports)


def group_table(reports: Sequence[RunReport]) -> Table:
    """Return mean ± standard deviation of each group; the value alone for a single seed."""
    groups = group_by_seed(reports)
    rows = tuple(
        (
            label,
            format_mean_std(group.mean_and_std("accuracy"), scale=100, digits=2, unit="%"),
            _interval(group.mean_and_std("accuracy")),
            format_mean_std(group.mean_and_std("loss")),
            format_mean_std(group.mean_and_std("ece")),
            str(len(group.runs)),
            group.evaluated_on,
            "; ".join(run.name for run in group.runs),
        )
        for group, label in zip(groups, group_labels(groups), strict=True)
    )
    header = ("Settings", "Accuracy", "95% interval", "Loss", "ECE", "n", "Evaluated on", "Runs")
    note = (
        "Mean ± sample standard deviation over n seeds; the interval is of the mean accuracy, by "
        "Student's t distribution, and covers other seeds on the same images. A group has the same "
        "settings apart from the seed; runs with the same settings and seed are counted once."
    )
    return Table("Mean over seeds", header, rows, "lrrrrrll", note)


def _interval(value: MeanStd) -> str:
    if value.ci95 is None:
        return "–"
    low, high = value.ci95
    return percent_interval((max(0.0, low), min(1.0, high)))


def group_labels(groups: Sequence[SeedGroup]) -> list[str]:
    """Return recipe and, among groups of the same recipe, the settings that differ."""
    labels = []
    for group in groups:
        recipe = group.runs[0].settings.recipe
        siblings = [g.configuration for g in groups if g.runs[0].settings.recipe == recipe]
        keys = [k for k in differing_keys(siblings) if k in group.configuration]
        values = [f"{key} = {group.configuration[key]}" for key in keys[:SETTINGS_IN_LABEL]]
        values += ["…"] if len(keys) > SETTINGS_IN_LABEL else []
        labels.append(f"{recipe} ({', '.join(values)})" if values else recipe)
    return labels


def differing_keys(configurations: Sequence[dict[str, Any]]) -> list[str]:
    """Return the dotted keys, sorted, that do not have the same value everywhere."""
    keys = {key for configuration in configurations for key in configuration}
    return sorted(k for k in keys if len({str(c.get(k)) for c in configurations}) > 1)
