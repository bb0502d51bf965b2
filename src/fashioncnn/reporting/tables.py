"""The tables of a run, made once and shown three ways: terminal, Markdown, page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich import box
from rich.markup import escape
from rich.table import Table as RichTable

CHOSEN_ON_TEST = "chosen by looking at the test set"
"""Said of every figure that is the best of several test evaluations."""


@dataclass(frozen=True)
class Table:
    """A titled table of text.

    Attributes:
        title: what it shows.
        header: names of the columns.
        rows: as many cells as columns each.
        align: ``l`` or ``r`` for each column; the last letter counts for all that follow.
        note: a line beneath.
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
        """Return the table in Markdown, with its title as a heading."""
        lines = [
            f"### {self.title}",
            "",
            _markdown_row(self.header),
            _markdown_row(["---" if side == "left" else "---:" for side in self.alignments]),
            *(_markdown_row(row) for row in self.rows),
        ]
        return "\n".join([*lines, *(["", self.note] if self.note else [])])

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
            table.add_column(escape(name), justify=side, overflow="fold")
        for row in self.rows:
            table.add_row(*(escape(one_line(cell)) for cell in row))
        return table


def percent(value: float | None) -> str:
    """Return ``92.69%``; ``–`` where there is no value."""
    return "–" if value is None else f"{100 * value:.2f}%"


def summary_table(summary: dict[str, Any]) -> Table:
    """Return the performance summary of a run: bests and finals with their epochs.

    Args:
        summary: of metrics.json.
    """
    epochs = str(summary["epochs"])
    rows: list[tuple[str, str, str, str]] = []
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
    if summary["selected_epoch"] != summary["epochs"]:
        rows.append(("Epoch kept, by validation", "", str(summary["selected_epoch"]), ""))
    return Table("Performance summary", ("Metric", "Value", "Epoch", "Remark"), tuple(rows), "lrrl")


def metrics_table(judged: dict[str, Any]) -> Table:
    """Return the overall figures of one judgement."""
    low, high = judged["accuracy_ci95"]
    rows = [
        ("Accuracy", percent(judged["accuracy"])),
        ("95% interval (Wilson)", f"{percent(low)} – {percent(high)}"),
        ("Loss", f"{judged['loss']:.4f}"),
        ("Calibration error (ECE, 15 bins)", f"{judged['ece']:.4f}"),
        ("Macro F1", f"{judged['macro_f1']:.4f}"),
        ("Images", f"{judged['n']:,}"),
        ("Parameters", f"{judged['parameters']:,}"),
    ]
    if "multiply_adds" in judged:  # not in judgements stored by earlier versions
        calibrated, views = judged["calibrated"], 2 if judged.get("tta") == "flip" else 1
        rows.append(("Multiply-adds an image", f"{views * judged['multiply_adds']:,}"))
        if calibrated["temperature"] != 1:
            tempered = f"at temperature {calibrated['temperature']:.2f}"
            rows[3:3] = [(f"Loss, {tempered}", f"{calibrated['loss']:.4f}")]
            rows[5:5] = [(f"ECE, {tempered}", f"{calibrated['ece']:.4f}")]
    title = f"{judged['dataset']}, {judged['split']} part"
    if judged.get("tta"):
        title += f", mean of each image and its mirror image (tta {judged['tta']})"
    return Table(title, ("Metric", "Value"), tuple(rows))


def per_class_table(judged: dict[str, Any]) -> Table:
    """Return accuracy and errors of each class, and which are best and hardest."""
    rows = tuple(
        (str(c["code"]), c["name"], percent(c["accuracy"]), str(c["errors"]))
        for c in judged["per_class"]
    )
    return Table(
        "Per-class performance",
        ("Code", "Class", "Accuracy", "Errors"),
        rows,
        "llrr",
        best_and_hardest(judged),
    )


def best_and_hardest(judged: dict[str, Any]) -> str:
    """Return a sentence that names the best classes, at most three, and the hardest one."""
    seen = [c for c in judged["per_class"] if c["n"]]
    ranked = sorted(seen, key=lambda c: -c["accuracy"])
    count = min(3, max(1, len(ranked) // 2))
    best = ", ".join(f"{c['name']} ({percent(c['accuracy'])})" for c in ranked[:count])
    hardest = ranked[-1]
    return f"Best: {best}. Hardest: {hardest['name']} ({percent(hardest['accuracy'])})."


def confused_pairs_table(judged: dict[str, Any], top: int = 5) -> Table:
    """Return the most confused pairs."""
    names = {
        c["code"]: c["name"] if c["name"] == str(c["code"]) else f"{c['name']} ({c['code']})"
        for c in judged["per_class"]
    }
    rows = tuple(
        (str(rank), names[pair["true"]], names[pair["predicted"]], f"{pair['count']}×")
        for rank, pair in enumerate(judged["confused_pairs"][:top], 1)
    )
    return Table(
        f"Most confused pairs (top {top})",
        ("Rank", "It is", "It was taken for", "Count"),
        rows,
        "lllr",
    )


def metrics_tables(judged: dict[str, Any]) -> list[Table]:
    """Return all tables of one judgement."""
    return [metrics_table(judged), per_class_table(judged), confused_pairs_table(judged)]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def one_line(cell: str) -> str:
    """Return a cell without what would break a row or steer a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in cell)
