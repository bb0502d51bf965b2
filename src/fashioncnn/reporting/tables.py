"""Tables of results, rendered for the terminal, Markdown and HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

if TYPE_CHECKING:
    from fashioncnn.evaluation.statistics import MeanStd

CHOSEN_ON_TEST = "selected on the test split"
"""Remark on every number that is the best of several test evaluations."""
MARKDOWN_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {c: f"\\{c}" for c in r"\`*[]|~$"}

LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "≥": r"$\geq$",
    "…": r"\dots{}",
    "–": "--",
} | {c: f"\\{c}" for c in "&%$#_{}"}


@dataclass(frozen=True)
class Table:
    """A titled table of strings.

    Attributes:
        title: heading.
        header: column names.
        rows: one cell per column each; the first cell names the row.
        align: ``l`` or ``r`` per column; the last letter applies to all further columns.
        note: a sentence below the table.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    align: str = "lr"
    note: str = ""

    @property
    def alignments(self) -> list[Literal["left", "right"]]:
        """``left`` or ``right`` for each column."""
        letters = self.align.ljust(len(self.header), self.align[-1])
        return ["left" if letter == "l" else "right" for letter in letters[: len(self.header)]]

    def to_markdown(self) -> str:
        """Return the table in GitHub-flavored Markdown, with its title as a heading."""
        lines = [
            f"### {escape_markdown(self.title)}",
            "",
            _markdown_row([escape_markdown(name) for name in self.header]),
            _markdown_row(["---" if side == "left" else "---:" for side in self.alignments]),
            *(_markdown_row([escape_markdown(cell) for cell in row]) for row in self.rows),
        ]
        return "\n".join([*lines, *(["", escape_markdown(self.note)] if self.note else [])])

    def to_latex(self) -> str:
        """Return the table in LaTeX, for the package booktabs; title and note are comments."""
        columns = "".join(side[0] for side in self.alignments)
        lines = [
            f"% {one_line(self.title)}; needs \\usepackage{{booktabs}}",
            f"\\begin{{tabular}}{{{columns}}}",
            "\\toprule",
            _latex_row(self.header),
            "\\midrule",
            *map(_latex_row, self.rows),
            "\\bottomrule",
            "\\end{tabular}",
        ]
        return "\n".join([*lines, *([f"% {one_line(self.note)}"] if self.note else [])]) + "\n"

    def to_rich(self) -> RichTable:
        """Return the table for a terminal."""
        table = RichTable(
            title=escape(one_line(self.title)),
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for name, side in zip(self.header, self.alignments, strict=True):
            table.add_column(escape(one_line(name)), justify=side, overflow="fold")
        for row in self.rows:
            table.add_row(*(escape(one_line(cell)) for cell in row))
        return table


def one_line(text: str) -> str:
    """Return `text` with every non-printable character replaced, line breaks included.

    Such characters could break a table or send control sequences to a terminal.
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def escape_markdown(text: str) -> str:
    """Return `text` as one line of Markdown that renders literally: no markup and no HTML."""
    escaped = "".join(MARKDOWN_ESCAPES.get(c, c) for c in one_line(text))
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)  # not within a word


def escape_latex(text: str) -> str:
    """Return `text` as one line of LaTeX that renders literally."""
    return "".join(LATEX_ESCAPES.get(c, c) for c in one_line(text))


def percent(value: float | None) -> str:
    """Return a fraction as ``92.69%``; ``–`` for None."""
    return "–" if value is None else f"{100 * value:.2f}%"


def percent_interval(interval: Sequence[float]) -> str:
    """Return an interval of fractions as ``92.17–93.18%``."""
    low, high = interval
    return f"{100 * low:.2f}–{100 * high:.2f}%"


def format_mean_std(value: MeanStd, *, scale: float = 1.0, digits: int = 4, unit: str = "") -> str:
    """Return ``mean ± standard deviation``, or the mean alone for n = 1.

    Args:
        value: what to format.
        scale: factor applied to both, for example 100 for percent.
        digits: decimal places.
        unit: appended, for example ``%``.
    """
    mean = f"{scale * value.mean:.{digits}f}"
    if value.std is None:
        return f"{mean}{unit}"
    return f"{mean} ± {scale * value.std:.{digits}f}{unit}"


def summary_table(summary: dict[str, Any]) -> Table:
    """Return the performance summary of a run: best and final values and their epochs.

    Args:
        summary: ``summary`` of metrics.json.
    """
    epochs = str(summary["epochs"])
    rows: list[tuple[str, str, str, str]] = []
    if summary.get("training_data"):
        rows.append(("Training data", "", "", one_line(summary["training_data"])))
    for split in ("validation", "test"):
        if f"final_{split}_accuracy" not in summary:
            continue
        remark = CHOSEN_ON_TEST if split == "test" else ""
        best = summary[f"best_{split}_accuracy"]
        lowest = summary[f"lowest_{split}_loss"]
        rows += [
            (f"Best {split} accuracy", percent(best["value"]), str(best["epoch"]), remark),
            (f"Lowest {split} loss", f"{lowest['value']:.4f}", str(lowest["epoch"]), remark),
            (f"Final {split} accuracy", percent(summary[f"final_{split}_accuracy"]), epochs, ""),
            (f"Final {split} loss", f"{summary[f'final_{split}_loss']:.4f}", epochs, ""),
        ]
    rows.append(("Final train loss", f"{summary['final_train_loss']:.4f}", epochs, ""))
    if summary.get("stopped_early"):
        rows.append(("Stopped early", "", epochs, one_line(summary["stopped_early"])))
    if summary["selected_epoch"] != summary["epochs"]:
        rows.append(("Selected weights", "", str(summary["selected_epoch"]), "best on validation"))
    return Table("Performance summary", ("Metric", "Value", "Epoch", "Remark"), tuple(rows), "lrrl")


def metrics_tables(evaluation: dict[str, Any]) -> list[Table]:
    """Return all tables of the evaluation of one split.

    Args:
        evaluation: ``test`` or ``validation`` of metrics.json.
    """
    tables = [
        metrics_table(evaluation),
        per_class_table(evaluation),
        confused_pairs_table(evaluation),
    ]
    return [*tables, coverage_table(evaluation)] if "coverage" in evaluation else tables


def coverage_table(evaluation: dict[str, Any]) -> Table:
    """Return the accuracy on the most confident images, and the note on images outside."""
    rows = tuple(
        (
            f"{100 * row['coverage']:.0f}%",
            percent(row["accuracy"]),
            f"{row['n']:,}",
            f"{row['confidence']:.3f}",
        )
        for row in evaluation["coverage"]
    )
    note = f"Abstained: {evaluation['abstained']:,} of {evaluation['n']:,} images"
    answered = evaluation["answered_accuracy"]
    note += "." if answered is None else f"; accuracy on the others {percent(answered)}."
    if outside := evaluation["outside"]:
        note += (
            f" Outside of the classes: {outside['n']:,} images, abstained on "
            f"{outside['abstained']:,}; AUROC of the confidence {outside['auroc']:.3f}."
        )
    header = ("Coverage", "Accuracy", "Images", "Confidence from")
    return Table("Accuracy against coverage", header, rows, "lrrr", note)


def metrics_table(evaluation: dict[str, Any]) -> Table:
    """Return the metrics of one split over all classes."""
    flip_tta = evaluation.get("tta") == "flip"
    rows = [
        ("Accuracy", percent(evaluation["accuracy"])),
        ("95% interval (Wilson)", percent_interval(evaluation["accuracy_ci95"])),
        ("Loss", f"{evaluation['loss']:.4f}"),
        *_calibrated_row(evaluation, "Loss", "loss"),
        ("Calibration error (ECE, 15 bins)", f"{evaluation['ece']:.4f}"),
        *_calibrated_row(evaluation, "ECE", "ece"),
        *_macro_accuracy_row(evaluation),
        ("Macro F1", f"{evaluation['macro_f1']:.4f}"),
        ("Images", f"{evaluation['n']:,}"),
        ("Parameters", f"{evaluation['parameters']:,}"),
    ]
    if evaluation.get("multiply_adds") is not None:  # not in files of the first versions
        multiply_adds = (2 if flip_tta else 1) * evaluation["multiply_adds"]
        rows.append(("Multiply-adds per image", f"{multiply_adds:,}"))
    title = f"{evaluation['dataset']}, {evaluation['split']} split"
    return Table(title + (", flip TTA" if flip_tta else ""), ("Metric", "Value"), tuple(rows))


def _macro_accuracy_row(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    macro = evaluation.get("macro_accuracy")
    return [] if macro is None else [("Macro accuracy", percent(macro))]


def _calibrated_row(evaluation: dict[str, Any], label: str, key: str) -> list[tuple[str, str]]:
    """Return the row of a metric after temperature scaling; no row for temperature 1."""
    calibrated = evaluation.get("calibrated", {"temperature": 1})
    if calibrated["temperature"] == 1:
        return []
    return [(f"{label} at temperature {calibrated['temperature']:.2f}", f"{calibrated[key]:.4f}")]


def per_class_table(evaluation: dict[str, Any]) -> Table:
    """Return accuracy and number of errors of each class, with `class_summary` as the note.

    Of images with several correct classes, the rows are the sets of classes.
    """
    rows = tuple(
        (c["code"], c["name"], percent(c["accuracy"]), str(c["errors"]))
        for c in class_rows(evaluation)
    )
    header = ("Code", "Class", "Accuracy", "Errors")
    return Table("Per-class performance", header, rows, "llrr", class_summary(evaluation))


def class_rows(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return ``code``, ``name``, ``n``, ``accuracy`` and ``errors`` of each class or label set.

    The label of an image with several correct classes is chosen by the model, so that the accuracy
    of one of them would say little.
    """
    if "per_label_set" not in evaluation:
        return [{**c, "code": str(c["code"])} for c in evaluation["per_class"]]
    return [
        {**c, "code": ", ".join(map(str, c["codes"])), "name": " or ".join(c["names"])}
        for c in evaluation["per_label_set"]
    ]


def class_summary(evaluation: dict[str, Any]) -> str:
    """Return a sentence that names the best classes (at most three) and the hardest ones.

    Returns:
        An empty string for fewer than four classes, or if all have the same accuracy.
    """
    ranked = sorted((c for c in class_rows(evaluation) if c["n"]), key=lambda c: -c["accuracy"])
    if len(ranked) < 4 or ranked[0]["accuracy"] == ranked[-1]["accuracy"]:
        return ""
    lowest = ranked[-1]["accuracy"]
    best = [c for c in ranked[: min(3, len(ranked) // 2)] if c["accuracy"] > lowest]
    hardest = [c["name"] for c in ranked if c["accuracy"] == lowest]
    best_names = ", ".join(f"{c['name']} ({percent(c['accuracy'])})" for c in best)
    hardest_names = ", ".join(hardest) if len(hardest) <= 3 else f"{len(hardest)} classes"
    return f"Best: {best_names}. Hardest: {hardest_names} ({percent(lowest)})."


def confused_pairs_table(evaluation: dict[str, Any], top: int = 5) -> Table:
    """Return the `top` most frequent confusions."""
    names = {
        c["code"]: c["name"] if c["name"] == str(c["code"]) else f"{c['name']} ({c['code']})"
        for c in evaluation["per_class"]
    }
    rows = tuple(
        (str(rank), names[pair["true"]], names[pair["predicted"]], f"{pair['count']}×")
        for rank, pair in enumerate(evaluation["confused_pairs"][:top], 1)
    )
    header = ("Rank", "True class", "Predicted class", "Count")
    return Table(f"Most confused pairs (top {top})", header, rows, "lllr")


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(escape_latex, cells)) + r" \\"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
