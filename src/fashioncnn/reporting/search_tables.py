"""Tables of a hyper-parameter search, for the terminal, Markdown and the report page."""

from __future__ import annotations

from fashioncnn.reporting.tables import Table, percent
from fashioncnn.reporting.trials import Dimension, Trial, format_value, rank_trials


def best_trials_table(trials: list[Trial], dimensions: list[Dimension], limit: int) -> Table:
    """Return the best complete trials, one per column, with their results and settings."""
    best = rank_trials(trials)[:limit]
    header = ("Trial", *(f"{t.number}{'*' if t.from_recipe else ''}" for t in best))
    rows = (
        ("Loss", *(f"{t.loss:.4f}" for t in best)),
        ("Accuracy", *(percent(t.accuracy) for t in best)),
        ("Time", *("–" if t.seconds is None else f"{t.seconds:.0f} s" for t in best)),
        *(
            (dimension.name, *(format_value(t.parameters[dimension.key]) for t in best))
            for dimension in dimensions
        ),
    )
    note = (
        "The trial marked * has the values of the recipe."
        if any(t.from_recipe for t in best)
        else ""
    )
    return Table("Best trials, on the validation split", header, rows, "lr", note)


def importance_table(importances: dict[str, float], dimensions: list[Dimension]) -> Table:
    """Return the importance of each setting, by dotted key, in decreasing order."""
    names = {dimension.key: dimension.name for dimension in dimensions}
    ranked = sorted(importances.items(), key=lambda item: -item[1])
    rows = tuple((names[key], f"{importance:.0%}") for key, importance in ranked)
    note = "Importance for reaching the best quarter of the complete trials (PED-ANOVA)."
    return Table("Importance", ("Setting", "Importance"), rows, "lr", note)
