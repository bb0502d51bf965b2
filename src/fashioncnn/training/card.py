"""The model card that lies beside the weights."""

from __future__ import annotations

from typing import Any

from fashioncnn.config import Settings
from fashioncnn.data.dataset import FASHION_MNIST
from fashioncnn.models.store import TrainedModel


def model_card(
    model: TrainedModel,
    settings: Settings,
    data_hashes: dict[str, str],
    judgements: dict[str, dict[str, Any] | None],
) -> str:
    """Return a model card in Markdown with a Hub's front matter.

    Args:
        model: what it is about.
        settings: of the run.
        data_hashes: SHA-256 by split.
        judgements: by split; None where the split was not judged.
    """
    lines = [
        "---",
        "library_name: fashioncnn",
        "pipeline_tag: image-classification",
        "tags: [fashion-mnist, pytorch]",
        "---",
        f"# {settings.recipe} on {model.dataset}",
        "",
        f"{settings.description or 'An image classifier'}.",
        "",
        f"- **Network**: `{model.config.name}`, {model.parameters:,} parameters",
        f"- **Input**: grey, {model.preprocessing.image_size}×{model.preprocessing.image_size}, "
        "uint8",
        f"- **Classes**: {', '.join(model.class_names)}",
        f"- **Trained**: {settings.training.epochs} epochs, seed {settings.training.seed}, "
        f"validation {settings.data.validation}, kept: {settings.training.select}",
        *(f"- **Data, {split}**: SHA-256 `{digest}`" for split, digest in data_hashes.items()),
        "",
        "| split | pictures | accuracy | 95% interval | loss | ECE |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for split, judged in judgements.items():
        if judged is not None:
            low, high = judged["accuracy_ci95"]
            lines.append(
                f"| {split} | {judged['n']:,} | {judged['accuracy']:.2%} | {low:.2%} – {high:.2%} "
                f"| {judged['loss']:.4f} | {judged['ece']:.4f} |"
            )
    if not any(judgements.values()):
        lines.append("| not judged yet | | | | | |")
    lines += ["", "**Intended use**: " + _intended_use(model.dataset), ""]
    return "\n".join(lines)


def _intended_use(dataset: str) -> str:
    if dataset == FASHION_MNIST:
        return (
            "learning, teaching and comparing on Fashion-MNIST. Pictures must look like its own: "
            "28×28, one garment, light on black. It is not made for photographs."
        )
    if dataset == "sketches":
        return "trying the program out. The pictures are drawn by it; this is not Fashion-MNIST."
    return f"pictures like those of '{dataset}'; on others its answers mean nothing."
