"""The model card that lies beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fashioncnn.data.dataset import FASHION_MNIST, SKETCHES
from fashioncnn.models.trained_model import TrainedModel
from fashioncnn.settings import Settings

FOR_PHOTOGRAPHS = ("photo", "cutout")
"""Kinds of preprocessing that look for a garment."""


def plain_card(model: TrainedModel) -> str:
    """Return the card of a model of whose training nothing is known here."""
    return "\n".join([*_head(model, model.config.name), "", _intended_use(model), ""])


def model_card(
    model: TrainedModel,
    settings: Settings,
    data_hashes: dict[str, str],
    split_metrics: dict[str, dict[str, Any] | None],
    notes: Sequence[str] = (),
    taught_by: Mapping[str, str] | None = None,
) -> str:
    """Return a model card in Markdown with a Hub's front matter.

    Args:
        model: what it is about.
        settings: of the run.
        data_hashes: SHA-256 by split.
        judgements: by split; None where the split was not judged.
        notes: further lines on how it was made.
        taught_by: SHA-256 of the models that taught it as they were, by name.
    """
    lines = [
        *_head(model, settings.recipe),
        f"- **Trained**: {settings.training.epochs} epochs, seed {settings.training.seed}, "
        f"{settings.data.validation:,} images held out, kept: {settings.training.select}",
        *_teachers(settings, taught_by or {}),
        *(f"- **Data, {split}**: SHA-256 `{digest}`" for split, digest in data_hashes.items()),
        *notes,
        "",
        "| split | images | accuracy | 95% interval | loss | ECE | ECE, calibrated |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for split, judged in split_metrics.items():
        if judged is not None:
            low, high = judged["accuracy_ci95"]
            lines.append(
                f"| {split} | {judged['n']:,} | {judged['accuracy']:.2%} | {low:.2%} – {high:.2%} "
                f"| {judged['loss']:.4f} | {judged['ece']:.4f} | {_calibrated_ece(judged)} |"
            )
    if not any(split_metrics.values()):
        lines.append("| not judged yet | | | | | | |")
    return "\n".join([*lines, "", _intended_use(model), ""])


def _teachers(settings: Settings, taught_by: Mapping[str, str]) -> list[str]:
    distillation = settings.distillation
    lines = [
        f"- **Taught** by `{'/'.join(Path(name).parts[-2:])}` as it was: SHA-256 `{digest}`"
        for name, digest in taught_by.items()
    ]
    if distillation.ensemble_size:
        lines.append(
            f"- **Taught** by {distillation.ensemble_size} networks of the same recipe, trained first for "
            f"{distillation.epochs} epochs each"
        )
    if lines:
        lines.append(f"- **Learnt** of an image: {distillation.alpha:g} their mean answer")
    return lines


def _calibrated_ece(judged: dict[str, Any]) -> str:
    calibrated = judged.get("calibrated")  # not in judgements stored by earlier versions
    if calibrated is None or calibrated["temperature"] == 1:
        return "–"
    return f"{calibrated['ece']:.4f}"


def _head(model: TrainedModel, title: str) -> list[str]:
    size = model.preprocessing.image_size
    tags = "[fashion-mnist, pytorch]" if model.dataset == FASHION_MNIST else "[pytorch]"
    return [
        "---",
        "library_name: fashioncnn",
        "pipeline_tag: image-classification",
        f"tags: {tags}",
        "---",
        f"# {title} on {model.dataset}",
        "",
        f"- **Network**: `{model.config.name}`, {model.parameters:,} parameters, "
        f"{model.multiply_adds:,} multiply-adds an image",
        f"- **Temperature**: logits are divided by {model.temperature:.4g} to make probabilities",
        *(
            [f"- **Unsure** where {_doubt(model)} {model.abstain_below:.3f}"]
            if model.abstain_below
            else []
        ),
        f"- **Input**: grey, {size}×{size}, uint8",
        f"- **Classes**: {', '.join(model.class_names)}",
    ]


def _doubt(model: TrainedModel) -> str:
    if model.ood_detector is None:
        return "no class has a probability of"
    return "the probability that an image shows one of the classes at all is under"


def _intended_use(model: TrainedModel) -> str:
    dataset = model.dataset
    if dataset == FASHION_MNIST and model.preprocessing.views in FOR_PHOTOGRAPHS:
        return (
            "**Intended use**: naming the one garment, or pair of shoes, on a photograph, where it "
            "lies, hangs or stands before any ground. People who wear it, several garments, and "
            "whatever else is none of the ten classes are beyond it. It learnt from Fashion-MNIST "
            "alone, one shop's goods; docs/RESULTS.md tells how often it is right on photographs."
        )
    if dataset == FASHION_MNIST:
        return (
            "**Intended use**: learning, teaching and comparing on Fashion-MNIST. Images must "
            "look like its own: 28×28, one garment, light on black. It is not made for photographs."
        )
    if dataset == SKETCHES:
        return (
            "**Intended use**: trying the program out. The images are drawn by it; this is not "
            "Fashion-MNIST."
        )
    return (
        f"**Intended use**: images like those of '{dataset}'; on others its answers mean nothing."
    )
