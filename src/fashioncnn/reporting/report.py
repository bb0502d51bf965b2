"""``report.html`` and ``report.md``: everything about one run, or several side by side."""

from __future__ import annotations

import base64
import io
import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from PIL import Image

from fashioncnn._version import __version__
from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES, Split
from fashioncnn.errors import RunError
from fashioncnn.evaluation.metrics import softmax
from fashioncnn.evaluation.predictions import load_predictions
from fashioncnn.files import write_atomic
from fashioncnn.reporting.figures import (
    comparison_svg,
    curves_svg,
    write_confusion_matrix,
    write_curves,
)
from fashioncnn.reporting.tables import (
    Table,
    best_and_hardest,
    confused_pairs_table,
    metrics_tables,
    one_line,
    percent,
    summary_table,
)
from fashioncnn.runs import RunFolder, read_json

MISTAKES_SHOWN = 24


@dataclass(frozen=True)
class Mistake:
    """A wrong answer, with the image it was given for.

    Attributes:
        image: PNG as a data URI.
        true: name of the right class.
        predicted: name of the class it was taken for.
        confidence: probability of the wrong answer.
    """

    image: str
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class RunReport:
    """What the page shows of one run."""

    name: str
    run: RunFolder
    settings: dict[str, Any]
    environment: dict[str, Any]
    history: list[dict[str, Any]]
    metrics: dict[str, Any]
    mistakes: list[Mistake]

    @property
    def judged(self) -> dict[str, Any] | None:
        """The judgement that counts: test where it was made, else validation."""
        judged: dict[str, Any] | None = self.metrics["test"] or self.metrics["validation"]
        return judged

    @property
    def dataset(self) -> str:
        """The name of the data."""
        name: str = self.environment["data"]["name"]
        return name

    @property
    def warning(self) -> str:
        """What a reader must know before the first figure."""
        return data_warning(self.dataset)

    @property
    def tables(self) -> list[Table]:
        """All tables of the run."""
        judged = [self.judged] if self.judged else []
        return [
            summary_table(self.metrics["summary"]),
            *(t for j in judged for t in metrics_tables(j)),
        ]


def data_warning(dataset: str) -> str:
    """Return what a reader must know of data that is not Fashion-MNIST; else nothing."""
    if dataset == FASHION_MNIST:
        return ""
    if dataset == SKETCHES:
        return "Drawn by the program itself: this is not Fashion-MNIST."
    return f"Judged on '{dataset}': this is not Fashion-MNIST."


def read_run(
    run: RunFolder, parts: dict[str, Split] | None = None, name: str | None = None
) -> RunReport:
    """Return what the page shows of a finished run.

    Args:
        run: the run.
        parts: images by split, for showing mistakes; those that are not the images which
            were judged are not used.
        name: what the page calls it; the folder's name by default.

    Raises:
        RunError: the run is not finished, or its files are damaged.
    """
    if not run.finished:
        raise RunError(f"{run.path}: not finished; go on with --resume {run.path}")
    metrics = read_json(run.metrics, "validation", "test", "summary")
    history = run.read_history()
    epochs = metrics["summary"].get("epochs", 1)
    if len(history) < epochs:
        raise RunError(f"{run.history}: damaged (it has {len(history)} of {epochs} epochs)")
    settings = run.settings()
    return RunReport(
        name=one_line(name or run.path.resolve().name),
        run=run,
        settings=settings.model_dump(mode="json", exclude_none=True),
        environment=read_json(run.environment, "data", "packages"),
        history=history,
        metrics=metrics,
        mistakes=find_mistakes(run, metrics, parts or {}),
    )


def find_mistakes(
    run: RunFolder, metrics: dict[str, Any], parts: dict[str, Split]
) -> list[Mistake]:
    """Return the most confident mistakes of the judged split, most confident first."""
    split = "test" if metrics["test"] else "validation"
    predictions, identity = load_predictions(run.predictions)
    part = parts.get(split)
    if part is None or split not in predictions or identity.get(f"{split}_sha256") != part.sha256:
        return []
    logits, labels = predictions[split]
    temperature = metrics[split].get("calibrated", {}).get("temperature", 1.0)
    probabilities = softmax(logits / np.float32(temperature))
    predicted = probabilities.argmax(axis=1)
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES_SHOWN]
    names = [c["name"] for c in metrics[split]["per_class"]]
    return [
        Mistake(
            _data_uri(part.images[i]), names[labels[i]], names[predicted[i]], float(confidence[i])
        )
        for i in worst
    ]


def write_run_report(run: RunFolder, parts: dict[str, Split] | None = None) -> Path:
    """Write figures, ``report.html`` and ``report.md`` into the run's own folder.

    Returns:
        The path of the page.
    """
    report = read_run(run, parts)
    write_curves(report.history, run.path / "curves.png")
    if report.judged:
        write_confusion_matrix(report.judged, run.path / "confusion_matrix.png")
    return _write([report], run.path)


def write_comparison(reports: list[RunReport], folder: Path) -> Path:
    """Write ``report.html`` and ``report.md`` of several runs side by side into `folder`.

    Returns:
        The path of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _write(reports, folder)


def comparison_tables(reports: list[RunReport]) -> list[Table]:
    """Return runs side by side: overall, per class, and where their settings differ."""
    tables = [_overall_table(reports)]
    names = [[c["name"] for c in r.judged["per_class"]] if r.judged else [] for r in reports]
    if names[0] and all(n == names[0] for n in names):
        rows = tuple(
            (name, *(percent(r.judged["per_class"][code]["accuracy"]) for r in reports if r.judged))
            for code, name in enumerate(names[0])
        )
        tables.append(Table("Accuracy by class", ("Class", *(r.name for r in reports)), rows))
    return [*tables, _differences_table(reports)]


def to_markdown(reports: list[RunReport]) -> str:
    """Return the tables of all runs in Markdown."""
    title = reports[0].name if len(reports) == 1 else f"{len(reports)} runs"
    parts = [f"# fashioncnn report: {title}"]
    if len(reports) > 1:
        parts += [table.to_markdown() for table in comparison_tables(reports)]
    for report in reports:
        parts.append(f"## {report.name}: {report.settings['recipe']} on {report.dataset}")
        parts += [f"**{report.warning}**"] if report.warning else []
        parts += [table.to_markdown() for table in report.tables]
    return "\n\n".join(parts) + f"\n\nMade by `fashioncnn report`, version {__version__}.\n"


def _write(reports: list[RunReport], folder: Path) -> Path:
    write_atomic(folder / "report.md", to_markdown(reports).encode())
    histories = {r.name: r.history for r in reports}
    drawn = [
        s for s in ("val", "test") if any(r.history[-1][f"{s}_loss"] is not None for r in reports)
    ]
    page = page_template("page.html.j2").render(
        reports=reports,
        several=len(reports) > 1,
        version=__version__,
        comparison=comparison_tables(reports) if len(reports) > 1 else [],
        comparison_curves=[
            comparison_svg(histories, split, quantity)
            for split in drawn
            for quantity in ("accuracy", "loss")
        ]
        if len(reports) > 1
        else [],
    )
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


@lru_cache
def page_template(name: str) -> Template:
    """Return a page's template; all share their looks."""
    environment = Environment(
        loader=PackageLoader("fashioncnn", "reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    environment.filters["heat"] = _heat
    environment.globals |= {
        "best_and_hardest": best_and_hardest,
        "confused_pairs_table": confused_pairs_table,
        "curves_svg": curves_svg,
        "summary_table": summary_table,
    }
    return environment.get_template(name)


def _heat(count: int, row: list[int]) -> int:
    """Return the strength of a cell's colour, in percent; the root shows rare confusions."""
    return round(100 * math.sqrt(count / max(sum(row), 1)))


def _overall_table(reports: list[RunReport]) -> Table:
    rows = []
    for r in reports:
        j = r.judged
        seed = str(r.settings["training"]["seed"])
        if j is None:
            rows.append((r.name, r.settings["recipe"], seed, *["–"] * 6))
            continue
        low, high = j["accuracy_ci95"]
        rows.append(
            (
                r.name,
                r.settings["recipe"],
                seed,
                _judged_on(j),
                percent(j["accuracy"]),
                f"{percent(low)} – {percent(high)}",
                f"{j['loss']:.4f}",
                f"{j['ece']:.4f}",
                f"{j['parameters']:,}",
            )
        )
    header = (
        "Run",
        "Recipe",
        "Seed",
        "Judged on",
        "Accuracy",
        "95% interval",
        "Loss",
        "ECE",
        "Parameters",
    )
    return Table("Runs side by side", header, tuple(rows), "llllr", _spread_note(reports))


def _spread_note(reports: list[RunReport]) -> str:
    """Return mean and spread of every group of runs that differ in their seeds and nothing else."""
    groups: dict[tuple[str, ...], dict[int, float]] = {}
    for r in reports:
        if r.judged:
            settings = {k: v for k, v in _flatten(r.settings).items() if k != "training.seed"}
            key = (f"{r.settings['recipe']}, {_judged_on(r.judged)}", str(sorted(settings.items())))
            by_seed = groups.setdefault(key, {})
            by_seed.setdefault(r.settings["training"]["seed"], r.judged["accuracy"])
    notes = [
        f"{name}: {100 * statistics.fmean(v.values()):.2f} ± "
        f"{100 * statistics.stdev(v.values()):.2f}% (mean ± sd, n = {len(v)} seeds)"
        for (name, _), v in groups.items()
        if len(v) > 1
    ]
    return "; ".join(notes)


def _judged_on(judged: dict[str, Any]) -> str:
    return f"{judged['dataset']}, {judged['split']}"


def _differences_table(reports: list[RunReport]) -> Table:
    flat = [_flatten(r.settings) for r in reports]
    keys = sorted({key for settings in flat for key in settings})
    rows = tuple(
        (key, *(str(settings.get(key, "–")) for settings in flat))
        for key in keys
        if len({str(settings.get(key)) for settings in flat}) > 1
    )
    note = "" if rows else "The settings are the same."
    return Table(
        "Where the settings differ", ("Setting", *(r.name for r in reports)), rows, "ll", note
    )


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _data_uri(image: np.ndarray[Any, np.dtype[np.uint8]]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
