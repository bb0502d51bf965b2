"""Tables of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from fashioncnn.reporting.run_report import RunReport
from fashioncnn.reporting.seeds import differing_keys, evaluated_on, flatten, seed_table
from fashioncnn.reporting.tables import Table, percent, percent_interval


def side_by_side_tables(reports: Sequence[RunReport]) -> list[Table]:
    """Return metrics of all runs, means over seeds, accuracy by class, and differing settings."""
    tables = [runs_table(reports), seed_table(reports), _per_class_table(reports)]
    return [*(table for table in tables if table), _settings_table(reports)]


def runs_table(reports: Sequence[RunReport]) -> Table:
    """Return the metrics of each run."""
    header = (
        "Run",
        "Accuracy",
        "95% interval",
        "Loss",
        "ECE",
        "Seed",
        "Recipe",
        "Evaluated on",
        "Parameters",
    )
    rows = tuple(_metrics_row(report) for report in reports)
    return Table("Runs side by side", header, rows, "lrrrrrllr")


def _metrics_row(report: RunReport) -> tuple[str, ...]:
    evaluation = report.evaluation
    names = (str(report.settings.training.seed), report.settings.recipe, evaluated_on(report))
    if evaluation is None:
        return (report.name, *["–"] * 4, *names, "–")
    return (
        report.name,
        percent(evaluation["accuracy"]),
        percent_interval(evaluation["accuracy_ci95"]),
        f"{evaluation['loss']:.4f}",
        f"{evaluation['ece']:.4f}",
        *names,
        f"{evaluation['parameters']:,}",
    )


def _per_class_table(reports: Sequence[RunReport]) -> Table | None:
    """Return the accuracy of each class; None unless all runs have the same classes."""
    per_class = [r.evaluation["per_class"] if r.evaluation else [] for r in reports]
    names = [[c["name"] for c in classes] for classes in per_class]
    if not names[0] or any(other != names[0] for other in names):
        return None
    rows = tuple(
        (name, *(percent(classes[code]["accuracy"]) for classes in per_class))
        for code, name in enumerate(names[0])
    )
    return Table("Accuracy by class", ("Class", *(r.name for r in reports)), rows)


def _settings_table(reports: Sequence[RunReport]) -> Table:
    settings = [flatten(r.settings.model_dump(mode="json", exclude_none=True)) for r in reports]
    rows = tuple(
        (key, *(str(values.get(key, "–")) for values in settings))
        for key in differing_keys(settings)
    )
    note = "" if rows else "All settings are the same."
    header = ("Setting", *(r.name for r in reports))
    return Table("Settings that differ", header, rows, "ll", note)
