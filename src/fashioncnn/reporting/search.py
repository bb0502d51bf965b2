"""The report of a hyper-parameter search: ``report.html`` and ``report.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fashioncnn._version import __version__
from fashioncnn.files import write_atomic
from fashioncnn.reporting.page import page_template
from fashioncnn.reporting.run_report import data_warning
from fashioncnn.reporting.search_figures import (
    history_svg,
    importances_svg,
    parallel_coordinates_svg,
    slice_svg,
)
from fashioncnn.reporting.search_tables import (
    best_trials_table,
    finalists_table,
    importance_table,
)
from fashioncnn.reporting.tables import Table
from fashioncnn.reporting.trials import (
    Dimension,
    Finalist,
    Trial,
    best_finalist,
    count_states,
    rank_trials,
)

BEST_SHOWN = 8
"""Trials in the table; more columns do not fit the page."""


@dataclass(frozen=True)
class SearchReport:
    """Content of the report.

    Attributes:
        recipe: name of the recipe.
        dataset: name of the training data.
        method: sampler and pruner, in a few words.
        epochs: epochs of a complete trial.
        trials: all trials; at least one is complete.
        dimensions: the searched settings.
        importances: importance by dotted key, summing to 1; empty with too few trials.
        best_recipe: content of ``best.toml``.
        finalists: the best trials with other seeds; empty if there are none.
    """

    recipe: str
    dataset: str
    method: str
    epochs: int
    trials: list[Trial]
    dimensions: list[Dimension]
    importances: dict[str, float]
    best_recipe: str
    finalists: Sequence[Finalist] = ()

    @property
    def warning(self) -> str:
        """A warning about the data; empty for Fashion-MNIST."""
        return data_warning(self.dataset)

    @property
    def lowest(self) -> Trial:
        """The complete trial with the lowest loss."""
        return rank_trials(self.trials)[0]

    @property
    def chosen(self) -> Finalist | None:
        """The complete finalist with the lowest mean loss, if there is one."""
        return best_finalist(self.finalists)

    @property
    def best(self) -> Trial:
        """The trial that ``best.toml`` holds."""
        return self.lowest if self.chosen is None else self.chosen.trial

    @property
    def recipe_trial(self) -> Trial | None:
        """The complete trial with the values of the recipe, if there is one."""
        return next((t for t in rank_trials(self.trials) if t.from_recipe), None)

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by state."""
        return dict(Counter(t.state for t in self.trials))

    @property
    def seconds(self) -> float:
        """Training time of all trials."""
        return sum(t.seconds or 0.0 for t in self.trials)

    @property
    def failures(self) -> list[tuple[str, int]]:
        """The five most frequent reasons of failed trials, each with its number of trials."""
        reasons = Counter(t.reason or "" for t in self.trials if t.state == "failed")
        return reasons.most_common(5)

    @property
    def summary(self) -> str:
        """Method and number of trials in one sentence."""
        epochs = f"{self.epochs} epoch{'s' if self.epochs != 1 else ''} per trial"
        counts = count_states(self.trials, "complete", "pruned", "failed")
        return f"{self.method}; {epochs}; {counts}."

    @property
    def tables(self) -> list[Table]:
        """All tables of the report."""
        tables = [best_trials_table(self.trials, self.dimensions, BEST_SHOWN)]
        if self.finalists:
            tables.append(finalists_table(self.finalists))
        if self.importances:
            tables.append(importance_table(self.importances, self.dimensions))
        return tables


def write_search_report(report: SearchReport, folder: Path) -> Path:
    """Write ``report.html`` and ``report.md`` into `folder`; return the path of the page."""
    write_atomic(folder / "report.md", to_markdown(report).encode())
    page = page_template("search.html.j2").render(
        report=report,
        version=__version__,
        history=history_svg(report.trials),
        importances=importances_svg(report.importances, report.dimensions),
        parallel_coordinates=parallel_coordinates_svg(report.trials, report.dimensions),
        slices=[slice_svg(report.trials, dimension) for dimension in report.dimensions],
    )
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def to_markdown(report: SearchReport) -> str:
    """Return the report without figures in Markdown."""
    blocks = [f"# fashioncnn tune: {report.recipe} on {report.dataset}", report.summary]
    blocks += [f"**{report.warning}**"] if report.warning else []
    blocks += [table.to_markdown() for table in report.tables]
    blocks += [f"## best.toml\n\n```toml\n{report.best_recipe.strip()}\n```"]
    blocks += [f"Written by `fashioncnn tune`, version {__version__}."]
    return "\n\n".join(blocks) + "\n"
