"""The model card next to the weights: Markdown with the front matter of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashioncnn.artifacts.model_folder import ModelDescription
from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES, is_dataset
from fashioncnn.settings import CustomConfig, Settings

LIMITS = {
    "photo": (
        "Not for clothing that is worn, several items that touch or overlap, and drawings; of "
        "separate items, the largest is classified. Bars of one color, as around the photograph in "
        "a screenshot, are removed. In dark photographs the item may not be found."
    ),
    "cutout": (
        "Not for clothing that is worn, several items in one photograph, drawings and screenshots. "
        "In dark photographs the item may not be found."
    ),
}
"""What photographs should not show, by the kind of views that segment a garment."""


def minimal_card(description: ModelDescription) -> str:
    """Return the card of a model whose training is not known."""
    name = description.architecture.name
    return "\n".join([*_head(description, name), "", _intended_use(description), ""])


def model_card(
    description: ModelDescription,
    settings: Settings,
    data_hashes: Mapping[str, str],
    metrics: Mapping[str, dict[str, Any] | None],
    notes: Sequence[str] = (),
    teachers: Mapping[str, str] | None = None,
) -> str:
    """Return the card of a trained model.

    Args:
        description: of the model.
        settings: of the run.
        data_hashes: SHA-256 by split.
        metrics: by split; None for a split that was not evaluated.
        notes: further lines about the training.
        teachers: SHA-256 by name of trained models that were used as teachers.
    """
    lines = [
        *_head(description, settings.recipe),
        f"- **Training**: {settings.training.epochs} epochs, seed {settings.training.seed}, "
        f"{settings.data.validation:,} images held out for validation{_fold(settings)}, weights: "
        f"{settings.training.select}",
        *_distillation(settings, teachers or {}),
        *(f"- **Data, {split}**: SHA-256 `{digest}`" for split, digest in data_hashes.items()),
        *notes,
        "",
        "| split | images | accuracy | 95% interval | loss | ECE | ECE, calibrated |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(_metrics_row(split, values) for split, values in metrics.items() if values),
    ]
    if not any(metrics.values()):
        lines.append("| not evaluated yet | | | | | | |")
    return "\n".join([*lines, "", _intended_use(description), ""])


def training_notes(settings: Settings, summary: Mapping[str, Any]) -> list[str]:
    """Return a line about early stopping; none for a training to the last epoch.

    Args:
        settings: of the run.
        summary: of metrics.json.
    """
    if "stopped_early" not in summary:
        return []
    epochs = f"{summary['epochs']} of {settings.training.epochs} epochs"
    return [f"- **Stopped early**: after {epochs}, {summary['stopped_early']}"]


def _metrics_row(split: str, metrics: dict[str, Any]) -> str:
    low, high = metrics["accuracy_ci95"]
    return (
        f"| {split} | {metrics['n']:,} | {metrics['accuracy']:.2%} | {low:.2%} – {high:.2%} "
        f"| {metrics['loss']:.4f} | {metrics['ece']:.4f} | {_calibrated_ece(metrics)} |"
    )


def _calibrated_ece(metrics: dict[str, Any]) -> str:
    calibrated = metrics.get("calibrated")  # missing in the first files of version 0.1
    if calibrated is None or calibrated["temperature"] == 1:
        return "–"
    return f"{calibrated['ece']:.4f}"


def _fold(settings: Settings) -> str:
    return f" (fold {settings.data.fold})" if settings.data.fold else ""


def _distillation(settings: Settings, teachers: Mapping[str, str]) -> list[str]:
    distillation = settings.distillation
    lines = [
        f"- **Teacher**: `{'/'.join(Path(name).parts[-2:])}`, SHA-256 `{digest}`"
        for name, digest in teachers.items()
    ]
    if distillation.ensemble_size:
        lines.append(
            f"- **Teachers**: {distillation.ensemble_size} networks of the same recipe, trained "
            f"first for {distillation.epochs} epochs each"
        )
    if lines:
        lines.append(
            f"- **Distillation**: alpha {distillation.alpha:g}, temperature "
            f"{distillation.temperature:g}"
        )
    return lines


def _head(description: ModelDescription, title: str) -> list[str]:
    size = description.preprocessing.image_size
    is_fashion_mnist = is_dataset(description.dataset, FASHION_MNIST)
    tags = "[fashion-mnist, pytorch]" if is_fashion_mnist else "[pytorch]"
    tta = "" if description.tta == "none" else ", averaged over horizontal flips"
    return [
        "---",
        "library_name: fashioncnn",
        "pipeline_tag: image-classification",
        f"tags: {tags}",
        "---",
        f"# {title} on {description.dataset}",
        "",
        f"- **Network**: {_network(description)}",
        f"- **Temperature**: {description.temperature:.4g}{tta}",
        *_abstention(description),
        f"- **Input**: {_color(description)}, {size}×{size}, uint8",
        f"- **Classes**: {', '.join(description.labels)}",
    ]


def _color(description: ModelDescription) -> str:
    return "grey" if description.preprocessing.channels == 1 else "color (RGB)"


def _network(description: ModelDescription) -> str:
    architecture = description.architecture
    parts = [f"`{architecture.name}`", f"{description.parameters:,} parameters"]
    if description.multiply_adds is not None:
        parts.append(f"{description.multiply_adds:,} multiply-adds per image")
    text = ", ".join(parts)
    if not isinstance(architecture, CustomConfig):
        return text
    code = f"`{architecture.network}` ({architecture.kind})"
    digest = f", SHA-256 of its file {architecture.source_sha256}"
    return f"{text}; needs the code of {code}{digest if architecture.source_sha256 else ''}"


def _abstention(description: ModelDescription) -> list[str]:
    if not description.abstain_below:
        return []
    detector = description.ood_detector
    confidence = "the highest probability"
    if detector is not None and detector.probability_slope:
        confidence = (
            "the probability of being in distribution and correct (logistic regression on the "
            "logit standard deviation and the highest probability)"
        )
    elif detector is not None:
        confidence = (
            "the probability of being in distribution (OOD detector on the logit standard "
            "deviation)"
        )
    return [f"- **Abstention**: where {confidence} is below {description.abstain_below:.3f}"]


def _intended_use(description: ModelDescription) -> str:
    dataset, views = description.dataset, description.preprocessing.views
    is_fashion_mnist = is_dataset(dataset, FASHION_MNIST)
    if is_fashion_mnist and views in LIMITS:
        return (
            "**Intended use**: classifying the garment, or pair of shoes, on a photograph of one "
            "item that lies, hangs or stands before any background. "
            f"{LIMITS[views]} Not for items outside the ten classes. It was trained on "
            "Fashion-MNIST alone, the products of one shop; docs/RESULTS.md has its accuracy on "
            "photographs."
        )
    if is_fashion_mnist:
        return (
            "**Intended use**: learning, teaching and comparing on Fashion-MNIST. Images must look "
            "like those of the dataset: 28×28, one garment, light on black. Not for photographs."
        )
    if is_dataset(dataset, SKETCHES):
        return (
            "**Intended use**: trying the program out. The images are drawn by it; this is not "
            "Fashion-MNIST."
        )
    if views in LIMITS:
        return (
            f"**Intended use**: photographs like those of '{dataset}': one item before any "
            f"background. {LIMITS[views]}"
        )
    return f"**Intended use**: images like those of '{dataset}'; not for others."
