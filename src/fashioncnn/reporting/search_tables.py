"""Tables of a hyper-parameter search, for the terminal, Markdown and the report page."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from fashioncnn.reporting.tables import Table, percent
from fashioncnn.reporting.trials import (
    Dimension,
    Finalist,
    Trial,
    best_finalist,
    format_value,
    rank_trials,
)


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


def finalists_table(finalists: Sequence[Finalist]) -> Table:
    """Return the losses of the finalists with other seeds, one per row."""
    chosen = best_finalist(finalists)
    rows = tuple(
        (
            f"{f.trial.number}{' ✓' * (chosen is not None and f.trial == chosen.trial)}",
            "–" if f.trial.loss is None else f"{f.trial.loss:.4f}",
            f"{f.mean_loss:.4f}" if f.losses else "–",
            f"{statistics.stdev(f.losses):.4f}" if len(f.losses) > 1 else "–",
            percent(statistics.fmean(f.accuracies)) if f.accuracies else "–",
            f"{len(f.losses)} of {f.seeds}",
        )
        for f in finalists
    )
    note = (
        "The best trials, trained again with other seeds. ✓ is the one in best.toml: of those with "
        "all seeds, the lowest mean loss. The loss of the search is the lowest of many, and "
        "therefore optimistic."
    )
    header = ("Trial", "Loss in the search", "Mean loss", "Std", "Mean accuracy", "Seeds")
    return Table("Finalists, with other seeds", header, rows, "lr", note)


def importance_table(importances: dict[str, float], dimensions: list[Dimension]) -> Table:
    """Return the importance of each setting, by dotted key, in decreasing order."""
    names = {dimension.key: dimension.name for dimension in dimensions}
    ranked = sorted(importances.items(), key=lambda item: -item[1])
    rows = tuple((names[key], f"{importance:.0%}") for key, importance in ranked)
    note = "Importance for reaching the best quarter of the complete trials (PED-ANOVA)."
    return Table("Importance", ("Setting", "Importance"), rows, "lr", note)
