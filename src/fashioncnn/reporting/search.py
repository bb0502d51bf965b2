"""The report of a search: tables, and a page like a run's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fashioncnn._version import __version__
from fashioncnn.files import write_atomic
from fashioncnn.reporting.page import page_template
from fashioncnn.reporting.run_report import data_warning
from fashioncnn.reporting.search_figures import (
    Scale,
    history_svg,
    importances_svg,
    parallel_svg,
    slices_svg,
    value_text,
)
from fashioncnn.reporting.tables import Table, percent

BEST_SHOWN = 10
Trial = dict[str, Any]


@dataclass(frozen=True)
class SearchReport:
    """What the page shows of a search.

    Attributes:
        recipe: its name.
        dataset: the name of the data.
        method: how it was searched, in a few words.
        epochs: of a trial.
        trials: see `fashioncnn.tuning.study.trials_of`; at least one is complete.
        scales: the settings that were searched.
        importances: by the key of a setting; empty where there are too few trials to tell.
        best_recipe: the best trial's recipe, as its file has it.
    """

    recipe: str
    dataset: str
    method: str
    epochs: int
    trials: list[Trial]
    scales: list[Scale]
    importances: dict[str, float]
    best_recipe: str

    @property
    def warning(self) -> str:
        """What a reader must know before the first figure."""
        return data_warning(self.dataset)

    @property
    def best(self) -> Trial:
        """The complete trial of the lowest loss."""
        return ranked(self.trials)[0]

    @property
    def own(self) -> Trial | None:
        """The complete trial that had the recipe's own values, where there was one."""
        return next((t for t in ranked(self.trials) if t["own"]), None)

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended how."""
        return dict(Counter(t["state"] for t in self.trials))

    @property
    def seconds(self) -> float:
        """What the trials took together."""
        return sum(t["seconds"] or 0.0 for t in self.trials)

    @property
    def failures(self) -> list[tuple[str, int]]:
        """Why trials failed, and how often, the most frequent first."""
        reasons = Counter(t["reason"] for t in self.trials if t["state"] == "failed")
        return reasons.most_common(5)

    @property
    def tables(self) -> list[Table]:
        """All tables of the search."""
        importances = [importances_table(self.importances, self.scales)] * bool(self.importances)
        return [best_table(self.trials, self.scales), *importances]


def ranked(trials: list[Trial]) -> list[Trial]:
    """Return the complete trials, best first."""
    return sorted((t for t in trials if t["state"] == "complete"), key=lambda t: t["loss"])


def best_table(trials: list[Trial], scales: list[Scale], shown: int = BEST_SHOWN) -> Table:
    """Return the best complete trials, a column for each setting."""
    rows = tuple(
        (
            f"{t['number']}{'*' if t['own'] else ''}",
            f"{t['loss']:.4f}",
            percent(t["accuracy"]),
            f"{t['seconds']:.0f} s",
            *(value_text(t["parameters"][scale.key]) for scale in scales),
        )
        for t in ranked(trials)[:shown]
    )
    header = ("Trial", "Loss", "Accuracy", "Time", *(scale.name for scale in scales))
    notes = ["Loss and accuracy are those of the validation part."] * bool(rows)
    if any(t["own"] for t in ranked(trials)[:shown]):
        notes.append("* the recipe's own values.")
    return Table("Best trials", header, rows, "r", " ".join(notes))


def best_columns(trials: list[Trial], scales: list[Scale], shown: int) -> Table:
    """Return the best complete trials, a column for each, which a terminal has room for."""
    best = ranked(trials)[:shown]
    rows = [
        ("Validation loss", *(f"{t['loss']:.4f}" for t in best)),
        ("Accuracy", *(percent(t["accuracy"]) for t in best)),
        ("Time", *(f"{t['seconds']:.0f} s" for t in best)),
        *((s.name, *(value_text(t["parameters"][s.key]) for t in best)) for s in scales),
    ]
    header = ("Trial", *(f"{t['number']}{'*' if t['own'] else ''}" for t in best))
    note = "* the recipe's own values" if any(t["own"] for t in best) else ""
    return Table("Best trials", header, tuple(rows), "lr", note)


def importances_table(importances: dict[str, float], scales: list[Scale]) -> Table:
    """Return how much each setting decides whether a trial is good."""
    names = {scale.key: scale.name for scale in scales}
    by_share = sorted(importances.items(), key=lambda item: -item[1])
    rows = tuple((names[key], f"{share:.0%}") for key, share in by_share)
    note = "Share in being among the best quarter of the complete trials (PED-ANOVA)."
    return Table("Importance", ("Setting", "Share"), rows, "lr", note)


def write_search_report(report: SearchReport, folder: Path) -> Path:
    """Write ``report.html`` and ``report.md`` into a folder, and return the page's path."""
    write_atomic(folder / "report.md", to_markdown(report).encode())
    page = page_template("search.html.j2").render(
        report=report,
        summary=summary,
        version=__version__,
        history=history_svg(report.trials),
        importances=importances_svg(report.importances, report.scales)
        if report.importances
        else "",
        parallel=parallel_svg(report.trials, report.scales),
        slices=slices_svg(report.trials, report.scales),
    )
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def to_markdown(report: SearchReport) -> str:
    """Return the tables in Markdown."""
    parts = [f"# fashioncnn tune: {report.recipe} on {report.dataset}", summary(report)]
    parts += [f"**{report.warning}**"] if report.warning else []
    parts += [table.to_markdown() for table in report.tables]
    parts += [f"## best.toml\n\n```toml\n{report.best_recipe.strip()}\n```"]
    return "\n\n".join(parts) + f"\n\nMade by `fashioncnn tune`, version {__version__}.\n"


def summary(report: SearchReport) -> str:
    """Return what was done, in a sentence."""
    told = counted(report.counts, ("complete", "pruned", "failed"))
    epochs = f"{report.epochs} epoch{'s' if report.epochs != 1 else ''}"
    return f"{report.method}; {epochs} a trial; {told}."


def counted(counts: dict[str, int], states: Sequence[str]) -> str:
    """Return ``12 complete, 3 stopped early``; states without a trial are left out."""
    names = {"pruned": "stopped early"}
    return ", ".join(f"{counts[s]} {names.get(s, s)}" for s in states if counts.get(s))
